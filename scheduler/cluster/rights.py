"""The rights that a sync needs, and which of them are missing: all at once, not one a try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from scheduler.cluster import kinds
from scheduler.cluster.api import Api
from scheduler.cluster.failures import ClusterError, Forbidden, right_missing
from scheduler.cluster.kinds import Kind
from scheduler.cluster.live import in_parallel

Needed = tuple[tuple[Kind, tuple[str, ...]], ...]
"""Kinds with verbs."""

NEEDED: Needed = (
    (kinds.CRONJOB, ("list", "create", "patch", "delete")),
    (kinds.JOB, ("list",)),
    (kinds.CONFIGMAP, ("get", "list", "create", "patch", "delete")),
    (kinds.LEASE, ("get", "create", "update")),
)
"""docs/kubernetes-rights.md has them as a Role."""

RUNS: Needed = (
    (kinds.JOB, ("get", "list", "create")),
    (kinds.POD, ("list",)),
    (kinds.CONFIGMAP, ("get", "create", "patch")),
)
"""What runs by hand need, and CANCEL their end; docs/kubernetes-rights.md has them too."""
CANCEL: Needed = ((kinds.JOB, ("list", "delete")),)


def missing(api: Api, namespace: str, reading: bool, needed: Needed = NEEDED) -> list[str]:
    """A line for each right that this user lacks in the namespace; with ``reading`` only those of `plan`."""
    wanted = [(kind, verb) for kind, verbs in needed for verb in verbs]
    if reading:
        wanted = [(kind, verb) for kind, verb in wanted if verb == "list"]
    answers = in_parallel(*(lambda kind=kind, verb=verb: _allowed(api, namespace, kind, verb) for kind, verb in wanted))
    where = f" in namespace {namespace}"
    return [right_missing(kind.resource, verb, where) for (kind, verb), good in zip(wanted, answers, strict=True) if not good]


def _allowed(api: Api, namespace: str, kind: Kind, verb: str) -> bool:
    group = kind.version.rpartition("/")[0]
    attributes = {"namespace": namespace, "verb": verb, "resource": kind.plural, "group": group}
    body = {
        "apiVersion": kinds.ACCESS_REVIEW.version,
        "kind": kinds.ACCESS_REVIEW.kind,
        "spec": {"resourceAttributes": attributes},
    }
    return bool(api.create(kinds.ACCESS_REVIEW, None, body)["status"].get("allowed"))


@contextmanager
def explained(api: Api, namespaces: Iterable[str], reading: bool = False, needed: Needed = NEEDED) -> Iterator[None]:
    """Where one right turns out to be missing, name every one that is."""
    try:
        yield
    except Forbidden as error:
        try:
            found = [line for namespace in namespaces for line in missing(api, namespace, reading, needed)]
        except ClusterError:
            found = []
        raise ClusterError("\n".join(dict.fromkeys([*found, str(error)]))) from error
