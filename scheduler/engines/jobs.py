"""Makes and removes the Jobs of single runs, and the snapshots that they mount: the other module that changes a cluster."""

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

ALREADY = "AlreadyExists"


def create_job(api: KubeClient, experiment: Experiment, wanted: JobRequest) -> bool:
    """Make the Job of a run; False if the name is another's."""
    try:
        body = job(experiment, wanted)
    except ObjectsError as error:
        raise CronsembleError("\n".join(f"{experiment.path}: {problem}" for problem in error.problems)) from error
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    try:
        api.create(kinds.JOB, namespace, body)
    except Conflict as error:
        if error.reason != ALREADY:
            raise
        # It may be ours: the answer to an earlier request was lost.
        known = api.get(kinds.JOB, namespace, name)["metadata"]
        return bool((known.get("labels") or {}).get(labels.INVOCATION) == wanted.command)
    except NotFound as error:
        raise _no_namespace(namespace) from error
    return True


def _no_namespace(namespace: str) -> KubeError:
    return KubeError(f"namespace {namespace} does not exist: cronsemble sync --create-namespace makes it")


def ensure_config_maps(api: KubeClient, namespace: str, known: Mapping[str, bytes]) -> None:
    """Have these parts of snapshots (``program``, ``code``) in the namespace, under the names that their hashes give."""
    for kind, data in known.items():
        try:
            body = (program_map if kind == "program" else code_map)(namespace, data)
        except ObjectsError as error:
            raise CronsembleError(str(error)) from error
        name = body["metadata"]["name"]
        try:
            there = api.get(kinds.CONFIGMAP, namespace, name, metadata_only=True)["metadata"]
        except NotFound:
            try:
                api.apply(kinds.CONFIGMAP, namespace, body, OURS)
            except NotFound as error:
                raise _no_namespace(namespace) from error
            continue
        if (there.get("annotations") or {}).get(labels.SHA256) != hashlib.sha256(data).hexdigest():
            raise KubeError(f"ConfigMap {name} in namespace {namespace} is not ours: remove it yourself")


def delete_job(api: KubeClient, namespace: str, found: Mapping[str, Any]) -> bool:
    """Ask for a Job's end: its pods are told to stop, and it goes when they have; False if it is gone already."""
    body = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": found["metadata"]["uid"]},
    }
    name = found["metadata"]["name"]
    try:
        path = kinds.JOB.path(namespace, name)
        api.request("DELETE", path, body=body, what=f"{kinds.JOB.resource}/{name}", where=f" in namespace {namespace}")
    except NotFound:
        return False
    return True
