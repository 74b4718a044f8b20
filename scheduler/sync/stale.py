"""Which actions of a saved plan no longer fit the cluster. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.kube import managed_fields
from scheduler.kube.objects import NamespaceObjects
from scheduler.sync.context import ContextNeeds, NamespaceContext
from scheduler.sync.diff import fingerprint
from scheduler.sync.namespace_diff import recorded_digest
from scheduler.sync.plan import Action, Verb
from scheduler.sync.prune import prunable, prune_cronjobs


def needed_context(actions: Iterable[Action]) -> ContextNeeds:
    """What has to be read of a namespace to tell whether these actions are stale."""
    keys = {(action.verb, action.kind) for action in actions}
    created = tuple(sorted(kind for verb, kind in keys if verb == Verb.CREATE and kind != "Namespace"))
    return ContextNeeds(unfinished_jobs=(Verb.PRUNE, "CronJob") in keys, foreign_names=created)


def is_stale(action: Action, live: NamespaceObjects, context: NamespaceContext) -> bool:
    """Whether the object is not as it was when the action was planned."""
    if action.kind == "Namespace":
        return False
    if action.verb == Verb.RECORD:
        return recorded_digest(live.configmaps.get(action.name)) != action.seen
    current = live.of_kind(action.kind).get(action.name)
    if action.verb == Verb.CREATE:
        return current is not None or action.name in context.foreign_names[action.kind]
    if current is None:
        return action.verb == Verb.CHANGE
    if current["metadata"]["uid"] != action.uid:
        return True
    if action.verb == Verb.CHANGE:
        owned = managed_fields.owned_by(current["metadata"], managed_fields.OURS)
        return fingerprint(action.body, current, owned) != action.seen
    if action.kind == "ConfigMap":
        return False
    (removal,) = prune_cronjobs([current], context.unfinished_jobs)
    return prunable(current) != action.seen or not set(removal.running) <= set(action.running)
