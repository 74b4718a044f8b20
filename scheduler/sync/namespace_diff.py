"""What differs between the desired and the live objects of one namespace, as values: nothing is read or planned here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cronjobs.objects import labels
from cronjobs.objects.config_maps import mounted, revisions_name
from cronjobs.revisions import revisions
from scheduler.kube import managed_fields, revision_configmap
from scheduler.kube.managed_fields import OURS
from scheduler.kube.objects import NamespaceObjects, Object
from scheduler.sync import warnings
from scheduler.sync.desired_state import DesiredState
from scheduler.sync.diff import Change, compare

_SNAPSHOTS = (labels.PROGRAM, labels.CODE)


class Difference(StrEnum):
    """In what way a live object is not as desired."""

    MISSING = "missing"
    CHANGED = "changed"
    UNVERIFIED = "unverified"
    """A snapshot's ConfigMap that another client made: whether its content is right cannot be told from its metadata."""
    OTHER_EXPERIMENT = "other experiment"
    """The object of that name belongs to another experiment."""


@dataclass(frozen=True)
class ObjectDiff:
    """A desired object that is not there, or not as desired; ``live`` is None where it is missing."""

    difference: Difference
    desired: Object
    live: Object | None = None
    changes: tuple[Change, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the object."""
        return str(self.desired["kind"])

    @property
    def name(self) -> str:
        """The name of the object."""
        return str(self.desired["metadata"]["name"])


@dataclass(frozen=True)
class RevisionDiff:
    """The desired tasks of an experiment, which are not what its latest revision says."""

    experiment: str
    body: Mapping[str, Any]
    """What the next revision says, and its ``number``."""
    recorded: str
    """The digest of the latest revision; empty where there is none."""
    is_due: bool
    """A revision is to be recorded even if no object has to be changed: an earlier sync was interrupted before it did."""


@dataclass(frozen=True)
class NamespaceDiff:
    """Everything in a namespace that is not as desired."""

    namespace: str
    objects: tuple[ObjectDiff, ...] = ()
    unchanged: int = 0
    removed_cronjobs: tuple[Object, ...] = ()
    """Live CronJobs of these experiments that are not desired any more."""
    emptied: tuple[str, ...] = ()
    """Experiments that lose their last CronJob without being deleted."""
    unreferenced_snapshots: tuple[Object, ...] = ()
    """ConfigMaps of programs and code that no CronJob will name; metadata alone."""
    revisions: tuple[RevisionDiff, ...] = ()
    notes: tuple[str, ...] = ()
    """Live fields that are left as they are, a line each."""


def diff_namespace(desired: Sequence[DesiredState], live: NamespaceObjects, force: bool = False) -> NamespaceDiff:
    """Compare these experiments with a namespace; ``force``: fields that kubectl owns count as ours."""
    bodies = {(body["kind"], body["metadata"]["name"]): body for state in desired for body in state.objects}
    differences: list[ObjectDiff] = []
    notes: list[str] = []
    for (kind, name), body in bodies.items():
        difference = _diff_object(body, live.of_kind(kind).get(name), force, notes)
        if difference is not None:
            differences.append(difference)
    experiments = {state.experiment for state in desired}
    removed = [
        cronjob
        for name, cronjob in live.cronjobs.items()
        if _experiment(cronjob) in experiments and ("CronJob", name) not in bodies
    ]
    nonempty = {state.experiment for state in desired if state.is_deleted or state.cronjobs}
    revision_diffs = (_diff_revision(state, live) for state in desired if not state.is_deleted)
    return NamespaceDiff(
        namespace=live.namespace,
        objects=tuple(differences),
        unchanged=len(bodies) - len(differences),
        removed_cronjobs=tuple(removed),
        emptied=tuple(sorted({_experiment(cronjob) for cronjob in removed} - nonempty)),
        unreferenced_snapshots=tuple(_unreferenced_snapshots(bodies, live, removed)),
        revisions=tuple(difference for difference in revision_diffs if difference is not None),
        notes=tuple(notes),
    )


def kubectl_fields(live: Object) -> managed_fields.Tree:
    """The fields of an object that kubectl owns and we may take over."""
    return managed_fields.merged(
        managed_fields.adoptable(ownership.tree)
        for ownership in managed_fields.ownerships(live["metadata"])
        if managed_fields.is_kubectl(ownership.manager) and not ownership.subresource
    )


def next_revision(revisions_configmap: Object | None) -> int:
    """The number of the next revision, by the metadata of the revisions' ConfigMap; 1 where there is none yet."""
    return int(_annotations(revisions_configmap).get(revision_configmap.NUMBER, "0")) + 1


def recorded_digest(revisions_configmap: Object | None) -> str:
    """The digest of the latest revision, by the metadata of the revisions' ConfigMap; empty where there is none."""
    return str(_annotations(revisions_configmap).get(revision_configmap.DIGEST, ""))


def recorded_version(revisions_configmap: Object | None) -> str:
    """The version of the tool that recorded the latest revision; empty where there is none."""
    return str(_annotations(revisions_configmap).get(revision_configmap.VERSION, ""))


def _annotations(configmap: Object | None) -> Mapping[str, str]:
    return configmap["metadata"]["annotations"] if configmap else {}


def _experiment(live: Object) -> str:
    return str(live["metadata"]["labels"].get(labels.INSTANCE, ""))


def _diff_object(desired: Object, live: Object | None, force: bool, notes: list[str]) -> ObjectDiff | None:
    """None where the live object is as desired."""
    if live is None:
        return ObjectDiff(Difference.MISSING, desired)
    metadata = live["metadata"]
    if metadata["labels"].get(labels.INSTANCE) != desired["metadata"]["labels"].get(labels.INSTANCE):
        return ObjectDiff(Difference.OTHER_EXPERIMENT, desired, live)
    owned = managed_fields.owned_by(metadata, OURS)
    if desired["kind"] == "ConfigMap":
        difference = Difference.CHANGED if _is_verified(desired, owned) else Difference.UNVERIFIED
        changes = compare({"metadata": desired["metadata"]}, live, {"f:metadata": owned.get("f:metadata", {})})
    else:
        difference = Difference.CHANGED
        kubectl = kubectl_fields(live)
        changes = compare(desired, live, managed_fields.merged([owned, kubectl]) if force else owned)
        notes += warnings.fields_left_alone(desired, live, None if force else kubectl)
    if not changes and difference == Difference.CHANGED:
        return None
    ownerships = managed_fields.ownerships(metadata)
    return ObjectDiff(difference, desired, live, tuple(_with_owners(change, ownerships) for change in changes))


def _is_verified(desired: Object, owned: managed_fields.Tree) -> bool:
    # Immutable since we applied it, so its metadata is enough; what another client made is read whole.
    (key,) = desired["binaryData"]
    return "f:immutable" in owned and f"f:{key}" in owned.get("f:binaryData", {})


def _with_owners(change: Change, ownerships: list[managed_fields.Ownership]) -> Change:
    others = tuple(owner for owner in managed_fields.owners_of(ownerships, change.path) if owner != OURS)
    return Change(change.field, change.old, change.new, change.path, others)


def _unreferenced_snapshots(
    bodies: Mapping[tuple[str, str], Object], live: NamespaceObjects, removed: Sequence[Object]
) -> list[Object]:
    candidates = {
        name: configmap
        for name, configmap in live.configmaps.items()
        if ("ConfigMap", name) not in bodies and configmap["metadata"]["labels"].get(labels.COMPONENT) in _SNAPSHOTS
    }
    if not candidates:
        return []
    removed_names = {cronjob["metadata"]["name"] for cronjob in removed}
    referenced = {
        configmap
        for name, cronjob in live.cronjobs.items()
        if name not in removed_names
        for configmap in mounted(bodies.get(("CronJob", name), cronjob)["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    }
    return [configmap for name, configmap in candidates.items() if name not in referenced]


def _diff_revision(state: DesiredState, live: NamespaceObjects) -> RevisionDiff | None:
    """None where the latest revision says what is desired."""
    configmap = live.configmaps.get(revisions_name(state.experiment))
    tasks, snapshot = revisions.tasks(state.cronjobs), revisions.snapshot(state.objects)
    digest = revisions.digest(tasks, snapshot)
    recorded = recorded_digest(configmap)
    if recorded == digest:
        return None
    # What another client applied (`render | kubectl apply`) is left to that client, until something changes.
    cronjobs = [cronjob for cronjob in live.cronjobs.values() if _experiment(cronjob) == state.experiment]
    is_ours = any(managed_fields.owned_by(cronjob["metadata"], OURS) for cronjob in cronjobs)
    # A run that succeeded since then has put the revisions into the store.
    successes = (cronjob["status"].get("lastSuccessfulTime") for cronjob in cronjobs)
    body = {
        "number": next_revision(configmap),
        "recorded_until": max((time for time in successes if time), default=None),
        "tasks": tasks,
        "digest": digest,
        **snapshot,
    }
    return RevisionDiff(state.experiment, body, recorded, is_due=bool(_annotations(configmap)) or is_ours)
