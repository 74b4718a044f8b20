"""What a namespace holds of ours, as values: read by label, in pages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from cronjobs.objects import labels
from scheduler.kube import kinds
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import Forbidden, NotFound
from scheduler.kube.kinds import Kind

Object = dict[str, Any]

ENFORCE = "pod-security.kubernetes.io/enforce"


@dataclass(frozen=True)
class NamespaceObjects:
    """Ours in one namespace, by name. ``configmaps`` are metadata alone."""

    namespace: str
    cronjobs: Mapping[str, Object] = field(default_factory=dict)
    configmaps: Mapping[str, Object] = field(default_factory=dict)
    elsewhere: Mapping[str, tuple[str, ...]] | None = field(default_factory=dict)
    """Experiment → other namespaces that hold CronJobs of it; None where that may not be seen."""

    def of_kind(self, kind: str) -> Mapping[str, Object]:
        """The CronJobs or the ConfigMaps."""
        return self.cronjobs if kind == "CronJob" else self.configmaps


@dataclass(frozen=True)
class NamespaceState:
    """What a sync must know of a namespace itself."""

    exists: bool = True
    enforced: str | None = None
    """The Pod Security level that it enforces."""
    seen: bool = True
    """False where the namespace may not be read."""


def read_namespace_objects(api: KubeClient, namespace: str, experiments: Iterable[str]) -> NamespaceObjects:
    """Our CronJobs, our ConfigMaps' metadata, and the other namespaces that hold CronJobs of these experiments."""
    names = sorted(experiments)
    cronjobs, maps, elsewhere = in_parallel(
        lambda: by_name(api.list(kinds.CRONJOB, namespace, labels.SELECTOR, decoder=DECODER)),
        lambda: by_name(api.list(kinds.CONFIGMAP, namespace, labels.SELECTOR, metadata_only=True, decoder=DECODER)),
        lambda: _elsewhere(api, namespace, names) if names else {},
    )
    return NamespaceObjects(namespace, cronjobs, maps, elsewhere)


def unfinished_jobs(api: KubeClient, namespace: str) -> list[Object]:
    """Our Jobs that still run or may run again."""
    return [job for job in jobs(api, namespace, "status.successful=0") if not has_ended(job)]


def jobs(api: KubeClient, namespace: str, fields: str = "", selector: str = "") -> list[Object]:
    """Our Jobs in a namespace that fit a field selector and a label selector."""
    chosen = f"{labels.SELECTOR},{selector}" if selector else labels.SELECTOR
    return [plain(item) for item in api.list(kinds.JOB, namespace, chosen, fields, decoder=DECODER)]


def has_ended(job: Mapping[str, Any]) -> str | None:
    """``Complete`` or ``Failed`` once a Job is over."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return str(condition["type"])
    return None


def foreign_names(api: KubeClient, kind: Kind, namespace: str) -> dict[str, str]:
    """Objects of a kind that are not ours: name → the manager that made it."""
    managers = {}
    for item in api.list(kind, namespace, f"{labels.MANAGED_BY}!={labels.OURS}", metadata_only=True, decoder=DECODER):
        managers[item.metadata.name] = next((entry.manager for entry in item.metadata.managedFields), "someone")
    return managers


def read_namespace(api: KubeClient, name: str) -> NamespaceState:
    """A namespace, which may be absent or not permitted to be read."""
    try:
        metadata = api.get(kinds.NAMESPACE, None, name, metadata_only=True)["metadata"]
    except NotFound:
        return NamespaceState(exists=False)
    except Forbidden:
        return NamespaceState(seen=False)
    return NamespaceState(enforced=(metadata.get("labels") or {}).get(ENFORCE))


def in_parallel(*work: Callable[[], Any]) -> list[Any]:
    """The results of all; raises the first error of any. Ctrl-C waits for none of them: they must change nothing."""
    results: list[Any] = [None] * len(work)
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            results[number] = work[number]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(1, len(work))]
    for thread in threads:
        thread.start()
    try:
        results[0] = work[0]()
    except Exception as error:
        errors.append(error)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def _elsewhere(api: KubeClient, namespace: str, experiments: list[str]) -> dict[str, tuple[str, ...]] | None:
    chosen = f"{labels.SELECTOR},{labels.INSTANCE} in ({','.join(experiments)})"
    namespaces: dict[str, set[str]] = {}
    try:
        # One page is enough to name namespaces, however many CronJobs they hold.
        others = f"metadata.namespace!={namespace}"
        for item in api.list(kinds.CRONJOB, None, chosen, others, metadata_only=True, first_page=True, decoder=DECODER):
            namespaces.setdefault(item.metadata.labels[labels.INSTANCE], set()).add(item.metadata.namespace)
    except Forbidden:
        return None
    return {experiment: tuple(sorted(names)) for experiment, names in namespaces.items()}


class _Entry(msgspec.Struct):
    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fieldsV1: msgspec.Raw = msgspec.Raw(b"{}")  # noqa: N815


class _Metadata(msgspec.Struct):
    name: str
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creationTimestamp: str = ""  # noqa: N815
    resourceVersion: str = ""  # noqa: N815
    ownerReferences: list[dict[str, Any]] = []  # noqa: N815
    managedFields: list[_Entry] = []  # noqa: N815


class _Item(msgspec.Struct):
    metadata: _Metadata
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class _ListMetadata(msgspec.Struct):
    next: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    items: list[_Item] | None
    metadata: _ListMetadata


DECODER = msgspec.json.Decoder(_List)
"""Reads a page: only what we look at, and the fields' sets unread. Made once, when one thread imports it: see `kube.client`."""


def by_name(items: Iterable[_Item]) -> dict[str, Object]:
    """The items of a list as dictionaries, by their names."""
    return {item.metadata.name: plain(item) for item in items}


def plain(item: _Item) -> Object:
    """An item of a list as a dictionary: ``metadata``, ``spec`` and ``status``."""
    metadata = {name: getattr(item.metadata, name) for name in _Metadata.__struct_fields__}
    metadata["managedFields"] = [
        {"manager": entry.manager, "operation": entry.operation, "subresource": entry.subresource, "fieldsV1": entry.fieldsV1}
        for entry in item.metadata.managedFields
    ]
    return {"metadata": metadata, "spec": item.spec, "status": item.status}


def last_schedule_time(live: Mapping[str, Any]) -> datetime:
    """The last scheduled time of a CronJob, or its creation."""
    time = (live.get("status") or {}).get("lastScheduleTime") or live["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(time)
