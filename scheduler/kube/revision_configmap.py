"""Revisions in a cluster: one ConfigMap an experiment, a JSON file a revision, only ever appended to.

Near the limit of a ConfigMap the oldest are folded into one. What a revision says, ``cronjobs.revisions`` knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cronjobs.objects.config_maps import revisions_name
from cronjobs.revisions.revisions import Revision, Tasks, delta, digest, fold, snapshot, states, tasks
from jobs.documents import DocumentKind, document_problem
from jobs.store.files import parse_object
from scheduler.kube import kinds
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError, NotFound

__all__ = [
    "delta", "digest", "fold", "is_newer", "read", "read_revisions", "snapshot", "states", "tasks",
    "write", "Revision", "Tasks",
]  # fmt: skip

NUMBER = "cronsemble.io/revision"
DIGEST = "cronsemble.io/recorded"
VERSION = "cronsemble.io/tool"
ADMISSION = "cronsemble.io/admission"
"""Annotation: digests of what admission changed of applied objects (``scheduler/sync/admission``)."""
FULL = 900_000
"""Bytes of revisions from which on the oldest are folded; a ConfigMap takes 1 MiB."""
AFTER_FOLDING = 600_000


def read(data: Mapping[str, str]) -> list[Revision]:
    """The revisions of a ConfigMap's data, oldest first; keys that are not ours are left alone.

    Raises KubeError for one that is no revision: what is written after it would say something else.
    """
    revisions = []
    for key in sorted(data):
        if key.endswith(".json") and key[:-5].isdigit():
            revision = parse_object(data[key].encode())
            problem = "it is no JSON object" if revision is None else document_problem(DocumentKind.REVISION, revision)
            if revision is None or problem:
                raise KubeError(f"the revisions of the cluster: {key}: {problem}: remove the key from its ConfigMap")
            revisions.append(revision)
    return revisions


def read_revisions(api: KubeClient, namespace: str, experiment: str) -> list[Revision]:
    """The revisions that a cluster has of an experiment; none where it has no such ConfigMap."""
    try:
        return read(api.get(kinds.CONFIGMAP, namespace, revisions_name(experiment)).get("data") or {})
    except NotFound:
        return []


def write(revisions: Iterable[Revision]) -> dict[str, str]:
    """A ConfigMap's data."""
    return {f"{revision['revision']:06}.json": msgspec.json.encode(revision).decode() for revision in revisions}


def is_newer(version: str, than: str) -> bool:
    """Whether a version of this tool is newer than another, by their numbers."""
    return _numbers(version) > _numbers(than)


def _numbers(version: str) -> list[int]:
    return [int("".join(c for c in part if c.isdigit()) or 0) for part in version.split(".")]
