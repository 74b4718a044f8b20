"""A plan in words: the very actions that a sync executes, one after the other, and what a change means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from cronjobs.objects import labels
from scheduler.sync.diff import ABSENT, Change
from scheduler.sync.plan import CHANGE, CREATE, PRUNE, RECORD, Action, SyncPlan

_SIGNS = {CREATE: "+", CHANGE: "~", PRUNE: "-", RECORD: "*"}
_LONGEST = 100
_HASH = re.compile("[0-9a-f]{64}")


def lines(plan: SyncPlan, allowed: frozenset[str] = frozenset()) -> Iterator[str]:
    """The plan for people; what the flags ``allowed`` lift is not refused."""
    for action in plan.actions:
        yield f"{_SIGNS[action.verb]} {title(action, many=len(plan.namespaces) > 1)}"
        yield from (f"    {each}" for each in details(action))
    for note in plan.notes:
        yield f"note: {note}"
    for refusal in plan.refused(allowed):
        yield f"refused: {refusal.text}" + (f" ({refusal.flag} allows it)" if refusal.flag else "")
    yield summary(plan)


def title(action: Action, many: bool = False) -> str:
    where = f"{action.namespace}/" if many and action.kind != "Namespace" else ""
    name = f"{action.kind} {where}{action.name}"
    if action.verb == RECORD:
        return f"{name}: revision {action.body['number']}"
    if action.verb == CREATE and action.kind == "CronJob":
        spec = action.body["spec"]
        rests = "; suspended" if spec.get("suspend") else ""
        fires = _fire(action.fires.after if action.fires else None)
        return f'{name}: "{spec["schedule"]}" {spec.get("timeZone", "")}; next {fires}{rests}'
    return name


def details(action: Action) -> Iterator[str]:
    """What changes, field by field, and what that does."""
    for change in action.changes:
        # The snapshot's ConfigMaps follow from its hashes, which the configuration shows.
        if change.field != "volumes[snapshot].projected.sources" or change.owners:
            yield from field_lines(change)
    if action.verb == CHANGE and action.fires:
        yield f"next fire: {_fire(action.fires.before)} → {_fire(action.fires.after)}"
        if action.fires.latent:
            yield f"latent: the slot {_fire(action.fires.latent)} has passed, and the controller may still run it late"
    if action.running and action.verb == CHANGE:
        yield f"running: {', '.join(action.running)} goes on as it began"
    elif action.running:
        yield f"kills: {', '.join(action.running)}"
    if action.take_over:
        yield "takes over the fields that kubectl owns"


def field_lines(change: Change) -> Iterator[str]:
    told = f" (owned by {', '.join(change.owners)})" if change.owners else ""
    if change.path and change.path[-1] == labels.CONFIGURATION:
        old, new = _json(change.old), _json(change.new)
        if isinstance(old, dict) and isinstance(new, dict):
            for path, before, after in inner(old, new):
                yield f"configuration{path}: {value(before)} → {value(after)}{told}"
            return
    if change.new is ABSENT and change.owners:
        yield f"{change.field}: left to {', '.join(change.owners)}"
    else:
        yield f"{change.field}: {value(change.old)} → {value(change.new)}{told}"


def inner(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from inner(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from inner(left, right, f"{path}[{number}]")
    elif old != new:
        yield path, old, new


def summary(plan: SyncPlan) -> str:
    counts = {verb: sum(1 for action in plan.actions if action.verb == verb) for verb in (CREATE, CHANGE, PRUNE)}
    if not plan.actions and not plan.unchanged:
        return "nothing to do"
    if not plan.actions:
        return f"nothing to do: {plan.unchanged} objects are as the configuration says"
    told = f"{counts[CREATE]} to create, {counts[CHANGE]} to change, {counts[PRUNE]} to remove, {plan.unchanged} unchanged"
    return told if any(counts.values()) else f"a revision to record, {plan.unchanged} unchanged"


def value(found: Any) -> str:
    """A value on one line, not too long."""
    if found is ABSENT:
        return "(none)"
    if isinstance(found, str) and _HASH.fullmatch(found):
        return found[:12]
    text = msgspec.json.encode(found).decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def as_json(plan: SyncPlan) -> str:
    """The plan for programs."""
    told = msgspec.to_builtins(plan)
    for action in told["actions"]:
        action.pop("path", None)
        for change in action["changes"]:
            change.pop("path")
        # A program's zip in base64 helps nobody; --out keeps all.
        if action["kind"] == "ConfigMap" and action["verb"] != RECORD:
            action.pop("body")
    return msgspec.json.format(msgspec.json.encode(told), indent=1).decode()


def _fire(moment: str | None) -> str:
    return "never" if not moment else moment.replace(":00Z", "Z")


def _json(text: Any) -> Any:
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else text
    except msgspec.DecodeError:
        return text
