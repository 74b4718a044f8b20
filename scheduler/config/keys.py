"""The keys of a configuration file with types, defaults and descriptions: the one source of the schema."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

BACKENDS = {"tensorflow": "keras3", "jax": "keras3", "torch": "keras3", "theano": "legacy", "cntk": "legacy"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(value: object) -> int:
    """Seconds of a duration such as 90s, 10m, 36h or 2d."""
    match = re.fullmatch(r"([0-9]+)([smhd])", value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError("must be a duration of at least 1s: type a number and s, m, h or d, e.g. 36h")
    return int(match[1]) * _UNITS[match[2]]


Duration = Annotated[int, BeforeValidator(seconds, json_schema_input_type=str)]


class Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Resources(Keys):
    cpu: int | float | str = Field(1, description="CPUs, e.g. 2 or 1500m")
    memory: str | None = Field(None, description="memory, e.g. 4Gi")
    gpu: int | None = Field(None, ge=0, description="GPUs (on a cluster)")


class Task(Keys):
    """What every task may say."""

    schedule: str | None = Field(None, description="when it fires: five cron fields, as Kubernetes reads them")
    timezone: str | None = Field(None, description="the schedule's zone; the experiment's by default")
    suspend: bool | None = Field(None, description="whether the schedule rests")
    concurrency: Literal["forbid", "allow", "replace"] = Field("forbid", description="while the last still runs")
    starting_deadline: Duration = Field(3600, description="how late a run may still start")
    retries: int = Field(1, ge=0, le=20, description="tries after the first")
    deadline: Duration = Field(21600, description="how long a run may take, tries included")
    threads: int | None = Field(None, ge=1, le=1024, description="threads; the CPUs rounded up by default")
    resources: Resources = Field(default_factory=Resources, description="CPUs and memory")
    node_selector: dict[str, str] = Field({}, description="labels a node must have (on a cluster)")
    tolerations: list[dict[str, Any]] = Field([], description="taints a pod tolerates (on a cluster)")
    priority_class: str | None = Field(None, description="the pods' priority class (on a cluster)")
    env: dict[str, Any] = Field({}, description="more environment variables")
    labels: dict[str, str] = Field({}, description="more labels (on a cluster)")


class Backend(Task):
    backend: Literal["tensorflow", "jax", "torch", "theano", "cntk"] | None = Field(
        None, description="the Keras backend; the member's name by default"
    )
    model: str | None = Field(None, description="cnn, mlp or file.py:function; the experiment's by default")
    hyperparameters: dict[str, Any] = Field({}, description="this member's own; they override")
    data_format: Literal["channels_first", "channels_last"] | None = Field(
        None, description="channels_first for the cnn on theano and cntk by default, else channels_last"
    )


class EnsembleKeys(Task):
    method: Literal["accuracy", "uniform"] = Field("accuracy", description="how members are weighed")
    quorum: int = Field(1, ge=1, description="members that must have predicted")
    max_age: Duration | None = Field(None, description="age of a model's slot before the ensemble's, at most")
    timeout: Duration = Field(600, description="how long one member's prediction may take")


class DataKeys(Keys):
    dataset: str = Field("digits", description="digits, cifar10, mnist, FILE.npz or file.py:function")
    predict: str = Field("holdout", description="holdout (the first 100 test items) or FILE.npz, {date} allowed")
    refresh: Literal["daily", "each_run"] = Field("daily", description="how often the data is read anew")


class Nfs(Keys):
    server: str = Field(description="the NFS server")
    path: str = Field(description="the exported path")


class StoreKeys(Keys):
    claim: str | None = Field(None, description="a PersistentVolumeClaim (on a cluster)")
    nfs: Nfs | None = Field(None, description="an NFS export (on a cluster)")
    host_path: str | None = Field(None, description="a folder of the node (on a cluster)")


class RuntimeKeys(Keys):
    python: str | None = Field(None, description="an interpreter by path")
    image: str | None = Field(None, description="a container image")


class Runtimes(Keys):
    keras3: Literal["venv"] | RuntimeKeys = Field("venv", description="tensorflow, jax, torch: venv, python or image")
    legacy: RuntimeKeys = Field(
        default_factory=lambda: RuntimeKeys(image="localhost/cronsemble-legacy"),
        description="theano, cntk: an image or an interpreter",
    )


class Cluster(Keys):
    namespace: str = Field("default", description="the Kubernetes namespace")


class File(Keys):
    """A configuration file."""

    experiment: str = Field(description="the experiment's name: a DNS label")
    timezone: str = Field("UTC", description="an IANA zone")
    store: str | StoreKeys = Field("./store", description="the folder that keeps everything, or a volume")
    data: DataKeys = Field(default_factory=DataKeys, description="what is learnt and predicted")
    code: list[str] = Field([], description="files and folders of a snapshot; the functions' folders by default")
    model: str = Field("cnn", description="cnn, mlp or file.py:function")
    hyperparameters: dict[str, Any] = Field({}, description="for all members")
    defaults: dict[str, Any] = Field({}, description="task keys for all tasks")
    backends: dict[str, Backend | None] = Field(min_length=1, description="the members, by name")
    ensemble: EnsembleKeys | None = Field(None, description="the ensemble; without it none is made")
    runtimes: Runtimes = Field(default_factory=Runtimes, description="where backends run")
    cluster: Cluster = Field(default_factory=Cluster, description="where `sync` puts the tasks")
