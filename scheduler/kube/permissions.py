"""The rights that a sync needs, and which of them are missing: all at once, not one a try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from scheduler.kube import kinds
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import Forbidden, KubeError, permission_missing
from scheduler.kube.kinds import Kind
from scheduler.kube.objects import in_parallel

Permissions = tuple[tuple[Kind, tuple[str, ...]], ...]

NEEDED: Permissions = (
    (kinds.CRONJOB, ("list", "create", "patch", "delete")),
    (kinds.JOB, ("list",)),
    (kinds.CONFIGMAP, ("get", "list", "create", "patch", "delete")),
    (kinds.LEASE, ("get", "create", "update")),
)
READING: Permissions = tuple((kind, ("list",)) for kind, verbs in NEEDED if "list" in verbs)
"""Those of `plan` and `status`."""
READER: Permissions = (
    (kinds.POD, ("create", "get", "delete")),
    (kinds.POD_EXEC, ("get", "create")),
    (kinds.CONFIGMAP, ("get",)),
)
"""Those of the commands that look into a store through a reader pod. docs/kubernetes-rights.md has all as Roles."""

RUNS: Permissions = (
    (kinds.JOB, ("get", "list", "create")),
    (kinds.POD, ("list",)),
    (kinds.CONFIGMAP, ("get", "create", "patch")),
)
"""What runs by hand need, then what following their logs does, and their end; docs/kubernetes-rights.md has them too."""
LOGS: Permissions = ((kinds.JOB, ("get", "list")), (kinds.POD, ("list",)), (kinds.POD_LOG, ("get",)))
CANCEL: Permissions = ((kinds.JOB, ("list", "delete")),)


def missing(api: KubeClient, namespace: str, needed: Permissions) -> list[str]:
    """A line for each of these rights that this user lacks in the namespace."""
    required = [(kind, verb) for kind, verbs in needed for verb in verbs]
    answers = in_parallel(*(lambda kind=kind, verb=verb: _allowed(api, namespace, kind, verb) for kind, verb in required))
    where = f" in namespace {namespace}"
    denied = []
    for (kind, verb), good in zip(required, answers, strict=True):
        if not good:
            resource, slash, part = kind.resource.partition("/")
            denied.append(permission_missing(resource, verb, where, slash + part))
    return denied


def _allowed(api: KubeClient, namespace: str, kind: Kind, verb: str) -> bool:
    group = kind.version.rpartition("/")[0]
    resource, _, part = kind.plural.partition("/")
    attributes = {"namespace": namespace, "verb": verb, "resource": resource, "group": group, "subresource": part}
    body = {
        "apiVersion": kinds.ACCESS_REVIEW.version,
        "kind": kinds.ACCESS_REVIEW.kind,
        "spec": {"resourceAttributes": attributes},
    }
    return bool(api.create(kinds.ACCESS_REVIEW, None, body)["status"].get("allowed"))


@contextmanager
def explain_denials(
    api: KubeClient, namespaces: Iterable[str], reading: bool = False, needed: Permissions | None = None
) -> Iterator[None]:
    """Where one right turns out to be missing, name every one that is; by default of those that `sync` needs."""
    try:
        yield
    except Forbidden as error:
        try:
            denied = [
                line for namespace in namespaces for line in missing(api, namespace, needed or (READING if reading else NEEDED))
            ]
        except KubeError:
            denied = []
        raise KubeError(*dict.fromkeys([*denied, *str(error).splitlines()])) from error
