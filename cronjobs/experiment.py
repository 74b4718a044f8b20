"""The resolved configuration: what one file declares as values, every default filled in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cronjobs.notify import Notify


@dataclass(frozen=True)
class Data:
    """What is learnt and predicted, as written; ``refresh`` is ``daily`` or ``each_run``.

    ``holdout`` is how many test items are predicted where ``predict`` is ``holdout``, None where that is not given.
    """

    dataset: str
    predict: str
    refresh: str
    holdout: int | None = None
    stratified: bool = False


@dataclass(frozen=True)
class NfsExport:
    """A folder that an NFS server exports."""

    server: str
    path: str


@dataclass(frozen=True)
class StoreVolume:
    """A store that pods mount: a PersistentVolumeClaim, an NFS export or a folder of the node; one of them is given."""

    claim: str | None = None
    nfs: NfsExport | None = None
    host_path: str | None = None

    def as_mapping(self) -> dict[str, Any]:
        """The one key that is given, as the configuration writes it."""
        if self.nfs is not None:
            return {"nfs": {"server": self.nfs.server, "path": self.nfs.path}}
        return {"claim": self.claim} if self.claim is not None else {"host_path": self.host_path}


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """What a runtime is: a virtual environment that the tool makes, an interpreter by path, or a container image.

    ``packages``: what the environment has beside the frameworks: requirements, or a file of them in the configuration's folder.
    """

    venv: bool = False
    packages: tuple[str, ...] | str = ()
    python: str | None = None
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Where and as whom pods run; ``images`` by runtime are those that differ from the runtimes' own."""

    namespace: str
    images: dict[str, str]
    pull_policy: str | None
    pull_secrets: list[str]
    service_account: str | None
    user: int
    group: int
    fs_group: int
    gpu_resource: str


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a task's containers request, and are limited to: Kubernetes quantities as written, and a number of GPUs."""

    cpu: int | float | str
    memory: int | str
    tmp: int | str
    gpu: int


@dataclass(frozen=True)
class HistoryLimits:
    """How many finished Jobs of a CronJob Kubernetes keeps."""

    successful: int
    failed: int


@dataclass(frozen=True)
class SecretKey:
    """A key of a Secret."""

    secret: str
    key: str


API_KEY_VARIABLE = "HEALTHCHECKS_API_KEY"
"""The variable of one machine that holds the key with which checks of a heartbeat are made and updated."""


@dataclass(frozen=True)
class HeartbeatSettings:
    """A server of Healthchecks: its address, the address below which runs send pings, and where pods find their key."""

    server: str
    ping_url: str
    ping_key: SecretKey | None = None

    @property
    def ping_variable(self) -> str:
        """The variable of one machine that holds the ping key."""
        return "HEALTHCHECKS_PING_KEY" if self.ping_key is None else self.ping_key.key


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every task has; durations in seconds. ``gate`` are the limits by which a result is accepted, by name."""

    schedule: str | None
    timezone: str
    suspend: bool | None
    concurrency: str
    starting_deadline: int
    retries: int
    deadline: int
    log_limit: int
    threads: int
    resources: Resources
    gate: dict[str, float]
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    affinity: dict[str, Any]
    priority_class: str | None
    queue: str | None
    env: dict[str, str | SecretKey]
    labels: dict[str, str]
    annotations: dict[str, str]
    history_limits: HistoryLimits
    ttl: int | None


@dataclass(frozen=True, kw_only=True)
class Member(Task):
    """A member: a Keras backend with its model; ``runtime`` is ``keras3`` or ``legacy``."""

    name: str
    backend: str
    runtime: str
    model: str
    hyperparameters: dict[str, Any]
    seed: int | None
    data_format: str


@dataclass(frozen=True, kw_only=True)
class Ensemble(Task):
    """How members are combined; ``timeout`` is for the prediction of one member, ``max_age`` of its model, in seconds.

    ``method`` is a name, or ``file.py:function``. ``wait``: for how many seconds after its minute it waits for its members; None
    where it does not.
    """

    method: str
    quorum: int
    max_age: int | None
    wait: int | None
    timeout: int

    @property
    def is_function(self) -> bool:
        """Whether a function of the user's combines the members."""
        return ":" in self.method

    @property
    def needs_validation(self) -> bool:
        """Whether the method learns from what the members predict of the validation data."""
        return self.is_function or self.method == "calibrated"


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What looks after the experiment on a cluster, and when; no task of it: it trains nothing and has no runs.

    ``deadline`` of a look in seconds; ``cpu`` and ``memory`` are limits, Kubernetes quantities as written. The rest as in Task.
    """

    schedule: str
    timezone: str
    suspend: bool | None
    deadline: int
    cpu: int | float | str
    memory: int | str
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    affinity: dict[str, Any]
    priority_class: str | None
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What one file declares; ``store`` is a folder of this machine as written, or a volume.

    ``hyperparameters`` are those for all members, ours with their defaults; ``runtimes`` are by name.
    """

    name: str
    timezone: str
    store: str | StoreVolume
    folder: Path
    path: Path
    data: Data
    code: list[str]
    hyperparameters: dict[str, Any]
    members: dict[str, Member]
    ensemble: Ensemble | None
    runtimes: dict[str, RuntimeSettings]
    cluster: ClusterSettings
    notify: Notify | None = None
    """Whom it tells what; no part of any task, so that an edit of it changes none."""
    heartbeat: HeartbeatSettings | None = None
    watch: Watch | None = None

    def lock_file(self) -> Path | None:
        """What the packages of a virtual environment of ours are pinned in; None where none are asked for."""
        return self.folder / f"{self.path.stem}.lock" if self.runtimes["keras3"].packages else None

    def function_files(self) -> set[Path]:
        """The files of the data and model functions and of the ensemble's method, in the configuration's folder.

        None where all are built in.
        """
        method = [] if self.ensemble is None else [self.ensemble.method]
        references = (self.data.dataset, *(member.model for member in self.members.values()), *method)
        sources = [reference.rpartition(":")[0] for reference in references]
        return {self.folder / source for source in sources if source.endswith(".py")}
