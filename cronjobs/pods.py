"""The pods: a run's steps as initContainers and a container, under Pod Security's `restricted` rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cronjobs import labels, quantities
from cronjobs.config_maps import code_name, program_name, revisions_name
from cronjobs.resolved import Ensemble, Experiment, Member, Task
from cronjobs.tasks import Context, ensemble_task, train_task
from cronjobs.volumes import Unbuildable, store_volume
from jobs import contract as c

STORE = "/store"
FOLDER = "/store/data"
SNAPSHOT = "/cronsemble/program"
LARGEST_TASK = 120_000
"""Bytes of a task's configuration: Linux takes at most 128 KiB in one environment variable."""
PULL = {"always": "Always", "if_not_present": "IfNotPresent", "never": "Never"}


def image_of(experiment: Experiment, runtime: str) -> str:
    """The reference of a runtime's image on the cluster; raises Unbuildable if none is named."""
    named = experiment.cluster["images"].get(runtime)
    if named:
        return str(named)
    known = experiment.runtimes.get(runtime)
    if isinstance(known, Mapping) and known.get("image"):
        return str(known["image"])
    what = "an interpreter" if isinstance(known, Mapping) else "a virtual environment"
    raise Unbuildable(f"runtimes.{runtime} is {what} here; name its image: cluster.images.{runtime}")


def train_pod(context: Context, member: Member) -> dict[str, Any]:
    """The pod template of a member's trainings."""
    experiment = context.experiment
    prepare = _container(experiment, "prepare", "keras3", member, ["prepare"])
    train = _container(experiment, "train", member.runtime, member, ["train"], gpus=member.resources["gpu"])
    return _template(context, member, labels.TRAIN, train_task(context, member), [prepare, train])


def ensemble_pod(context: Context, ensemble: Ensemble) -> dict[str, Any]:
    """The pod template of the ensemble: each member predicts in its own runtime, one after the other."""
    experiment = context.experiment
    steps = [_container(experiment, "prepare", "keras3", ensemble, ["prepare"])]
    for name, member in experiment.members.items():
        steps.append(_container(experiment, f"predict-{name}", member.runtime, member, ["predict", "--member", name]))
    steps.append(_container(experiment, "combine", "keras3", ensemble, ["combine"], gpus=ensemble.resources["gpu"]))
    return _template(context, ensemble, labels.ENSEMBLE, ensemble_task(context, ensemble), steps)


def _template(
    context: Context, task: Task, component: str, configuration: dict[str, Any], steps: list[dict[str, Any]]
) -> dict[str, Any]:
    experiment, cluster = context.experiment, context.experiment.cluster
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": cluster["user"],
            "runAsGroup": cluster["group"],
            "fsGroup": cluster.get("fs_group", cluster["group"]),
            # Else the kubelet walks the whole store before every pod.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": steps[:-1],
        "containers": steps[-1:],
        "volumes": _volumes(context, task),
    }
    given = {
        "serviceAccountName": cluster.get("service_account"),
        "imagePullSecrets": [{"name": name} for name in cluster["pull_secrets"]],
        "nodeSelector": dict(task.node_selector),
        "tolerations": list(task.tolerations),
        "affinity": dict(task.affinity),
        "priorityClassName": task.priority_class,
    }
    spec.update({key: value for key, value in given.items() if value})
    own = labels.of_task(experiment.name, component, str(configuration["task"]))
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    size = len(text.encode())
    if size > LARGEST_TASK:
        raise Unbuildable(
            f"the configuration of {configuration['task']} has {size:,} bytes, at most {LARGEST_TASK:,} reach a process: "
            "shorten hyperparameters or env, or split the experiment"
        )
    return {
        "metadata": {"labels": {**task.labels, **own}, "annotations": {**task.annotations, labels.CONFIGURATION: text}},
        "spec": spec,
    }


def _volumes(context: Context, task: Task) -> list[dict[str, Any]]:
    snapshot = [program_name(context.program)] + ([code_name(context.code)] if context.code else [])
    return [
        {"name": "store", **store_volume(context.experiment)},
        # One folder for both, for the supervisor keeps them in the store from there.
        {"name": "snapshot", "projected": {"sources": [{"configMap": {"name": name}} for name in snapshot]}},
        {"name": "revisions", "configMap": {"name": revisions_name(context.experiment.name), "optional": True}},
        {"name": "tmp", "emptyDir": {"sizeLimit": quantities.size(task.resources["tmp"])}},
    ]


def _container(experiment: Experiment, name: str, runtime: str, task: Task, step: list[str], gpus: int = 0) -> dict[str, Any]:
    cluster, image = experiment.cluster, image_of(experiment, runtime)
    amounts = {"cpu": quantities.cpu(task.resources["cpu"]), "memory": quantities.size(task.resources["memory"])}
    if gpus:
        amounts[cluster["gpu_resource"]] = str(gpus)
    policy = cluster.get("pull_policy")
    return {
        "name": name,
        "image": image,
        **({"imagePullPolicy": PULL[policy]} if policy else {}),
        "command": ["python3", f"{SNAPSHOT}/{c.PROGRAM_FILE}", "supervise", *step],
        "env": _environment(image, task),
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "store", "mountPath": STORE},
            {"name": "snapshot", "mountPath": SNAPSHOT, "readOnly": True},
            {"name": "revisions", "mountPath": c.REVISIONS, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _environment(image: str, task: Task) -> list[dict[str, Any]]:
    def field(path: str) -> dict[str, Any]:
        return {"valueFrom": {"fieldRef": {"fieldPath": path}}}

    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    found: dict[str, dict[str, Any]] = {
        c.ENV_RUN: field("metadata.labels['batch.kubernetes.io/job-name']"),
        c.ENV_TRY: field("metadata.uid"),
        # By the annotation: once a pod however many containers, and no $(NAME) in it is expanded.
        c.ENV_TASK: field(f"metadata.annotations['{labels.CONFIGURATION}']"),
        c.ENV_KIND: {"value": "scheduled"},
        c.ENV_STORE: {"value": STORE},
        c.ENV_FOLDER: {"value": FOLDER},
        c.ENV_SNAPSHOT: {"value": SNAPSHOT},
        c.ENV_REVISIONS: {"value": c.REVISIONS},
        c.ENV_IMAGE: {"value": image},
        # The root is read-only, and the user has no home of its own.
        "HOME": {"value": "/tmp"},
        **{name: {"value": str(task.threads)} for name in threads},
    }
    for name, secret in task.env.items():
        if isinstance(secret, Mapping):
            found[name] = {"valueFrom": {"secretKeyRef": {"name": secret["secret"], "key": secret["key"]}}}
    return [{"name": name, **source} for name, source in found.items()]
