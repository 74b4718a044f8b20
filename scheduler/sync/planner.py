"""From what should be and what is to a plan. Values in, values out: no request is made here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from cronjobs.objects import labels
from cronjobs.objects.config_maps import revisions_name
from cronjobs.revisions import revisions
from scheduler.kube import managed_fields, revision_configmap
from scheduler.kube.managed_fields import OURS, SUSPEND
from scheduler.kube.objects import NamespaceObjects, NamespaceState, Object
from scheduler.sync import prune, warnings
from scheduler.sync.diff import Change, compare, fingerprint
from scheduler.sync.plan import (
    ALLOW_EMPTY,
    CHANGE,
    CREATE,
    CREATE_NAMESPACE,
    DOWNGRADE,
    FORCE,
    PRUNE,
    RECORD,
    Action,
    Refusal,
    SyncPlan,
)


@dataclass(frozen=True)
class DesiredState:
    """One experiment in one namespace: its objects, and the Pod Security level that its pods need."""

    experiment: str
    namespace: str
    objects: tuple[Object, ...]
    level: str = "restricted"
    level_reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def cronjobs(self) -> list[Object]:
        return [each for each in self.objects if each["kind"] == "CronJob"]


@dataclass(frozen=True)
class NamespaceContext:
    """What only a sync with something to do must know of a namespace; each is asked for once and only if needed."""

    namespace: Callable[[], NamespaceState] = NamespaceState
    unfinished: Callable[[], list[Object]] = list
    strangers: Callable[[str], Mapping[str, str]] = lambda kind: {}
    configmap: Callable[[str], Mapping[str, Any]] = lambda name: {}


@dataclass
class PlanBuilder:
    """A plan in the making."""

    tool: str
    now: datetime
    force: bool
    actions: list[Action] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unchanged: int = 0

    def refuse(self, text: str, flag: str = "") -> None:
        if not (flag == FORCE and self.force):
            self.refusals.append(Refusal(text, flag))


def make_plan(
    wanted: Iterable[DesiredState],
    lives: Mapping[str, NamespaceObjects],
    around: Mapping[str, NamespaceContext],
    *,
    tool: str,
    server: str,
    context: str,
    now: datetime,
    force: bool = False,
) -> SyncPlan:
    """What a sync of these experiments does; ``force`` takes fields that others own."""
    experiments = list(wanted)
    draft = PlanBuilder(tool, now, force)
    for namespace in dict.fromkeys(each.namespace for each in experiments):
        _namespace([each for each in experiments if each.namespace == namespace], lives[namespace], around[namespace], draft)
    order = {CREATE: 0, CHANGE: 0, PRUNE: 2, RECORD: 3}
    kinds = {"Namespace": 0, "ConfigMap": 1, "CronJob": 2}
    reverse = {"CronJob": 0, "ConfigMap": 1}
    draft.actions.sort(key=lambda a: (order[a.verb], (reverse if a.verb == PRUNE else kinds)[a.kind]))
    return SyncPlan(
        tool=tool,
        server=server,
        context=context,
        namespaces=tuple(dict.fromkeys(each.namespace for each in experiments)),
        experiments=tuple(each.experiment for each in experiments),
        actions=tuple(draft.actions),
        refusals=tuple(draft.refusals),
        notes=tuple(dict.fromkeys(draft.notes)),
        unchanged=draft.unchanged,
        snapshots={each.experiment: revisions.snapshot(each.objects) for each in experiments},
    )


def _namespace(wanted: list[DesiredState], live: NamespaceObjects, around: NamespaceContext, draft: PlanBuilder) -> None:
    before = len(draft.actions)
    desired = {(each["kind"], each["metadata"]["name"]): each for one in wanted for each in one.objects}
    for key, body in desired.items():
        found = live.of_kind(key[0]).get(key[1])
        if found is None:
            _create(body, around, draft)
        else:
            _compare(body, found, around, draft)
    _prune_cronjobs(wanted, live, desired, around, draft)
    _prune_maps(live, desired, around, draft)
    for one in wanted:
        _record(one, live, draft)
        draft.notes += one.notes
    draft.notes += warnings.undeclared_experiments({one.experiment for one in wanted}, live)
    if len(draft.actions) > before:
        _check_namespace(wanted, live.namespace, around.namespace(), draft)


def _create(body: Object, around: NamespaceContext, draft: PlanBuilder) -> None:
    kind, name, namespace = body["kind"], body["metadata"]["name"], body["metadata"]["namespace"]
    if stranger := around.strangers(kind).get(name):
        draft.refuse(
            f"{kind} {name} in namespace {namespace} is not ours (made by {stranger}, without our labels): "
            "rename the experiment, or remove that object yourself"
        )
        return
    action = _action(CREATE, body)
    draft.actions.append(_with_fires(action, None, body, draft))


def _compare(body: Object, live: Object, around: NamespaceContext, draft: PlanBuilder) -> None:
    kind, name = body["kind"], body["metadata"]["name"]
    owners = managed_fields.ownerships(live["metadata"])
    theirs = live["metadata"]["labels"].get(labels.INSTANCE)
    if theirs != body["metadata"]["labels"].get(labels.INSTANCE):
        draft.refuse(f"{kind} {name} in namespace {live['metadata']['namespace']} belongs to the experiment {theirs}: rename one")
        return
    owned = managed_fields.owned_by(live["metadata"], OURS)
    kubectl = managed_fields.merged(
        managed_fields.adoptable(each.tree) for each in owners if managed_fields.is_kubectl(each.manager) and not each.subresource
    )
    if kind == "ConfigMap":
        changes = _compare_map(body, live, around)
        if changes is None:
            draft.refuse(
                f"ConfigMap {name} in namespace {live['metadata']['namespace']} is not as we made it "
                f"(by {', '.join(each.manager for each in owners) or 'nobody'}): remove it, and sync makes it again"
            )
            return
    else:
        ours = managed_fields.merged([owned, kubectl]) if draft.force else owned
        changes = compare(body, live, ours)
        draft.notes += warnings.fields_left_alone(body, live, None if draft.force else kubectl)
    if not changes:
        draft.unchanged += 1
        return
    changes = [_owners(change, owners) for change in changes]
    foreign = [(change, [owner for owner in change.owners if owner != SUSPEND]) for change in changes if change.new is not None]
    for change, others in foreign:
        if others:
            draft.refuse(f"{kind} {name}: {change.field} is owned by {', '.join(others)}: {_short(change)}", FORCE)
    action = _action(
        CHANGE,
        body,
        changes=tuple(changes),
        force=draft.force or any(SUSPEND in change.owners for change in changes),
        take_over=draft.force and bool(kubectl),
        uid=live["metadata"]["uid"],
        seen=fingerprint(body, live, owned),
        running=tuple(each["name"] for each in (live["status"].get("active") or ())),
    )
    draft.actions.append(_with_fires(action, live, body, draft))


def _compare_map(body: Object, live: Object, around: NamespaceContext) -> list[Change] | None:
    """The changes of a snapshot's ConfigMap; None where its content is another's."""
    (key,) = body["binaryData"]
    owned = managed_fields.owned_by(live["metadata"], OURS)
    # Immutable since we applied it, so its metadata is enough; what another client made is read whole.
    if "f:immutable" not in owned or f"f:{key}" not in owned.get("f:binaryData", {}):
        whole = around.configmap(body["metadata"]["name"])
        if whole.get("binaryData") != body["binaryData"] or whole.get("immutable") is not True:
            return None
    return compare({"metadata": body["metadata"]}, live, {"f:metadata": owned.get("f:metadata", {})})


def _owners(change: Change, owners: list[managed_fields.Ownership]) -> Change:
    others = [owner for owner in managed_fields.owners_of(owners, change.path) if owner != OURS]
    return Change(change.field, change.old, change.new, change.path, tuple(others))


def _prune_cronjobs(
    wanted: list[DesiredState],
    live: NamespaceObjects,
    desired: Mapping[tuple[str, str], Object],
    around: NamespaceContext,
    draft: PlanBuilder,
) -> None:
    names = {one.experiment for one in wanted}
    gone = [
        each
        for name, each in live.cronjobs.items()
        if each["metadata"]["labels"].get(labels.INSTANCE) in names and ("CronJob", name) not in desired
    ]
    emptied = {each["metadata"]["labels"][labels.INSTANCE] for each in gone} - {one.experiment for one in wanted if one.cronjobs}
    for experiment in sorted(emptied):
        draft.refuse(
            f"experiment {experiment} declares no task with a schedule, and all its CronJobs would be removed", ALLOW_EMPTY
        )
    if gone:
        draft.actions += prune.prune_cronjobs(gone, around.unfinished(), draft.refusals)


def _prune_maps(
    live: NamespaceObjects, desired: Mapping[tuple[str, str], Object], around: NamespaceContext, draft: PlanBuilder
) -> None:
    pruned = {action.name for action in draft.actions if action.verb == PRUNE and action.namespace == live.namespace}
    kept = [desired.get(("CronJob", name), each) for name, each in live.cronjobs.items() if name not in pruned]
    wanted = {name for kind, name in desired if kind == "ConfigMap"}
    draft.actions += prune.prune_maps(live, kept, wanted, around.unfinished, draft.notes)


def _record(one: DesiredState, live: NamespaceObjects, draft: PlanBuilder) -> None:
    """A revision, where what is recorded is not what will be."""
    name = revisions_name(one.experiment)
    known = live.configmaps.get(name)
    annotations = known["metadata"]["annotations"] if known else {}
    by = annotations.get(revision_configmap.VERSION)
    if by and revision_configmap.is_newer(by, draft.tool):
        draft.refuse(f"experiment {one.experiment} was last synced by cronsemble {by}, this is {draft.tool}", DOWNGRADE)
    tasks = revisions.tasks(one.cronjobs)
    digest = revisions.digest(tasks, revisions.snapshot(one.objects))
    touched = any(action.experiment == one.experiment and action.namespace == one.namespace for action in draft.actions)
    # What another client applied (`render | kubectl apply`) is left to that client, until something changes.
    own = [each for each in live.cronjobs.values() if each["metadata"]["labels"].get(labels.INSTANCE) == one.experiment]
    ours = any(managed_fields.owned_by(each["metadata"], OURS) for each in own)
    if annotations.get(revision_configmap.DIGEST) != digest and (touched or (known and annotations) or ours):
        # A run that succeeded since then has put the revisions into the store.
        ends = [each["status"].get("lastSuccessfulTime") for each in own]
        until = max([end for end in ends if end], default=None)
        body = {
            "number": next_revision(known),
            "recorded_until": until,
            "tasks": tasks,
            "digest": digest,
            **revisions.snapshot(one.objects),
        }
        draft.actions.append(
            Action(
                RECORD,
                "ConfigMap",
                one.namespace,
                name,
                one.experiment,
                body=body,
                seen=annotations.get(revision_configmap.DIGEST, ""),
            )
        )


def next_revision(known: Object | None) -> int:
    """The number of the next revision, by the metadata of the ConfigMap."""
    annotations = known["metadata"]["annotations"] if known else {}
    return int(annotations.get(revision_configmap.NUMBER, "0")) + 1


def _check_namespace(wanted: list[DesiredState], name: str, found: NamespaceState, draft: PlanBuilder) -> None:
    if not found.exists:
        draft.actions.insert(0, Action(CREATE, "Namespace", name, name))
        draft.refuse(f"namespace {name} does not exist: kubectl create namespace {name}", CREATE_NAMESPACE)
        return
    for one in wanted:
        draft.notes += warnings.pod_security(one.experiment, name, found.enforced, one.level, one.level_reason)


def _with_fires(action: Action, live: Object | None, body: Object, draft: PlanBuilder) -> Action:
    if body["kind"] != "CronJob":
        return action
    timed = any(change.path in (("spec", "schedule"), ("spec", "timeZone")) for change in action.changes)
    if live is not None and not timed:
        return action
    # With nothing to do nobody needs fire times: their import takes as long as a page of the list.
    from scheduler.sync.next_fire import fire_times

    return msgspec.structs.replace(action, fires=fire_times(live, body["spec"], draft.now))


def _action(verb: str, body: Object, **more: Any) -> Action:
    metadata = body["metadata"]
    experiment, task = metadata["labels"].get(labels.INSTANCE, ""), metadata["labels"].get(labels.TASK, "")
    return Action(verb, body["kind"], metadata["namespace"], metadata["name"], experiment, task, body=body, **more)


def _short(change: Change) -> str:
    return f"it is {_value(change.old)}, the configuration says {_value(change.new)}"


def _value(value: Any) -> str:
    text = msgspec.json.encode(value).decode() if value is not None else "absent"
    return text if len(text) <= 60 else text[:57] + "…"
