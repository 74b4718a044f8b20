"""What is wrong since when, and what is well again: the slots of a history, and what was told already, as values.

An incident is one cause: the slots of one task with the same kind of problem, for the same reason, until a slot of the task is
well again. What fills or breaks the store is one incident of the whole experiment (its task is ""), whatever tasks it touches.
Only what a schedule ran, or should have, opens one: runs by hand, reruns and backfills do not, but one that succeeds makes
its slot well.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from operator import itemgetter

from cronjobs.revisions.due import EDIT
from jobs.contract import ENSEMBLE_TASK, RunKind, Status
from scheduler.history.slots import Row


class ProblemKind(StrEnum):
    """What can be wrong."""

    FAILED = "failed"
    DIED = "died"
    INTERRUPTED = "interrupted"
    NO_QUORUM = "no quorum"
    MISSED = "missed"
    SKIPPED = "skipped"
    REFUSED = "refused"
    DEGRADED = "degraded"
    STORE = "store"
    CONFIGURATION = "configuration"


_BY_STATUS: Mapping[str, ProblemKind] = {
    Status.FAILED: ProblemKind.FAILED,
    Status.DIED: ProblemKind.DIED,
    Status.INTERRUPTED: ProblemKind.INTERRUPTED,
    Status.NO_QUORUM: ProblemKind.NO_QUORUM,
    Status.MISSED: ProblemKind.MISSED,
    Status.SKIPPED: ProblemKind.SKIPPED,
    Status.REFUSED: ProblemKind.REFUSED,
}
_WARNINGS = frozenset({ProblemKind.SKIPPED, ProblemKind.DEGRADED, ProblemKind.INTERRUPTED, ProblemKind.CONFIGURATION})
FULL, GONE, DAMAGED = "full", "out of reach", "damaged"
"""What can be wrong with a store: the causes of ``ProblemKind.STORE``."""
_FULL = re.compile(r"no space left on device|disk quota exceeded|ENOSPC|EDQUOT", re.IGNORECASE)
_GONE = re.compile(
    r"read-only file system|input/output error|stale file handle|transport endpoint is not connected|host is down",
    re.IGNORECASE,
)
_BY_HAND = ("(concurrency: replace)", "cancelled by")
"""In the reasons of runs that somebody, or the configuration, has ended on purpose."""
_VARIABLE = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|[0-9]+|\b(mon|tue|wed|thu|fri|sat|sun)\b", re.IGNORECASE)
_LONGEST_CAUSE = 120
_KINDS = frozenset(ProblemKind)
_STORE = "store: "
"""Before a cause: the thread of that trouble of the store. No task has a blank in its name."""
_Class = tuple[str, ProblemKind, str]
"""A task, a kind of problem and its cause: one incident at a time."""


@dataclass(frozen=True)
class Slot:
    """What became of one slot of a task; ``kind`` is None where all is well, or ``is_closed``: nobody waits for it any more.

    ``minute`` since 1970. ``cause`` is what problems of one kind have in common that are one incident.
    """

    task: str
    minute: int
    kind: ProblemKind | None = None
    cause: str = ""
    row: Row | None = None
    is_closed: bool = False


@dataclass(frozen=True)
class Fact:
    """Something that is wrong beside the slots, as whoever looks has seen it itself: since when (minutes since 1970) and why."""

    kind: ProblemKind
    cause: str
    minute: int
    reason: str


@dataclass(frozen=True)
class KnownIncident:
    """An incident that an event has opened. ``last`` and ``resolved`` (minutes) are None until an event has ended it."""

    id: str
    task: str
    kind: str
    cause: str
    first: int
    last: int | None = None
    is_fact: bool = False

    @property
    def is_open(self) -> bool:
        """Whether no event has ended it."""
        return self.last is None


@dataclass(frozen=True)
class OpenedIncident:
    """An incident that nobody was told of: its slots, oldest first; none for what stands beside the slots (``fact``)."""

    id: str
    task: str
    kind: ProblemKind
    cause: str
    first: int
    slots: tuple[Slot, ...] = ()
    fact: Fact | None = None
    ended: int | None = None
    """The slot at which it was well again, where that has come already."""

    @property
    def severity(self) -> str:
        """``error`` or ``warning``."""
        is_member = self.task not in ("", ENSEMBLE_TASK)
        is_warning = self.kind in _WARNINGS or (self.kind == ProblemKind.REFUSED and is_member)
        return "warning" if is_warning else "error"


@dataclass(frozen=True)
class ResolvedIncident:
    """An incident that has ended: the minute of its last slot, and how and when (a minute) it ended."""

    id: str
    task: str
    kind: str
    first: int
    last: int
    minute: int
    how: str


@dataclass(frozen=True)
class Outlook:
    """What is new: incidents that begin and end, in the order of their times. ``is_well``: nothing is wrong any more."""

    opened: Sequence[OpenedIncident] = ()
    resolved: Sequence[ResolvedIncident] = ()
    is_well: bool = True


@dataclass
class Situation:
    """What is looked at.

    ``slots``: those whose fate is settled, of all tasks, in any order. ``tasks``: those that have a schedule now.
    ``facts``: what is wrong beside them; ``judged``: the kinds of facts that whoever looks would have seen. ``minute``: now.
    """

    experiment: str
    slots: Sequence[Slot]
    tasks: Collection[str]
    minute: int
    facts: Sequence[Fact] = ()
    judged: Collection[ProblemKind] = ()


# -- slots


def slots_of(rows: Iterable[Row], is_open: Collection[str] = (), members: Collection[str] = ()) -> list[Slot]:
    """The slots of a history's rows that are settled, oldest first.

    ``is_open``: runs (ids) whose last try has ended, and that get another one. ``members``: the names of all members.
    """
    by_slot: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        if row.kind != RunKind.MANUAL:
            by_slot.setdefault((row.minute, row.task), []).append(row)
    slots = (
        _slot(sorted(own, key=lambda row: row.attempt or 0), is_open, members) for _, own in sorted(by_slot.items(), key=_first)
    )
    return [slot for slot in slots if slot is not None]


def _first(item: tuple[tuple[int, str], list[Row]]) -> tuple[int, str]:
    return item[0]


def _slot(rows: Sequence[Row], is_open: Collection[str], members: Collection[str]) -> Slot | None:
    """What became of a slot by its rows in the order of attempts; None where that is open, or a matter of somebody's own."""
    scheduled = [row for row in rows if row.kind in (None, RunKind.SCHEDULED)]
    repaired = [row for row in rows if row not in scheduled and row.status == Status.SUCCEEDED]
    row = (scheduled or rows)[-1]
    if repaired and not (scheduled and row.status == Status.SUCCEEDED):
        return Slot(row.task, row.minute, row=repaired[-1])
    if not scheduled or row.run in is_open:
        return None
    if row.status == Status.SUCCEEDED:
        if row.degraded:
            return Slot(row.task, row.minute, ProblemKind.DEGRADED, _degraded_cause(row.degraded, members), row)
        return Slot(row.task, row.minute, row=row)
    if row.status == Status.SUSPENDED:
        return Slot(row.task, row.minute, row=row, is_closed=True)
    if row.status == Status.UNKNOWN:
        is_damaged = row.reason.startswith("unreadable: ") or row.reason.endswith(": see cronsemble fsck")
        return Slot(row.task, row.minute, ProblemKind.STORE, DAMAGED, row) if is_damaged else None
    kind = _BY_STATUS.get(row.status)
    if kind is None or _is_on_purpose(row):
        return None
    if store_cause := cause_in_store(row.reason):
        return Slot(row.task, row.minute, ProblemKind.STORE, store_cause, row)
    cause = cause_of(row.reason) if kind in (ProblemKind.FAILED, ProblemKind.DIED) else ""
    return Slot(row.task, row.minute, kind, cause, row)


def _is_on_purpose(row: Row) -> bool:
    is_edit = row.status == Status.MISSED and row.reason.startswith((EDIT, "the task was removed"))
    is_ended = row.status == Status.INTERRUPTED and any(text in row.reason for text in _BY_HAND)
    return is_edit or is_ended


def cause_in_store(reason: str) -> str:
    """Which trouble of the store a reason tells of; empty for none."""
    return FULL if _FULL.search(reason) else GONE if _GONE.search(reason) else ""


def cause_of(reason: str) -> str:
    """What reasons have in common that differ in numbers, times, days and addresses alone."""
    return " ".join(_VARIABLE.sub("#", reason).split())[:_LONGEST_CAUSE]


def _degraded_cause(degraded: str, members: Collection[str]) -> str:
    """The members that it is about: how old the model is that was taken instead changes from night to night."""
    named = sorted(name for name in members if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", degraded))
    return ", ".join(named) or cause_of(degraded)


# -- what is new


@dataclass
class _Thread:
    """The slots of one task, or of one trouble of the store: the minutes with a problem, and those at which it was over."""

    problems: dict[tuple[ProblemKind, str], list[Slot]] = field(default_factory=dict)
    ends: list[tuple[int, str]] = field(default_factory=list)
    """In order: the minute, and how."""

    def first_end(self, low: float, high: float) -> tuple[int, str] | None:
        """The first end after one minute and before another."""
        n = bisect_right(self.ends, low, key=itemgetter(0))
        return self.ends[n] if n < len(self.ends) and self.ends[n][0] < high else None


def look(situation: Situation, known: Iterable[KnownIncident]) -> Outlook:
    """What is new in a situation, by the incidents that are known."""
    threads = _threads(situation.slots)
    known = list(known)
    names = {incident.id for incident in known}
    opened: list[OpenedIncident] = []
    resolved: list[ResolvedIncident] = []
    by_class: dict[_Class, list[KnownIncident]] = {}
    for incident in known:
        if incident.kind in _KINDS:
            by_class.setdefault((incident.task, ProblemKind(incident.kind), incident.cause), []).append(incident)
    classes = {(task, *key) for task, thread in threads.items() for key in thread.problems if not task.startswith(_STORE)}
    still_wrong = any(slot.kind is not None for slot in _newest(situation).values())
    for task, kind, cause in sorted(classes | set(by_class)):
        thread = threads.get(task if kind != ProblemKind.STORE else _STORE + cause, _Thread())
        uncovered = list(thread.problems.get((kind, cause), []))
        for incident in sorted(by_class.get((task, kind, cause), []), key=lambda incident: incident.first):
            covered: list[Slot] = []
            others: list[Slot] = []
            for slot in uncovered:
                (covered if _covers(incident, slot.minute, thread) else others).append(slot)
            uncovered = others
            if incident.is_open and not incident.is_fact:
                end = _end(incident.task, incident.first, covered, thread, situation)
                if end is None:
                    still_wrong = True
                    continue
                last = max([incident.first, *(slot.minute for slot in covered if slot.minute < end[0])])
                # What came after its end is another incident.
                uncovered += [slot for slot in covered if slot.minute > end[0]]
                resolved.append(ResolvedIncident(incident.id, task, kind, incident.first, last, *end))
        for group in _groups(sorted(uncovered, key=lambda slot: slot.minute), thread):
            first = group[0].minute
            name = incident_id(situation.experiment, task, kind, cause, first)
            if name in names:
                continue  # told once, whatever has become of its slots since
            end = _end(task, first, group, thread, situation)
            still_wrong |= end is None
            opened.append(OpenedIncident(name, task, kind, cause, first, tuple(group), ended=None if end is None else end[0]))
            if end is not None:
                resolved.append(ResolvedIncident(name, task, kind, first, group[-1].minute, *end))
    still_wrong |= _look_at_facts(situation, known, opened, resolved)
    opened.sort(key=lambda incident: (incident.first, incident.task, incident.kind, incident.cause))
    resolved.sort(key=lambda incident: (incident.minute, incident.task, incident.id))
    return Outlook(opened, resolved, not still_wrong)


def _look_at_facts(
    situation: Situation, known: Sequence[KnownIncident], opened: list[OpenedIncident], resolved: list[ResolvedIncident]
) -> bool:
    """Add what begins and ends beside the slots; whether anything of it is wrong now."""
    current = {(fact.kind, fact.cause): fact for fact in situation.facts}
    still_wrong = bool(current)
    present = {(incident.kind, incident.cause) for incident in known if incident.is_open and not incident.task}
    present |= {(str(incident.kind), incident.cause) for incident in opened if not incident.task and incident.ended is None}
    for (kind, cause), fact in current.items():
        if (kind, cause) not in present:
            id = incident_id(situation.experiment, "", kind, cause, fact.minute)
            if not any(incident.id == id for incident in known):
                opened.append(OpenedIncident(id, "", kind, cause, fact.minute, fact=fact))
    for incident in known:
        if not incident.is_open or not incident.is_fact or (incident.kind, incident.cause) in current:
            continue
        if incident.kind in situation.judged:
            now = max(situation.minute, incident.first)
            resolved.append(ResolvedIncident(incident.id, "", incident.kind, incident.first, now, now, "it is well again"))
        else:
            still_wrong = True
    return still_wrong


def incident_id(experiment: str, task: str, kind: str, cause: str, first: int) -> str:
    """Sixteen hexadecimal digits: whoever finds the same incident gives it the same name."""
    text = "\0".join((experiment, task, kind, cause, str(first)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _newest(situation: Situation) -> dict[str, Slot]:
    """By task that has a schedule its newest slot."""
    newest: dict[str, Slot] = {}
    for slot in situation.slots:
        if slot.task in situation.tasks and (slot.task not in newest or slot.minute > newest[slot.task].minute):
            newest[slot.task] = slot
    return newest


def _threads(slots: Iterable[Slot]) -> dict[str, _Thread]:
    """By task its slots; by ``store: `` and cause those of the store's troubles, in which the tasks that it touches are one."""
    threads: dict[str, _Thread] = {}
    in_order = sorted(slots, key=lambda slot: (slot.minute, slot.kind is None, slot.task))
    affected: dict[str, set[str]] = {}
    for slot in in_order:
        thread = threads.setdefault(slot.task, _Thread())
        if slot.kind is None:
            thread.ends.append((slot.minute, "suspended" if slot.is_closed else "succeeded"))
        elif slot.kind != ProblemKind.STORE:
            thread.problems.setdefault((slot.kind, slot.cause), []).append(slot)
        for cause, tasks in affected.items():
            is_same = slot.kind == ProblemKind.STORE and slot.cause == cause
            if slot.task in tasks and not is_same:
                tasks.discard(slot.task)
                if not tasks:
                    threads[_STORE + cause].ends.append((slot.minute, "succeeded" if slot.kind is None else str(slot.kind)))
        if slot.kind == ProblemKind.STORE:
            affected.setdefault(slot.cause, set()).add(slot.task)
            store = threads.setdefault(_STORE + slot.cause, _Thread())
            threads.setdefault("", _Thread()).problems[slot.kind, slot.cause] = store.problems.setdefault(
                (slot.kind, slot.cause), []
            )
            store.problems[slot.kind, slot.cause].append(slot)
    return threads


def _covers(incident: KnownIncident, minute: int, thread: _Thread) -> bool:
    """Whether a slot with the problem of an incident is one of it."""
    if incident.last is not None and incident.first <= minute <= incident.last:
        return True
    if minute >= incident.first and incident.last is not None:
        return False
    low, high = sorted((minute, incident.first))
    return low == high or thread.first_end(low, high) is None


def _end(task: str, first: int, covered: Sequence[Slot], thread: _Thread, situation: Situation) -> tuple[int, str] | None:
    """The minute at which an incident of a task that began at a slot has ended, and how; None while it goes on."""
    end = thread.first_end(first, inf)
    if end is not None:
        return end
    if task and not covered and any(minute == first for minute, _ in thread.ends):
        return first, "its slot was made up for"
    if task and task not in situation.tasks:
        return max(situation.minute, first), "no longer scheduled"
    return None


def _groups(slots: Sequence[Slot], thread: _Thread) -> list[list[Slot]]:
    """Slots in order, those together between which nothing was well."""
    groups: list[list[Slot]] = []
    for slot in slots:
        if groups and thread.first_end(groups[-1][-1].minute, slot.minute) is None:
            groups[-1].append(slot)
        else:
            groups.append([slot])
    return groups
