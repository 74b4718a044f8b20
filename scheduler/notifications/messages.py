"""Messages: what a channel is sent, made from events: a subject, a text and a JSON document. Values alone.

The document has the version ``SCHEMA``: keys may be added, and none is taken away or changes its meaning. ``message_schema``
is its JSON Schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jobs.contract import SCHEMA, Status
from jobs.text import one_line
from scheduler.history.slots import LocalClock, Row
from scheduler.notifications.events import EVENT_KINDS, OPENED, RESOLVED, WELL, format_slot, in_words, listed
from scheduler.notifications.incidents import ProblemKind
from scheduler.times import format_time

PROBLEM, TEST, DIGEST = "problem", "test", "digest"
"""Types of messages beside those of events that end something: ``resolved`` and ``well``."""
TYPES = (PROBLEM, RESOLVED, WELL, TEST, DIGEST)
LINK_FIELDS = ("experiment", "task", "run", "slot", "date")
"""What may stand in braces in ``notify.link``."""
MOST_MESSAGES = 5
"""Messages of one look; what is more becomes one."""
_PAST: Mapping[str, str] = {
    ProblemKind.FAILED: "failed",
    ProblemKind.DIED: "died",
    ProblemKind.INTERRUPTED: "was interrupted",
    ProblemKind.NO_QUORUM: "had no quorum",
    ProblemKind.MISSED: "was missed",
    ProblemKind.SKIPPED: "was skipped",
    ProblemKind.REFUSED: "was refused",
    ProblemKind.DEGRADED: "is degraded",
}
_MOST_SLOTS = 100
"""How many slots a digest lists."""
_MOST_INCIDENTS = 20


@dataclass(frozen=True)
class Message:
    """What is sent: ``events`` are the names of those that it tells of; ``id`` is the same whenever these are sent again."""

    id: str
    type: str
    subject: str
    text: str
    document: Mapping[str, Any]
    events: tuple[str, ...] = ()
    severity: str = "info"


@dataclass(frozen=True)
class Sender:
    """Who tells: the experiment, the zone of its times, and the template of links (``notify.link``)."""

    experiment: str
    timezone: str
    link: str = ""

    def link_to(self, incident: Mapping[str, Any]) -> str:
        """The address of an incident's run or task; empty where there is none, or it needs what the incident has not."""
        values = {
            "experiment": self.experiment,
            "task": incident.get("task") or ((incident.get("tasks") or [""])[0]),
            "run": incident.get("run") or "",
            "slot": incident.get("slot") or "",
            "date": str(incident.get("local") or "")[:10],
        }
        wanted = set(re.findall(r"\{([a-z]+)\}", self.link))
        if not self.link or not all(values.get(name) for name in wanted):
            return ""
        return re.sub(r"\{([a-z]+)\}", lambda match: quote(str(values[match[1]]), safe=""), self.link)


def messages(events: Sequence[Mapping[str, Any]], sender: Sender) -> list[Message]:
    """What events come to, in their order: those that one cause opened are one message, and so are those of a long list."""
    groups: list[tuple[tuple[str, str, str], list[Mapping[str, Any]]]] = []
    for event in events:
        key = _group(event)
        known = next((group for other, group in groups if other == key), None)
        if known is None:
            groups.append((key, [event]))
        else:
            known.append(event)
    problems = [group for (kind, _, _), group in groups if kind == OPENED]
    if len(problems) > MOST_MESSAGES:
        together = [event for group in problems for event in group]
        rest = [group for (kind, _, _), group in groups if kind != OPENED]
        return [message(group, sender) for group in (together, *rest)]
    return [message(group, sender) for _, group in groups]


def _group(event: Mapping[str, Any]) -> tuple[str, str, str]:
    kind = str(event.get("type"))
    incident = event.get("incident") or {}
    if kind == OPENED:
        return kind, str(incident.get("kind")), str(incident.get("cause"))
    return kind, "" if kind == RESOLVED else str(event.get("id")), ""


def message(events: Sequence[Mapping[str, Any]], sender: Sender) -> Message:
    """The message of events of one type."""
    kind = str(events[0].get("type"))
    names = tuple(str(event["id"]) for event in events)
    id = names[0] if len(names) == 1 else f"{kind}-{hashlib.sha256(' '.join(sorted(names)).encode()).hexdigest()[:16]}"
    incidents = [dict(event.get("incident") or {}) for event in events]
    time = str(events[-1].get("time"))
    if kind == WELL:
        incidents = [dict(ended) for event in events for ended in event.get("ended") or ()]
        subject, lines = "all is well again", [_ended_line(incident) for incident in incidents]
        return _message(id, WELL, subject, lines, incidents, sender, time, names, "info")
    if kind == RESOLVED:
        subject = "ended: " + _and_more([f"{_who(incident)} {_what(incident)}" for incident in incidents])
        return _message(
            id, RESOLVED, subject, [_ended_line(incident) for incident in incidents], incidents, sender, time, names, "info"
        )
    severity = "error" if any(incident.get("severity") == "error" for incident in incidents) else "warning"
    lines = []
    for n, incident in enumerate(incidents[:_MOST_INCIDENTS]):
        lines += [*([""] if n else []), *_problem_lines(incident, sender, len(incidents) > 1)]
    if len(incidents) > _MOST_INCIDENTS:
        lines += ["", f"and {len(incidents) - _MOST_INCIDENTS} more: cronsemble history --since 2d"]
    return _message(id, PROBLEM, _problem_subject(incidents), lines, incidents, sender, time, names, severity)


def _message(
    id: str,
    type: str,
    subject: str,
    lines: Sequence[str],
    incidents: Sequence[Mapping[str, Any]],
    sender: Sender,
    time: str,
    events: tuple[str, ...],
    severity: str,
) -> Message:
    subject = one_line(f"[{sender.experiment}] {subject}", 200)
    text = "\n".join([subject, "", *lines]).rstrip() + "\n"
    document = {
        "schema": SCHEMA,
        "id": id,
        "type": type,
        "severity": severity,
        "time": time,
        "experiment": sender.experiment,
        "timezone": sender.timezone,
        "subject": subject,
        "text": text,
        "incidents": [_public(incident, sender) for incident in incidents],
    }
    return Message(id, type, subject, text, document, events, severity)


def _public(incident: Mapping[str, Any], sender: Sender) -> dict[str, Any]:
    """An incident as the document has it."""
    hidden = ("first", "last", "minute", "is_fact", "cause")
    public = {key: value for key, value in incident.items() if key not in hidden}
    link = sender.link_to(incident)
    return {**public, **({"link": link} if link else {})}


# -- lines


def _who(incident: Mapping[str, Any]) -> str:
    if incident.get("task"):
        return str(incident["task"])
    return "configuration" if incident.get("kind") == ProblemKind.CONFIGURATION else "store"


def _what(incident: Mapping[str, Any]) -> str:
    kind = str(incident.get("kind"))
    if kind == ProblemKind.CONFIGURATION:
        return "refused"
    if kind == ProblemKind.STORE:
        return str(incident.get("cause") or "in trouble")
    return _PAST.get(kind, kind)


def _and_more(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]}, and {in_words(len(texts) - 1)} more"


def _problem_subject(incidents: Sequence[Mapping[str, Any]]) -> str:
    first = incidents[0]
    whats = {_what(incident) for incident in incidents}
    if len(incidents) == 1:
        subject = f"{_who(first)} {_what(first)}"
    elif len(whats) == 1:
        who = [_who(incident) for incident in incidents]
        subject = f"{listed(who)} {whats.pop().replace('was ', 'were ').replace('is ', 'are ')}"
    else:
        subject = f"{in_words(len(incidents))} problems: " + _and_more([f"{_who(i)} {_what(i)}" for i in incidents])
    slots = max((int(incident.get("slots") or 0) for incident in incidents), default=0)
    if slots > 1:
        return f"{subject}: {slots} slots since {format_slot(str(first.get('since_local')))}"
    return f"{subject}: {format_slot(str(first.get('local')))}" if first.get("local") else subject


def _problem_lines(incident: Mapping[str, Any], sender: Sender, is_one_of_many: bool) -> list[str]:
    lines = [f"{_who(incident)} {_what(incident)}"] if is_one_of_many else []
    slots = int(incident.get("slots") or 0)
    when = format_slot(str(incident.get("local")))
    tasks = incident.get("tasks") or []
    rows: list[tuple[str, str]] = [
        ("experiment", "" if is_one_of_many else sender.experiment),
        ("tasks", listed([str(task) for task in tasks]) if not incident.get("task") else ""),
        ("task", "" if is_one_of_many else str(incident.get("task") or "")),
        ("slot", f"{when} ({sender.timezone})" if slots == 1 else ""),
        ("since", f"{format_slot(str(incident.get('since_local')))} ({sender.timezone})" if slots != 1 else ""),
        ("slots", f"{slots}, the last one {when}" if slots > 1 else ""),
        ("run", str(incident.get("run") or "")),
        ("reason", f"{incident.get('reason')} ({incident.get('evidence')})" if incident.get("reason") else ""),
        ("goes on", "; ".join(map(str, incident.get("still_works") or ()))),
        ("type", "\n            ".join(map(str, incident.get("commands") or ()))),
        ("link", sender.link_to(incident)),
    ]
    return [*lines, *(f"{name + ':':<11} {value}" for name, value in rows if value)]


def _ended_line(incident: Mapping[str, Any]) -> str:
    task, tasks = str(incident.get("task") or ""), [str(task) for task in incident.get("tasks") or ()]
    who = task or (f"{_who(incident)} ({listed(tasks)})" if tasks else _who(incident))
    since, until = format_slot(str(incident.get("since_local"))), format_slot(str(incident.get("local")))
    return f"{who}: {incident.get('kind')} since {since}; {incident.get('how')}: {until}"


# -- on request


def sample(sender: Sender, channel: str, now: float, clock: LocalClock) -> Message:
    """What `notify --test` sends: it says that it is a test, and has all that a problem has."""
    utc, local = clock.both(int(now // 60))
    incident = {
        "id": "0" * 16,
        "kind": str(ProblemKind.FAILED),
        "severity": "warning",
        "task": "train-example",
        "tasks": ["train-example"],
        "slot": utc,
        "local": local,
        "since": utc,
        "since_local": local,
        "slots": 1,
        "run": None,
        "reason": "this is a test: nothing is wrong",
        "evidence": "recorded",
        "still_works": ["everything"],
        "commands": ["cronsemble notify --test"],
    }
    time = format_time(now, milliseconds=True)
    lines = [
        f"A test of the channel {channel}: nothing is wrong. A problem looks like this:",
        "",
        *_problem_lines(incident, sender, False),
    ]
    name = f"test-{hashlib.sha256(f'{sender.experiment} {channel} {time}'.encode()).hexdigest()[:16]}"
    return _message(name, TEST, f"test of the channel {channel}", lines, [incident], sender, time, (), "info")


def digest(
    sender: Sender,
    rows: Sequence[Row],
    since: float,
    now: float,
    clock: LocalClock,
    open_events: Sequence[Mapping[str, Any]] = (),
) -> Message:
    """What became of the slots of a period (seconds since 1970), and what is wrong now; ``rows`` newest slot first."""
    start, end = clock.local(int(since // 60)), clock.local(int(now // 60))
    own = [row for row in rows if since <= row.minute * 60 <= now and row.status != Status.NOT_YET_DUE]
    counts: dict[str, int] = {}
    for row in own:
        counts[row.outcome] = counts.get(row.outcome, 0) + 1
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    total = ", ".join(f"{number} {status}" for status, number in order) or "no slots"
    lines = [f"{format_slot(start)} to {format_slot(end)} ({sender.timezone}): {total}", ""]
    # Of a task that fires every few minutes nobody reads each success.
    is_long = len(own) > _MOST_SLOTS
    listed_rows = [row for row in own if not is_long or row.outcome != Status.SUCCEEDED][:_MOST_SLOTS]
    width = max((len(row.task) for row in listed_rows), default=0)
    for row in reversed(listed_rows):
        accuracy = "" if row.accuracy is None else f", accuracy {row.accuracy:.4f}"
        why = f": {row.explanation}" if row.explanation else ""
        lines.append(one_line(f"{row.local[:10]} {row.local[11:16]}  {row.task:<{width}}  {row.outcome}{accuracy}{why}", 300))
    if is_long:
        lines.append(f"{len(own) - len(listed_rows)} more slots are not listed: cronsemble history has them all")
    incidents = [dict(event.get("incident") or {}) for event in open_events]
    if incidents:
        lines += ["", "Wrong now:"]
        lines += [
            f"{_who(incident)} {_what(incident)} since {format_slot(str(incident.get('since_local')))}: {incident.get('reason')}"
            for incident in incidents
        ]
    is_bad = bool(incidents)
    time = format_time(now, milliseconds=True)
    name = f"digest-{hashlib.sha256(f'{sender.experiment} {since} {time}'.encode()).hexdigest()[:16]}"
    return _message(
        name, DIGEST, f"digest: {total}", lines, incidents, sender, time, (), "warning" if is_bad else "info"
    )  # fmt: skip


def message_schema() -> dict[str, Any]:
    """The JSON Schema of a message's document."""
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    time = {"type": "string", "description": "ISO 8601"}
    incident = {
        "type": "object",
        "required": ["id", "kind", "task"],
        "properties": {
            "id": {**text, "description": "the same for all messages about one cause"},
            "kind": {"enum": [kind for kind in EVENT_KINDS if kind not in (RESOLVED, WELL)]},
            "severity": {"enum": ["error", "warning"]},
            "task": {**text, "description": "empty for what concerns the whole experiment"},
            "tasks": {**texts, "description": "the tasks that it touches"},
            "slot": {
                **time,
                "description": "the last slot that it touches, in UTC; of one that has ended, the slot that was well",
            },
            "local": {**time, "description": "the same in the experiment's zone"},
            "since": {**time, "description": "its first slot, in UTC"},
            "since_local": {**time, "description": "the same in the experiment's zone"},
            "slots": {"type": "integer", "description": "how many slots it touches"},
            "run": {"type": ["string", "null"], "description": "the last slot's run, if it has one"},
            "reason": text,
            "evidence": {**text, "description": "recorded, observed, inferred or unknown"},
            "still_works": {**texts, "description": "what goes on all the same"},
            "commands": {**texts, "description": "what to type"},
            "how": {**text, "description": "of one that has ended: how"},
            "link": text,
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A message of cronsemble",
        "type": "object",
        "required": [
            "schema",
            "id",
            "type",
            "severity",
            "time",
            "experiment",
            "timezone",
            "subject",
            "text",
            "incidents",
        ],
        "properties": {
            "schema": {"const": SCHEMA},
            "id": {**text, "description": "the same if the message has to be sent again: whoever has it may drop the second"},
            "type": {"enum": list(TYPES)},
            "severity": {"enum": ["error", "warning", "info"]},
            "time": {**time, "description": "when it was found"},
            "experiment": text,
            "timezone": {**text, "description": "the experiment's zone, an IANA name"},
            "subject": text,
            "text": {**text, "description": "for people"},
            "incidents": {"type": "array", "items": incident},
        },
    }
