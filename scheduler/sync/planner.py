"""From what differs and what is around it to a plan. Values in, values out: no request is made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from scheduler.sync import admission, prune, warnings
from scheduler.sync.context import NamespaceContext
from scheduler.sync.describe import format_value
from scheduler.sync.desired_state import DesiredState
from scheduler.sync.diff import fingerprint
from scheduler.sync.lost_snapshots import lost_note, restored_note
from scheduler.sync.namespace_diff import (
    Difference,
    NamespaceDiff,
    ObjectDiff,
    as_admitted,
    kubectl_fields,
    next_revision,
    recorded_digest,
    recorded_version,
)
from scheduler.sync.plan import Action, Flag, Heartbeat, Refusal, SyncPlan, Verb

DELETED = "deleted"
"""The digest of a revision that ends an experiment: no desired state has it, so the next sync records one."""


@dataclass
class PlanBuilder:
    """The parts of a plan, collected. ``tool`` is our version, ``now`` the server's clock."""

    tool: str
    now: datetime
    force: bool
    actions: list[Action] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unchanged: int = 0

    def refuse(self, text: str, flag: Flag | None = None) -> None:
        """Add a refusal, unless ``force`` allows it."""
        if not (flag == Flag.FORCE_CONFLICTS and self.force):
            self.refusals.append(Refusal(text, flag or ""))

    def prune(self, actions: Iterable[Action]) -> None:
        """Add removals, and the refusal to end running Jobs by them."""
        removals = list(actions)
        self.actions += removals
        self.refusals += prune.refusals(removals)


def make_plan(
    desired: Iterable[DesiredState],
    live: Mapping[str, NamespaceObjects],
    diffs: Mapping[str, NamespaceDiff],
    contexts: Mapping[str, NamespaceContext],
    *,
    tool: str,
    server: str,
    context: str,
    now: datetime,
    force: bool = False,
) -> SyncPlan:
    """The actions that lead from the live to the desired state of these experiments.

    Args:
        desired: the experiments, each with its objects, or to be deleted.
        live, diffs, contexts: by namespace, what is there, how it differs from ``desired``, and what is around it.
        tool, server, context, now: our version, the cluster's address, the kubeconfig's context and the server's clock.
        force: take the fields that other managers own.
    """
    states = list(desired)
    by_namespace: dict[str, list[DesiredState]] = {}
    for state in states:
        by_namespace.setdefault(state.namespace, []).append(state)
    builder = PlanBuilder(tool, now, force)
    for namespace, namespace_states in by_namespace.items():
        _plan_in_namespace(namespace_states, live[namespace], diffs[namespace], contexts[namespace], builder)
    return SyncPlan(
        tool=tool,
        server=server,
        context=context,
        namespaces=tuple(by_namespace),
        experiments=tuple(state.experiment for state in states),
        actions=tuple(sorted(builder.actions, key=lambda action: action.stage)),
        refusals=tuple(builder.refusals),
        notes=tuple(dict.fromkeys(builder.notes)),
        unchanged=builder.unchanged,
        snapshots={state.experiment: revisions.snapshot(state.objects) for state in states if not state.is_deleted},
        heartbeats=_heartbeats(states) or msgspec.UNSET,
    )


def _heartbeats(states: Iterable[DesiredState]) -> dict[str, Heartbeat]:
    return {
        state.experiment: Heartbeat(state.heartbeat.server, state.heartbeat.ping_url, state.namespace)
        for state in states
        if state.heartbeat is not None
    }


def _plan_in_namespace(
    desired: Sequence[DesiredState],
    live: NamespaceObjects,
    diff: NamespaceDiff,
    context: NamespaceContext,
    builder: PlanBuilder,
) -> None:
    begin = len(builder.actions)
    builder.unchanged += diff.unchanged
    builder.notes += diff.notes
    for difference in diff.objects:
        _plan_object(difference, context, builder)
    for snapshot, restored in context.restored:
        if isinstance(restored, str):
            builder.notes.append(lost_note(snapshot, restored))
        else:
            builder.actions.append(_action(Verb.CREATE, restored))
            builder.notes.append(restored_note(snapshot))
    changed_by_admission = [difference.admission for difference in diff.objects if difference.admission]
    builder.notes += admission.notes([*(changed for _, changed in diff.unrecorded_admission), *changed_by_admission])
    for experiment in diff.emptied:
        builder.refuse(
            f"experiment {experiment} declares no task with a schedule, and all its CronJobs would be removed", Flag.ALLOW_EMPTY
        )
    _plan_removals(desired, diff, context, builder, begin)
    touched = {action.experiment for action in builder.actions[begin:]}
    for state in desired:
        _plan_revision(state, live, diff, state.experiment in touched, builder)
        builder.notes += state.notes
    declared = {state.experiment for state in desired if not state.is_deleted}
    if declared:
        builder.notes += warnings.undeclared_experiments(declared, live)
    if declared and len(builder.actions) > begin:
        _check_namespace(desired, live.namespace, context.namespace, builder)


def _plan_object(difference: ObjectDiff, context: NamespaceContext, builder: PlanBuilder) -> None:
    desired, live = difference.desired, difference.live
    name = f"{difference.kind} {difference.name}"
    if live is None:
        _plan_creation(difference, context, builder)
        return
    where = f"in namespace {live['metadata']['namespace']}"
    if difference.difference == Difference.OTHER_EXPERIMENT:
        owner = live["metadata"]["labels"].get(labels.INSTANCE)
        builder.refuse(f"{name} {where} belongs to the experiment {owner}: rename one")
    elif difference.difference == Difference.UNVERIFIED and not _same_content(desired, context.configmaps[difference.name]):
        managers = ", ".join(ownership.manager for ownership in managed_fields.ownerships(live["metadata"])) or "nobody"
        builder.refuse(
            f"{name} {where} does not have the content that it should (applied by {managers}): remove it and sync again"
        )
    elif difference.denial:
        builder.refuse(f"{name} {where} cannot be changed: {difference.denial}")
    elif difference.changes:
        _plan_change(difference, live, builder)
    else:
        builder.unchanged += 1


def _same_content(desired: Object, configmap: Object) -> bool:
    return configmap.get("binaryData") == desired["binaryData"] and configmap.get("immutable") is True


def _plan_creation(difference: ObjectDiff, context: NamespaceContext, builder: PlanBuilder) -> None:
    desired, kind, name = difference.desired, difference.kind, difference.name
    if manager := context.foreign_names[kind].get(name):
        builder.refuse(
            f"{kind} {name} in namespace {desired['metadata']['namespace']} is not managed by cronsemble "
            f"(created by {manager}, without our labels): rename the experiment, or remove that object yourself"
        )
        return
    builder.actions.append(with_fires(_action(Verb.CREATE, desired), None, builder.now))


def _plan_change(difference: ObjectDiff, live: Object, builder: PlanBuilder) -> None:
    desired, changes = difference.desired, difference.changes
    for change in changes:
        # A field that we drop is left to its other owners.
        owners = [owner for owner in change.owners if owner != SUSPEND] if change.new is not None else []
        if owners:
            builder.refuse(
                f"{difference.kind} {difference.name}: {change.field} is owned by {', '.join(owners)}: "
                f"it is {format_value(change.old)}, the configuration says {format_value(change.new)}",
                Flag.FORCE_CONFLICTS,
            )
    action = _action(
        Verb.CHANGE,
        desired,
        changes=changes,
        force=builder.force or any(SUSPEND in change.owners for change in changes),
        take_over=builder.force and bool(kubectl_fields(live)),
        uid=live["metadata"]["uid"],
        seen=fingerprint(desired, live, managed_fields.owned_by(live["metadata"], OURS)),
        running=tuple(job["name"] for job in (live["status"].get("active") or ())),
    )
    builder.actions.append(with_fires(action, live, builder.now, difference.admitted))


def _plan_removals(
    desired: Sequence[DesiredState], diff: NamespaceDiff, context: NamespaceContext, builder: PlanBuilder, begin: int
) -> None:
    """CronJobs, the Jobs by hand of deleted experiments, and then the snapshots that nothing needs any more."""
    builder.prune(prune.prune_cronjobs(diff.removed_cronjobs, context.unfinished_jobs))
    for state in desired:
        if state.is_deleted:
            builder.prune(prune.prune_own_jobs(context.jobs_of[state.experiment], diff.removed_cronjobs))
    removals = [action for action in builder.actions[begin:] if action.verb == Verb.PRUNE]
    # Where nothing was found to delete, the namespace is left as it is.
    if removals or not all(state.is_deleted for state in desired):
        actions, notes = prune.prune_snapshots(diff.unreferenced_snapshots, context.unfinished_jobs, removals)
        builder.actions += actions
        builder.notes += notes


def _plan_revision(
    state: DesiredState, live: NamespaceObjects, diff: NamespaceDiff, is_touched: bool, builder: PlanBuilder
) -> None:
    """A revision, where the latest one does not say what is desired."""
    name = revisions_name(state.experiment)
    configmap = live.configmaps.get(name)
    if state.purge:
        builder.prune(prune.prune_revisions(state.experiment, live))
        return
    if state.is_deleted:
        is_scheduled = any(c["metadata"]["labels"].get(labels.INSTANCE) == state.experiment for c in diff.removed_cronjobs)
        if configmap is not None and is_scheduled:
            body = {"number": next_revision(configmap), "tasks": {}, "digest": DELETED}
            builder.actions.append(_record(state, name, body, recorded_digest(configmap)))
        return
    version = recorded_version(configmap)
    if version and revision_configmap.is_newer(version, builder.tool):
        builder.refuse(
            f"experiment {state.experiment} was last synced by cronsemble {version}, this is {builder.tool}", Flag.DOWNGRADE
        )
    for revision in diff.revisions:
        if revision.experiment == state.experiment and (is_touched or revision.is_due):
            body = {**revision.body, "tasks": as_admitted(revision.body["tasks"], diff, state.experiment)}
            builder.actions.append(_record(state, name, body, revision.recorded))


def _record(state: DesiredState, name: str, body: dict[str, Any], recorded: str) -> Action:
    return Action(Verb.RECORD, "ConfigMap", state.namespace, name, state.experiment, body=body, seen=recorded)


def _check_namespace(desired: Sequence[DesiredState], name: str, namespace: NamespaceState, builder: PlanBuilder) -> None:
    if not namespace.exists:
        builder.actions.append(Action(Verb.CREATE, "Namespace", name, name))
        builder.refuse(f"namespace {name} does not exist: kubectl create namespace {name}", Flag.CREATE_NAMESPACE)
        return
    for state in desired:
        builder.notes += warnings.pod_security(state.experiment, name, namespace.enforced, state.level, state.level_reason)


def with_fires(action: Action, live: Object | None, now: datetime, admitted: Object | None = None) -> Action:
    """The action with what it means for the fire times of its CronJob, which is ``live`` on the cluster.

    ``admitted``: the CronJob as the server would keep it, where admission changes it.
    """
    if action.kind != "CronJob" or action.verb not in (Verb.CREATE, Verb.CHANGE):
        return action
    # With nothing to do nobody needs fire times: their import takes as long as a page of the list.
    from scheduler.sync import next_fire

    spec = (admitted or action.body)["spec"]
    if live is not None:
        spec = {**spec, "suspend": _is_suspended_after(action, spec, live)}
    is_retimed = any(change.path in (("spec", "schedule"), ("spec", "timeZone")) for change in action.changes)
    if live is None or is_retimed:
        return msgspec.structs.replace(action, fires=next_fire.fire_times(live, spec, now))
    return msgspec.structs.replace(action, fires=next_fire.released_slot(live, spec, now))


def _is_suspended_after(action: Action, spec: Mapping[str, Any], live: Object) -> bool:
    """Whether a CronJob is suspended once it is changed: what the configuration leaves open stays, unless only we own it."""
    if "suspend" in spec:
        return bool(spec["suspend"])
    is_dropped = any(change.path == ("spec", "suspend") and not change.owners for change in action.changes)
    return bool(live["spec"].get("suspend")) and not is_dropped


def _action(verb: Verb, body: Object, **values: Any) -> Action:
    metadata = body["metadata"]
    experiment, task = metadata["labels"].get(labels.INSTANCE, ""), metadata["labels"].get(labels.TASK, "")
    return Action(verb, body["kind"], metadata["namespace"], metadata["name"], experiment, task, body=body, **values)
