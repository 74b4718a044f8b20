"""A plan as text and JSON: its actions in the order in which they are executed, and what each change means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from cronjobs.objects import labels
from jobs.contract import member_task
from scheduler.config.configuration_changes import differences
from scheduler.console.json_output import as_ascii
from scheduler.kube.managed_fields import LAST_APPLIED, is_kubectl
from scheduler.sync.container_changes import summarized
from scheduler.sync.diff import ABSENT, Change
from scheduler.sync.plan import Action, SyncPlan, Verb

_SIGNS = {Verb.CREATE: "+", Verb.CHANGE: "~", Verb.PRUNE: "-", Verb.RECORD: "*"}
_LONGEST_VALUE = 100
_LISTED = 5
"""Names that a line lists; more are counted."""
_OF_MEMBER = re.compile(r"(configuration\.)backends\.([^.:]+)\.(.*)", re.DOTALL)
_HASH = re.compile("[0-9a-f]{64}")


def lines(plan: SyncPlan, allowed: frozenset[str] = frozenset()) -> Iterator[str]:
    """The plan for people; ``allowed`` are the flags whose refusals are not shown."""
    lines_of_actions = _change_lines(plan)
    tasks: dict[tuple[str, str, str], list[str]] = {}
    for action, own in zip(plan.actions, lines_of_actions, strict=True):
        for line in own:
            tasks.setdefault((action.namespace, action.experiment, line), []).append(action.task or action.name)
    for action, own in zip(plan.actions, lines_of_actions, strict=True):
        yield f"{_SIGNS[action.verb]} {title(action, with_namespace=len(plan.namespaces) > 1)}"
        for line in own:
            # One edit of what tasks share is one line, with those that it reaches.
            reached = tasks.pop((action.namespace, action.experiment, line), [])
            if reached:
                yield f"    {line}" + (f" ({_names(reached)})" if len(reached) > 1 else "")
        yield from (f"    {line}" for line in consequences(action))
    for note in plan.notes:
        yield f"note: {note}"
    for refusal in plan.refused(allowed):
        yield f"refused: {refusal.text}" + (f" ({refusal.flag} allows it)" if refusal.flag else "")
    yield summary(plan)


def title(action: Action, with_namespace: bool = False) -> str:
    """The object, and of a new CronJob its schedule."""
    where = f"{action.namespace}/" if with_namespace and action.kind != "Namespace" else ""
    name = f"{action.kind} {where}{action.name}"
    if action.verb == Verb.RECORD:
        return f"{name}: revision {action.body['number']}"
    if action.verb == Verb.CREATE and action.kind == "CronJob":
        spec = action.body["spec"]
        suspended = "; suspended" if spec.get("suspend") else ""
        fires = _format_fire(action.fires.after if action.fires else None)
        return f'{name}: "{spec["schedule"]}" {spec.get("timeZone", "")}; next {fires}{suspended}'
    return name


def new_releases(plan: SyncPlan, current: SyncPlan) -> Iterator[str]:
    """The slots that the actions of a saved plan start at once by now, and did not when it was made."""
    from scheduler.sync.next_fire import release_text

    for before, after in zip(plan.actions, current.actions, strict=True):
        if after.fires and after.fires.at_once and after.fires != before.fires:
            yield f"{title(after, with_namespace=len(plan.namespaces) > 1)}: {release_text(after.fires)}"


def _change_lines(plan: SyncPlan) -> list[list[str]]:
    """The lines of each action; what an ensemble says of a member as the member's own line says it, if there is one."""
    lines_of_actions = [list(change_lines(action)) for action in plan.actions]
    lines_of_tasks = {
        (action.experiment, action.task, line) for action, own in zip(plan.actions, lines_of_actions, strict=True) for line in own
    }

    def as_member(experiment: str, line: str) -> str:
        match = _OF_MEMBER.match(line)
        if match is None:
            return line
        own = f"{match[1]}{match[3]}"
        return own if (experiment, member_task(match[2]), own) in lines_of_tasks else line

    return [
        list(dict.fromkeys(as_member(action.experiment, line) for line in own))
        for action, own in zip(plan.actions, lines_of_actions, strict=True)
    ]


def change_lines(action: Action) -> Iterator[str]:
    """What changes, field by field."""
    changes = list(action.changes)
    if action.take_over:
        changes = [
            msgspec.structs.replace(change, owners=tuple(owner for owner in change.owners if not is_kubectl(owner)))
            for change in changes
            if change.path != LAST_APPLIED
        ]
    for change in summarized(changes):
        # The snapshot's ConfigMaps follow from its hashes, which the configuration shows.
        if change.field != "volumes[snapshot].projected.sources" or change.owners:
            yield from field_lines(change)


def consequences(action: Action) -> Iterator[str]:
    """What follows from a change: fire times, and the runs that it does not reach or that it ends."""
    if action.fires and action.fires.at_once:
        # Late: their import takes as long as a page of the list.
        from scheduler.sync.next_fire import release_text

        yield release_text(action.fires)
    elif action.verb == Verb.CHANGE and action.fires:
        yield f"next fire: {_format_fire(action.fires.before)} → {_format_fire(action.fires.after)}"
        if action.fires.latent:
            yield f"latent: the slot {_format_fire(action.fires.latent)} has passed, and the controller may still run it late"
    if action.running and action.verb == Verb.CHANGE:
        yield f"running: {', '.join(action.running)} keeps running as it was started"
    elif action.running:
        yield f"kills: {', '.join(action.running)}"
    if action.take_over:
        yield "takes over the fields that kubectl owns"


def field_lines(change: Change) -> Iterator[str]:
    """A changed field before and after; of a task's configuration, each changed key."""
    owners = f" (owned by {', '.join(change.owners)})" if change.owners else ""
    if change.path and change.path[-1] == labels.CONFIGURATION:
        old, new = _decoded(change.old), _decoded(change.new)
        if isinstance(old, dict) and isinstance(new, dict):
            for key, before, after in differences(old, new):
                if before is None and after is None:
                    yield f"configuration: {key}"
                    continue
                yield f"configuration.{key}: {format_value(before)} → {format_value(after)}{owners}"
            return
    if change.new is ABSENT and change.owners:
        yield f"{change.field}: left to {', '.join(change.owners)}"
    else:
        yield f"{change.field}: {format_value(change.old)} → {format_value(change.new)}{owners}"


def summary(plan: SyncPlan) -> str:
    """How many objects are created, changed, removed and unchanged, on one line."""
    counts = {verb: sum(1 for action in plan.actions if action.verb == verb) for verb in Verb}
    if not plan.actions and not plan.unchanged:
        return "nothing to do"
    if not plan.actions:
        return f"nothing to do: {plan.unchanged} objects are as the configuration says"
    if not (counts[Verb.CREATE] or counts[Verb.CHANGE] or counts[Verb.PRUNE]):
        return f"a revision to record, {plan.unchanged} unchanged"
    return (
        f"{counts[Verb.CREATE]} to create, {counts[Verb.CHANGE]} to change, {counts[Verb.PRUNE]} to remove, "
        f"{plan.unchanged} unchanged"
    )


def removals(plan: SyncPlan) -> str:
    """The objects whose removal a user has to confirm, on one line; empty where there are none.

    Snapshots that nothing names are no loss: the store has those that ran, and sync makes the others again.
    """
    removed = [
        action for action in plan.actions if action.verb == Verb.PRUNE and (action.kind != "ConfigMap" or action.experiment)
    ]
    parts = []
    for kind in dict.fromkeys(action.kind for action in removed):
        names = [action.name for action in removed if action.kind == kind]
        parts.append(f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({_names(names)})")
    return ", ".join(parts)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def format_value(value: Any) -> str:
    """A JSON value on one line, at most 100 characters; a SHA-256 as its first 12 digits."""
    if value is ABSENT:
        return "(none)"
    if isinstance(value, str) and _HASH.fullmatch(value):
        return value[:12]
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def as_json(plan: SyncPlan) -> str:
    """The plan for programs."""
    content = msgspec.to_builtins(plan)
    for action in content["actions"]:
        for change in action["changes"]:
            change.pop("path")
        # A program's zip in base64 helps nobody; --out keeps all.
        if action["kind"] == "ConfigMap" and action["verb"] != Verb.RECORD:
            action.pop("body")
    return as_ascii(msgspec.json.format(msgspec.json.encode(content), indent=1).decode())


def _format_fire(time: str | None) -> str:
    return "never" if not time else time.replace(":00Z", "Z")


def _decoded(text: Any) -> Any:
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else text
    except msgspec.DecodeError:
        return text
