"""What differs between the desired and the live objects of one namespace, as values: nothing is read or planned here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from cronjobs.objects import labels
from cronjobs.objects.config_maps import mounted, revisions_name
from cronjobs.revisions import revisions
from scheduler.kube import managed_fields, revision_configmap
from scheduler.kube.managed_fields import OURS
from scheduler.kube.objects import NamespaceObjects, Object
from scheduler.sync import admission, warnings
from scheduler.sync.admission import AdmissionChanges, admission_changes
from scheduler.sync.desired_state import DesiredState
from scheduler.sync.diff import Change, as_answered, compare
from scheduler.sync.server_defaults import without_defaults

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
    admitted: Object | None = None
    """The desired object as the server answers its apply, where it was asked (a dry run) and admission changes something."""
    admission: AdmissionChanges | None = None
    """Of ``changes`` those to values that admission chooses, not the configuration."""
    denial: str = ""
    """Why the server would refuse to apply it, where it was asked and would."""

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
    admitted: Mapping[str, Object] = field(default_factory=dict)
    """By name, unchanged CronJobs of which admission had changed something, as the server keeps them."""
    unrecorded_admission: tuple[tuple[str, AdmissionChanges], ...] = ()
    """What admission changed of unchanged objects, each with its experiment, and was not recorded yet."""


def diff_namespace(desired: Sequence[DesiredState], live: NamespaceObjects, force: bool = False) -> NamespaceDiff:
    """Compare these experiments with a namespace; ``force``: fields that kubectl owns count as ours."""
    bodies = {(body["kind"], body["metadata"]["name"]): body for state in desired for body in state.objects}
    differences: list[ObjectDiff] = []
    notes: list[str] = []
    recorded = recorded_admission(live)
    admitted: dict[str, Object] = {}
    for (kind, name), body in bodies.items():
        difference = _diff_object(body, live.of_kind(kind).get(name), force, notes)
        if difference is None:
            continue
        if recorded and difference.live is not None and admission.digest(body, difference.changes) in recorded:
            if kind == "CronJob":
                admitted[name] = as_answered(body, difference.live)
        else:
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
        admitted=admitted,
    )


def unsettled(diff: NamespaceDiff) -> list[ObjectDiff]:
    """The differences of which only the server's answer to a dry run tells whether an apply would change them."""
    return [each for each in diff.objects if each.live is not None and each.difference == Difference.CHANGED and each.changes]


def with_answers(diff: NamespaceDiff, answers: Mapping[tuple[str, str], Object | str], force: bool = False) -> NamespaceDiff:
    """The same with what the server answered to dry runs of its :func:`unsettled` objects, by kind and name.

    An answer is an object, or the reason of a refusal. What applying would not change is no difference.
    """
    differences = []
    admitted = dict(diff.admitted)
    unrecorded = []
    for difference in diff.objects:
        answer = answers.get((difference.kind, difference.name))
        if answer is None or difference.live is None:
            differences.append(difference)
        elif isinstance(answer, str):
            differences.append(replace(difference, denial=answer))
        elif changed := admission_changes(difference.desired, answer):
            body = as_answered(difference.desired, answer)
            if changes := _changes(body, difference.live, force):
                fields = {change.field for change in changes}
                chosen = tuple(change for change in changed.changes if change.field in fields)
                chosen_changes = replace(changed, changes=chosen) if chosen else None
                differences.append(replace(difference, changes=changes, admitted=body, admission=chosen_changes))
                continue
            unrecorded.append((_experiment(difference.desired), changed))
            if difference.kind == "CronJob":
                admitted[difference.name] = body
        else:
            differences.append(difference)
    return replace(
        diff,
        objects=tuple(differences),
        unchanged=diff.unchanged + len(unrecorded),
        admitted=admitted,
        unrecorded_admission=tuple(unrecorded),
    )


def as_admitted(tasks: revisions.Tasks, diff: NamespaceDiff, experiment: str) -> revisions.Tasks:
    """The tasks of a revision, as the server keeps those CronJobs of which admission has changed something."""
    changed = [difference.admitted for difference in diff.objects if difference.admitted and difference.kind == "CronJob"]
    own = [body for body in [*diff.admitted.values(), *changed] if _experiment(body) == experiment]
    return {**tasks, **revisions.tasks(own)}


def recorded_admission(live: NamespaceObjects) -> frozenset[str]:
    """The digests of what admission changed of objects in a namespace, as they were recorded beside the revisions."""
    texts = (_annotations(configmap).get(revision_configmap.ADMISSION, "") for configmap in live.configmaps.values())
    return frozenset(digest for text in texts for digest in text.split())


def kubectl_fields(live: Object) -> managed_fields.Tree:
    """The fields of an object that kubectl owns and we may take over."""
    return managed_fields.merged(
        managed_fields.adoptable(ownership.tree)
        for ownership in managed_fields.ownerships(live["metadata"])
        if managed_fields.is_kubectl(ownership.manager) and not ownership.subresource
    )


def declared_by_kubectl(live: Object) -> managed_fields.Tree:
    """Of what kubectl owns and we may take over, what has another value than the server's default.

    A client-side apply owns all that the server filled in too.
    """
    fields = kubectl_fields(live)
    return without_defaults(fields, live) if fields else fields


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
    difference = Difference.CHANGED
    if desired["kind"] == "ConfigMap":
        if not _is_verified(desired, managed_fields.owned_by(metadata, OURS)):
            difference = Difference.UNVERIFIED
    else:
        notes += warnings.fields_left_alone(desired, live, None if force else declared_by_kubectl(live))
    changes = _changes(desired, live, force)
    if not changes and difference == Difference.CHANGED:
        return None
    return ObjectDiff(difference, desired, live, changes)


def _changes(desired: Object, live: Object, force: bool) -> tuple[Change, ...]:
    """The fields in which a live object is not as desired; ``force``: what kubectl declared counts as ours."""
    owned = managed_fields.owned_by(live["metadata"], OURS)
    if desired["kind"] == "ConfigMap":
        # Its content is immutable.
        changes = compare({"metadata": desired["metadata"]}, live, {"f:metadata": owned.get("f:metadata", {})})
    else:
        changes = compare(desired, live, managed_fields.merged([owned, declared_by_kubectl(live)]) if force else owned)
    ownerships = managed_fields.ownerships(live["metadata"])
    return tuple(_with_owners(change, ownerships) for change in changes)


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
