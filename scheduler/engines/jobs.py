"""Creates and deletes the Jobs of single runs, and the ConfigMaps with the snapshots that they mount."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cronjobs.experiment import Experiment
from cronjobs.objects import labels
from cronjobs.objects.config_maps import code_map, program_map
from cronjobs.objects.job import JobRequest, job
from cronjobs.objects.volumes import ObjectsError
from scheduler.errors import CronsembleError
from scheduler.kube import kinds
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import Conflict, KubeError, NotFound
from scheduler.kube.managed_fields import OURS

_ALREADY_EXISTS = "AlreadyExists"
"""The reason of a conflict that the name of the new object causes."""


def create_job(api: KubeClient, experiment: Experiment, request: JobRequest) -> bool:
    """Create the Job of a run; False if another Job has its name. Raises CronsembleError, KubeError."""
    try:
        body = job(experiment, request)
    except ObjectsError as error:
        raise CronsembleError(*(f"{experiment.path}: {problem}" for problem in error.problems)) from error
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    try:
        api.create(kinds.JOB, namespace, body)
    except Conflict as error:
        if error.reason != _ALREADY_EXISTS:
            raise
        # It may be ours: the answer to an earlier request was lost.
        metadata = api.get(kinds.JOB, namespace, name)["metadata"]
        return bool((metadata.get("labels") or {}).get(labels.INVOCATION) == request.command)
    except NotFound as error:
        raise _no_namespace(namespace) from error
    return True


def _no_namespace(namespace: str) -> KubeError:
    return KubeError(f"namespace {namespace} does not exist: cronsemble sync --create-namespace makes it")


def ensure_config_maps(api: KubeClient, namespace: str, snapshots: Mapping[str, bytes]) -> None:
    """Have these parts of snapshots (``program``, ``code``) in the namespace, under the names that their hashes give.

    Raises CronsembleError, KubeError.
    """
    for kind, data in snapshots.items():
        try:
            body = (program_map if kind == "program" else code_map)(namespace, data)
        except ObjectsError as error:
            raise CronsembleError(str(error)) from error
        name = body["metadata"]["name"]
        try:
            metadata = api.get(kinds.CONFIGMAP, namespace, name, metadata_only=True)["metadata"]
        except NotFound:
            try:
                api.apply(kinds.CONFIGMAP, namespace, body, OURS)
            except NotFound as error:
                raise _no_namespace(namespace) from error
            continue
        if (metadata.get("annotations") or {}).get(labels.SHA256) != hashlib.sha256(data).hexdigest():
            raise KubeError(f"ConfigMap {name} in namespace {namespace} is not one of Cronsemble's: delete it yourself")


def delete_job(api: KubeClient, namespace: str, job: Mapping[str, Any]) -> bool:
    """Have a Job deleted: its pods get SIGTERM, and it goes when they have ended; False if it is gone already."""
    body = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": job["metadata"]["uid"]},
    }
    name = job["metadata"]["name"]
    try:
        path = kinds.JOB.path(namespace, name)
        api.request("DELETE", path, body=body, what=f"{kinds.JOB.resource}/{name}", where=f" in namespace {namespace}")
    except NotFound:
        return False
    return True
