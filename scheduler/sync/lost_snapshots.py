"""Snapshots that unfinished Jobs mount and that are gone: their pods wait until somebody makes them again. Values in, values out.

A Job mounts the program and code that it was made with, whatever version of the tool, or edit of the code, is synced later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cronjobs.objects import labels
from cronjobs.objects.config_maps import code_map, code_name, mounted, program_map, program_name
from scheduler.kube.objects import Object

MAPS = {"program": program_map, "code": code_map}
"""By the kind of a snapshot, what makes its ConfigMap."""
_NAMES = {"program": program_name, "code": code_name}


@dataclass(frozen=True)
class LostSnapshot:
    """A ConfigMap that is gone, the ``kind`` (program, code) and SHA-256 of what it held, and a Job that waits for it."""

    name: str
    kind: str
    digest: str
    experiment: str
    job: str


def lost_snapshots(unfinished_jobs: Iterable[Object], present: Collection[str]) -> list[LostSnapshot]:
    """Those of these Jobs that are not among the ConfigMaps ``present``, by name; each once."""
    lost: dict[str, LostSnapshot] = {}
    for job in unfinished_jobs:
        template = job["spec"]["template"]
        experiment = job["metadata"]["labels"].get(labels.INSTANCE, "")
        missing = mounted(template["spec"]).difference(present)
        for kind, digest in _snapshot(template).items():
            name = _NAMES[kind](digest) if kind in _NAMES else ""
            if name in missing:
                lost.setdefault(name, LostSnapshot(name, kind, digest, experiment, str(job["metadata"]["name"])))
    return sorted(lost.values(), key=lambda snapshot: snapshot.name)


def restored_map(namespace: str, snapshot: LostSnapshot, data: bytes) -> Object | None:
    """The ConfigMap with these bytes; None if they are not those of the snapshot."""
    if hashlib.sha256(data).hexdigest() != snapshot.digest:
        return None
    return MAPS[snapshot.kind](namespace, data)


def restored_note(snapshot: LostSnapshot) -> str:
    """That a snapshot is made again, a line."""
    return f"ConfigMap {snapshot.name} is gone, and Job {snapshot.job} waits for it: it is made again from the store"


def lost_note(snapshot: LostSnapshot, problem: str) -> str:
    """That a snapshot cannot be made again, why, and what to do, a line."""
    cure = f"end it by cronsemble cancel {snapshot.job}, then cronsemble backfill its slot"
    return f"ConfigMap {snapshot.name} is gone, and Job {snapshot.job} waits for it: {problem}: {cure}"


def _snapshot(template: Object) -> Mapping[str, str]:
    """The hashes of the snapshot that a pod template's task has."""
    annotations = template.get("metadata", {}).get("annotations") or {}
    try:
        snapshot = json.loads(annotations.get(labels.CONFIGURATION, ""))["snapshot"]
        return {str(kind): str(digest) for kind, digest in snapshot.items() if digest}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
