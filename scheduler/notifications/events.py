"""Events: what somebody is to be told, as the documents that the store keeps, with all that a message needs. Values alone.

Three types: ``opened`` (an incident began), ``resolved`` (it ended) and ``well`` (nothing is wrong any more). The name of an
event follows from the incident, so that all who find it give it the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.contract import ENSEMBLE_TASK, RunKind, Status
from jobs.text import one_line
from scheduler.history.run_facts import RunFact
from scheduler.history.slots import LocalClock, Row
from scheduler.notifications.incidents import (
    DAMAGED,
    FULL,
    GONE,
    KnownIncident,
    OpenedIncident,
    Outlook,
    ProblemKind,
    ResolvedIncident,
)
from scheduler.times import format_duration, format_time

OPENED, RESOLVED, WELL = "opened", "resolved", "well"
"""The types of events."""
EVENT_KINDS = (*(str(kind) for kind in ProblemKind), RESOLVED, WELL)
"""What a channel may be told of: the kinds of problems, and how they end."""
_LONGEST_REASON = 600
_MOST_LISTED = 6
_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Surroundings:
    """What an event says beside its incident.

    ``rows``: those that were looked at, newest slot first. ``fact``: what the history knows of an ensemble's run. ``place``: what
    names the experiment in a command, e.g. ``-f config.yaml``.
    """

    clock: LocalClock
    now: float
    rows: Sequence[Row] = ()
    fact: Callable[[Row], RunFact | None] = lambda row: None
    place: str = ""
    members: Sequence[str] = field(default=())


def known_incidents(events: Iterable[Mapping[str, Any]]) -> list[KnownIncident]:
    """The incidents that a store's events tell of; what has no incident is passed over."""
    opened: dict[str, KnownIncident] = {}
    ended: dict[str, int] = {}
    for event in events:
        incident = event.get("incident") or {}
        id, first = incident.get("id"), incident.get("first")
        if id is None or first is None:
            continue
        if event.get("type") == OPENED:
            texts = [str(incident.get(key) or "") for key in ("task", "kind", "cause")]
            opened[id] = KnownIncident(id, texts[0], texts[1], texts[2], first, None, bool(incident.get("is_fact")))
        elif event.get("type") == RESOLVED:
            ended[id] = max(first, incident.get("last") or first)
    return [
        KnownIncident(known.id, known.task, known.kind, known.cause, known.first, ended.get(known.id), known.is_fact)
        for known in opened.values()
    ]


def new_events(outlook: Outlook, events: Sequence[Mapping[str, Any]], around: Surroundings) -> list[dict[str, Any]]:
    """The documents of what is new, in the order in which it is to be told; ``events`` are those that there are."""
    time = format_time(around.now, milliseconds=True)
    documents = [_opened_event(incident, around, time) for incident in outlook.opened]
    by_id = {(event.get("incident") or {}).get("id"): event for event in (*events, *documents) if event.get("type") == OPENED}
    documents += [_resolved_event(incident, by_id.get(incident.id) or {}, around, time) for incident in outlook.resolved]
    if outlook.is_well:
        all_events = [*events, *documents]
        told = {id for event in all_events if event.get("type") == WELL for id in event.get("incidents") or ()}
        ended = [event for event in all_events if event.get("type") == RESOLVED and event["incident"]["id"] not in told]
        still_open = {incident.id for incident in known_incidents(all_events) if incident.is_open}
        if ended and not still_open:
            documents.append(_well_event(ended, time))
    return documents


def _opened_event(incident: OpenedIncident, around: Surroundings, time: str) -> dict[str, Any]:
    slots = incident.slots
    rows = [slot.row for slot in slots if slot.row is not None]
    row = rows[-1] if rows else None
    reason = incident.fact.reason if incident.fact is not None else row.full_reason if row is not None else ""
    tasks = sorted({slot.task for slot in slots} or ({incident.task} if incident.task else set()))
    latest = slots[-1].minute if slots else incident.first
    utc, local = around.clock.both(latest)
    return {
        "id": f"{OPENED}-{incident.id}",
        "type": OPENED,
        "time": time,
        "incident": {
            "id": incident.id,
            "kind": str(incident.kind),
            "cause": incident.cause,
            "severity": incident.severity,
            "task": incident.task,
            "tasks": tasks,
            "first": incident.first,
            "minute": latest,
            "slot": utc,
            "local": local,
            "since": around.clock.both(incident.first)[0],
            "since_local": around.clock.local(incident.first),
            "slots": len({slot.minute for slot in slots}),
            "run": row.run if row is not None else None,
            "reason": one_line(reason, _LONGEST_REASON),
            "evidence": row.evidence if row is not None else "observed",
            "still_works": _still_works(incident, around),
            "commands": _commands(incident, row, around),
            "is_fact": incident.fact is not None,
        },
    }


def _resolved_event(incident: ResolvedIncident, opened: Mapping[str, Any], around: Surroundings, time: str) -> dict[str, Any]:
    before = opened.get("incident") or {}
    utc, local = around.clock.both(incident.minute)
    since, since_local = around.clock.both(incident.first)
    return {
        "id": f"{RESOLVED}-{incident.id}",
        "type": RESOLVED,
        "time": time,
        "incident": {
            **{key: before[key] for key in ("severity", "tasks", "reason", "cause") if key in before},
            "id": incident.id,
            "kind": str(incident.kind),
            "task": incident.task,
            "first": incident.first,
            "last": incident.last,
            "minute": incident.minute,
            "slot": utc,
            "local": local,
            "since": since,
            "since_local": since_local,
            "how": incident.how,
        },
    }


def _well_event(ended: Sequence[Mapping[str, Any]], time: str) -> dict[str, Any]:
    newest = max(ended, key=lambda event: (event["incident"].get("minute") or 0, event["incident"]["id"]))
    keys = ("id", "kind", "cause", "task", "tasks", "slot", "local", "since", "since_local", "how")
    return {
        "id": f"{WELL}-{newest['incident']['id']}",
        "type": WELL,
        "time": time,
        "incidents": [event["incident"]["id"] for event in ended],
        "ended": [{key: event["incident"].get(key) for key in keys} for event in ended],
    }


# -- what a person needs


def _still_works(incident: OpenedIncident, around: Surroundings) -> list[str]:
    """What goes on all the same, a sentence each."""
    if incident.kind == ProblemKind.CONFIGURATION:
        return ["the configuration that was read before stays in use"]
    if incident.kind == ProblemKind.STORE:
        return [] if incident.cause == GONE else ["what was written before can be read"]
    if incident.task != ENSEMBLE_TASK:
        return [*_ensemble_since(incident, around), *_newest_model(incident.task, around)]
    if incident.kind == ProblemKind.DEGRADED:
        row = incident.slots[-1].row
        return [_members_of(row, around)] if row is not None and _members_of(row, around) else []
    row = _newest_success(ENSEMBLE_TASK, around)
    newest = [f"the newest predictions are those of {format_slot(row.local)}"] if row is not None else []
    minute = incident.slots[-1].minute if incident.slots else incident.first
    trained = [name for name in around.members if _has_model_before(name, minute, around)]
    if trained:
        newest.append(f"there is a model of {listed(trained)}")
    return newest


def _ensemble_since(incident: OpenedIncident, around: Surroundings) -> list[str]:
    """With how many members the newest ensemble run after the incident's first slot went on."""
    row = _newest_success(ENSEMBLE_TASK, around)
    if row is None or row.minute < incident.first or not (text := _members_of(row, around)):
        return []
    return [text]


def _members_of(row: Row, around: Surroundings) -> str:
    fact = around.fact(row)
    if fact is None or not fact.members:
        return ""
    combined = [member for member in fact.members if not member.left_out]
    if len(combined) == len(fact.members):
        return f"the ensemble of {format_slot(row.local)} went on with all of its {in_words(len(combined))} members"
    names = ", ".join(member.member for member in combined)
    how_many = f"{in_words(len(combined))} of {in_words(len(fact.members))} members"
    return f"the ensemble of {format_slot(row.local)} went on with {how_many}: {names}"


def _newest_model(task: str, around: Surroundings) -> list[str]:
    row = _newest_success(task, around)
    if row is None:
        return []
    age = format_duration(max(0.0, around.now - row.minute * 60))
    return [f"its newest model is of {format_slot(row.local)}, {age} old"]


def _newest_success(task: str, around: Surroundings) -> Row | None:
    return next((row for row in around.rows if row.task == task and _is_success(row)), None)


def _has_model_before(member: str, minute: int, around: Surroundings) -> bool:
    return any(row.task == f"train-{member}" and row.minute <= minute and _is_success(row) for row in around.rows)


def _is_success(row: Row) -> bool:
    return row.status == Status.SUCCEEDED and row.kind != RunKind.MANUAL


def _commands(incident: OpenedIncident, row: Row | None, around: Surroundings) -> list[str]:
    """What to type, the most useful first."""
    place = f" {around.place}" if around.place else ""
    if incident.kind == ProblemKind.CONFIGURATION:
        return [f"cronsemble check{place}"]
    if incident.kind == ProblemKind.STORE:
        by_cause = {FULL: f"cronsemble gc{place} --older-than 90d --dry-run", DAMAGED: f"cronsemble fsck{place}"}
        return [by_cause.get(incident.cause, f"cronsemble history{place} --since 2d")]
    if row is None:
        return []
    again = f"cronsemble backfill {row.slot}{place} --task {row.task}"
    if row.run is None:
        return [f"cronsemble history {row.slot}{place} --task {row.task}", again]
    show = f"cronsemble show {row.run}{place}"
    if incident.kind == ProblemKind.REFUSED:
        return [show, f"cronsemble accept {row.run}{place}"]
    if incident.kind == ProblemKind.DEGRADED:
        return [show]
    return [show, f"cronsemble logs {row.run}{place}", again]


def format_slot(local: str) -> str:
    """A time with its offset (2026-11-20T02:00+01:00) as people read it: 2026-11-20 02:00 +01:00."""
    return f"{local[:10]} {local[11:16]} {local[16:]}"


def in_words(number: int) -> str:
    """Small numbers as words."""
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def listed(names: Sequence[str]) -> str:
    """Names with commas between; of many the first ones, and how many more there are."""
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
