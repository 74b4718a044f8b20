"""The pods: a run's steps as initContainers and a container, under Pod Security's `restricted` rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cronjobs.experiment import Ensemble, Experiment, Member, SecretKey, Task
from cronjobs.objects import labels, quantities
from cronjobs.objects.config_maps import code_name, program_name, revisions_name
from cronjobs.objects.confinement import confined_pod, container_security
from cronjobs.objects.placement import placement
from cronjobs.objects.size import check_annotations, check_variables
from cronjobs.objects.volumes import ObjectsError, store_volume
from cronjobs.tasks import ExperimentContext, ensemble_task, total_retries, train_task
from jobs import contract as c
from jobs.revisions import annotation_text

STORE = "/store"
FOLDER = "/store/data"
SNAPSHOT = "/cronsemble/program"
_CONFIGURATION = f"metadata.annotations['{labels.CONFIGURATION}']"
AWAIT_RESOURCES = {"cpu": "100m", "memory": "128Mi"}
"""What the await step of an ensemble requests, and is limited to."""
PULL = {"always": "Always", "if_not_present": "IfNotPresent", "never": "Never"}


def image_of(experiment: Experiment, runtime: str) -> str:
    """The reference of a runtime's image on the cluster; raises ObjectsError if none is named."""
    if image := experiment.cluster.images.get(runtime):
        return image
    settings = experiment.runtimes[runtime]
    if settings.image:
        return settings.image
    what = "a virtual environment" if settings.venv else "an interpreter"
    raise ObjectsError(f"runtimes.{runtime} is {what} here; name its image: cluster.images.{runtime}")


def train_pod(context: ExperimentContext, member: Member) -> dict[str, Any]:
    """The pod template of a member's trainings."""
    experiment = context.experiment
    steps = [(["prepare"], image_of(experiment, "keras3")), (["train"], image_of(experiment, member.runtime))]
    configuration = train_task(context, member)
    env = {c.ENV_RETRIES: str(total_retries(member, 0))}
    containers = [container(experiment, member, argv, image, member.threads, env) for argv, image in steps]
    return _with_heartbeat(experiment, template(experiment, member, configuration, containers))


def ensemble_pod(context: ExperimentContext, ensemble: Ensemble) -> dict[str, Any]:
    """The pod template of the ensemble: each member predicts in its own runtime, one after the other."""
    experiment = context.experiment
    keras3 = image_of(experiment, "keras3")
    env = {c.ENV_RETRIES: str(total_retries(ensemble, len(experiment.members)))}
    steps = [] if ensemble.wait is None else [_await(experiment, ensemble, keras3, env)]
    steps.append(container(experiment, ensemble, ["prepare"], keras3, ensemble.threads, env))
    for name, member in experiment.members.items():
        argv = ["predict", "--member", name]
        steps.append(container(experiment, member, argv, image_of(experiment, member.runtime), member.threads, env))
    steps.append(container(experiment, ensemble, ["combine"], keras3, ensemble.threads, env))
    return _with_heartbeat(experiment, template(experiment, ensemble, ensemble_task(context, ensemble), steps))


def _with_heartbeat(experiment: Experiment, pod: dict[str, Any]) -> dict[str, Any]:
    """The template of a schedule's pods, whose steps send pings: no other run does, for a server takes them for a slot's."""
    variables = heartbeat_variables(experiment)
    for step in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]] if variables else ():
        step["env"] = [*step["env"], *variables]
    return pod


def heartbeat_variables(experiment: Experiment) -> list[dict[str, Any]]:
    """The variables of a container that sends pings; none without a heartbeat, or a Secret with its key.

    A Secret that is not there keeps no pod from starting.
    """
    heartbeat = experiment.heartbeat
    if heartbeat is None or heartbeat.ping_key is None:
        return []
    reference = {"name": heartbeat.ping_key.secret, "key": heartbeat.ping_key.key, "optional": True}
    return [
        {"name": c.ENV_PING_URL, "value": heartbeat.ping_url.replace("$", "$$")},
        {"name": c.ENV_PING_KEY, "valueFrom": {"secretKeyRef": reference}},
    ]


def _await(experiment: Experiment, ensemble: Ensemble, image: str, env: Mapping[str, str]) -> dict[str, Any]:
    """The step that waits for the members: it reads the store, and needs next to nothing."""
    step = container(experiment, replace(ensemble, env={}), ["await"], image, 1, env)
    step["resources"] = {"requests": dict(AWAIT_RESOURCES), "limits": dict(AWAIT_RESOURCES)}
    return step


def template(experiment: Experiment, task: Task, configuration: Mapping[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
    """A pod template with these containers, the last of which is no initContainer; ``configuration`` is the resolved task.

    Raises ObjectsError if that is too large for a process.
    """
    cluster = experiment.cluster
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        **confined_pod(experiment),
        "initContainers": steps[:-1],
        "containers": steps[-1:],
        "volumes": _volumes(experiment, task, configuration["snapshot"]),
    }
    spec |= placement(cluster, task)
    if task.priority_class:
        spec["priorityClassName"] = task.priority_class
    own = labels.of_task(experiment.name, labels.component(str(configuration["task"])), str(configuration["task"]))
    text = annotation_text(configuration)
    annotations = {**task.annotations, labels.CONFIGURATION: text}
    check_annotations(annotations, str(configuration["task"]))
    if len(text.encode()) > c.LARGEST_VARIABLE:
        _read_from_file(spec)
    return {"metadata": {"labels": {**task.labels, **own}, "annotations": annotations}, "spec": spec}


def _read_from_file(spec: dict[str, Any]) -> None:
    """Have a pod's containers read the task's configuration from a file, where it is too long for a variable."""
    # With the version that the server would fill in: sources are compared whole.
    field = {"apiVersion": "v1", "fieldPath": _CONFIGURATION}
    source = {"downwardAPI": {"items": [{"path": c.TASK_FILE, "fieldRef": field}]}}
    snapshot = next(volume["projected"] for volume in spec["volumes"] if volume["name"] == "snapshot")
    snapshot["sources"] = [*snapshot["sources"], source]
    file = {"name": c.ENV_TASK_FILE, "value": f"{SNAPSHOT}/{c.TASK_FILE}"}
    for step in [*spec["initContainers"], *spec["containers"]]:
        step["env"] = [file if variable["name"] == c.ENV_TASK else variable for variable in step["env"]]


def _volumes(experiment: Experiment, task: Task, snapshot: Mapping[str, str]) -> list[dict[str, Any]]:
    names = [program_name(snapshot["program"])] + ([code_name(snapshot["code"])] if snapshot["code"] else [])
    return [
        {"name": "store", **store_volume(experiment)},
        # One folder for both, for the supervisor keeps them in the store from there.
        {"name": "snapshot", "projected": {"sources": [{"configMap": {"name": name}} for name in names]}},
        {"name": "revisions", "configMap": {"name": revisions_name(experiment.name), "optional": True}},
        {"name": "tmp", "emptyDir": {"sizeLimit": quantities.size(task.resources.tmp)}},
    ]


def container(
    experiment: Experiment, task: Task, step: Sequence[str], image: str, threads: int, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A container for a step: of ``task`` come what it may use and its secrets; ``env`` are more variables of the contract."""
    cluster = experiment.cluster
    gpus = task.resources.gpu if step[0] in ("train", "combine") else 0
    amounts = {"cpu": quantities.cpu(task.resources.cpu), "memory": quantities.size(task.resources.memory)}
    if gpus:
        amounts[cluster.gpu_resource] = str(gpus)
    policy = cluster.pull_policy
    check_variables(env or {}, " ".join(step))
    return {
        "name": container_name(step),
        "image": image,
        **({"imagePullPolicy": PULL[policy]} if policy else {}),
        "command": ["python3", f"{SNAPSHOT}/{c.PROGRAM_FILE}", "supervise", *step],
        "env": _environment(image, task, threads, env or {}),
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "store", "mountPath": STORE},
            {"name": "snapshot", "mountPath": SNAPSHOT, "readOnly": True},
            {"name": "revisions", "mountPath": c.REVISIONS, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def container_name(step: Sequence[str]) -> str:
    """The name of a step's container: ``train``, ``predict-jax``."""
    return "-".join([step[0], *step[2:]])


def is_step(name: str) -> bool:
    """Whether a container of that name runs a step of ours: others may be put beside it, as sidecars are."""
    return name in ("await", "prepare", "train", "combine") or name.startswith("predict-")


def _environment(image: str, task: Task, threads: int, more: Mapping[str, str]) -> list[dict[str, Any]]:
    def field(path: str) -> dict[str, Any]:
        return {"valueFrom": {"fieldRef": {"fieldPath": path}}}

    libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    variables: dict[str, dict[str, Any]] = {
        c.ENV_RUN: field("metadata.labels['batch.kubernetes.io/job-name']"),
        c.ENV_TRY: field("metadata.uid"),
        # By the annotation: once a pod however many containers, and no $(NAME) in it is expanded.
        c.ENV_TASK: field(_CONFIGURATION),
        c.ENV_KIND: {"value": "scheduled"},
        c.ENV_STORE: {"value": STORE},
        c.ENV_FOLDER: {"value": FOLDER},
        c.ENV_SNAPSHOT: {"value": SNAPSHOT},
        c.ENV_REVISIONS: {"value": c.REVISIONS},
        c.ENV_IMAGE: {"value": image},
        # The root is read-only, and the user has no home of its own.
        "HOME": {"value": "/tmp"},
        **{name: {"value": str(threads)} for name in libraries},
        # Kubernetes expands $(NAME) in a value.
        **{name: {"value": value.replace("$", "$$")} for name, value in more.items()},
    }
    for name, value in task.env.items():
        if isinstance(value, SecretKey):
            variables[name] = {"valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
    return [{"name": name, **source} for name, source in variables.items()]
