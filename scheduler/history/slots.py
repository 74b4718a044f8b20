"""Slots: what became of every time that a task should have run, and why. Values in, values out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import Any

import msgspec

from cronjobs.fire_times.calendar import date_of
from cronjobs.fire_times.zones import DAY, zone
from cronjobs.revisions.expected import expected, fires_at
from cronjobs.revisions.revisions import SchedulePeriod, TaskSchedule
from jobs.contract import RunKind, run_name

SUCCEEDED, FAILED, RUNNING, DIED, INTERRUPTED, UNKNOWN = "succeeded", "failed", "running", "died", "interrupted", "unknown"
NO_QUORUM, MISSED, SUSPENDED, SKIPPED = "no quorum", "missed", "suspended", "skipped"
DUE, NOT_YET = "due", "not yet due"
STATUSES = (
    SUCCEEDED,
    FAILED,
    NO_QUORUM,
    RUNNING,
    DIED,
    INTERRUPTED,
    MISSED,
    SUSPENDED,
    SKIPPED,
    DUE,
    NOT_YET,
    UNKNOWN,
)
RECORDED, OBSERVED, INFERRED = "recorded", "observed", "inferred"
LATE = 60
"""Seconds after its minute from which on a run is called late."""
SILENT = 600
"""Seconds after its deadline from which on a run of another machine that says nothing is taken for dead."""
LONGEST = 30 * 86400
"""The same for a run whose deadline is not known."""
LINGERS = 30
"""Seconds for which a Job may outlive its run's record: the containers end, the kubelet tells, the controllers look."""


class RunFact(msgspec.Struct, array_like=True, gc=False):
    """A run as the history needs it. Times in seconds since 1970; ``seal`` is the index's own."""

    minute: int
    attempt: int
    status: str
    reason: str = ""
    evidence: str = RECORDED
    kind: str | None = None
    started: float | None = None
    finished: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    seal: int = 0


class Row(msgspec.Struct, gc=False):
    """A row of the history; what only a run has is None without one.

    ``slot`` is in UTC, ``local`` in the experiment's zone, ``minute`` since 1970 as in a run's name; ``duration`` in seconds.
    """

    slot: str
    local: str
    task: str
    status: str
    accuracy: float | None
    loss: float | None
    duration: float | None
    attempt: int | None
    kind: str | None
    run: str | None
    why: str
    reason: str
    evidence: str
    minute: int


class LocalClock:
    """Writes minutes since 1970 as UTC and as a zone's clock."""

    def __init__(self, timezone: str) -> None:
        self._zone = zone(timezone)
        # Tasks share their slots more often than not.
        self._known: dict[int, tuple[str, str]] = {}

    def both(self, minute: int) -> tuple[str, str]:
        """In UTC and in the zone: ``2026-11-20T01:00Z``, ``2026-11-20T02:00+01:00``."""
        known = self._known.get(minute)
        if known is None:
            day, rest = divmod(minute, 1440)
            away = self._zone.offset(minute * 60)
            there, then = divmod(minute + away // 60, 1440)
            known = self._known[minute] = f"{_day(day)}T{_TIMES[rest]}Z", f"{_day(there)}T{_TIMES[then]}{_offset(away)}"
        return known

    def local(self, minute: int) -> str:
        return self.both(minute)[1]


_TIMES = [f"{n // 60:02}:{n % 60:02}" for n in range(1440)]


@lru_cache(maxsize=100_000)
def _day(day: int) -> str:
    return "{:04}-{:02}-{:02}".format(*date_of(day))


@lru_cache(maxsize=1000)
def _offset(away: int) -> str:
    return ("-" if away < 0 else "+") + _TIMES[abs(away) // 60]


@dataclass(frozen=True)
class Notes:
    """What those who start runs wrote down: of slots by (task, minute), and when they did not run, by engine."""

    slots: Mapping[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    away: Sequence[tuple[float, float]] = ()  # from, until: when the local engine did not run


@dataclass(frozen=True)
class TaskContext:
    """What the rows of one task are computed from.

    ``before`` tells since when and until when earlier scheduled runs were at work, for the runs of an earlier time.
    """

    experiment: str
    task: str
    spans: Sequence[SchedulePeriod]
    notes: Notes
    days: LocalClock
    now: float


def rows(
    scene: TaskContext, facts: Sequence[RunFact], low: int, high: int, before: Callable[[], Iterable[RunFact]] = tuple
) -> list[Row]:
    """The rows of the minutes ``low`` to ``high``, both included, oldest first.

    ``facts`` are all runs of these minutes in order; ``before`` gives those of some time before, asked for only if needed.
    """
    named = expected(scene.spans, low * 60 - 1, high * 60 + 59)
    found: list[Row] = []
    at, busy = 0, _Busy(facts, before)
    for n, (minute, span) in enumerate(named):
        while at < len(facts) and facts[at].minute < minute:
            found.append(_unexpected(scene, facts[at]))
            at += 1
        filled, first = False, at
        while at < len(facts) and facts[at].minute == minute:
            filled |= facts[at].kind != RunKind.MANUAL
            found.append(_row(scene, facts[at], span, _why(facts[at], scene, True)))
            at += 1
        if not filled:
            after = named[n + 1][0] if n + 1 < len(named) else _next(scene, minute)
            found.append(_empty(scene, minute, span, after, busy.up_to(first)))
    found += [_unexpected(scene, fact) for fact in facts[at:]]
    return found


def _next(scene: TaskContext, minute: int) -> int | None:
    """The slot after the last one of a window, if it is past and near enough to matter."""
    soon = expected(scene.spans, minute * 60 + 59, min(scene.now, minute * 60 + 2 * DAY))
    return soon[0][0] if soon else None


class _Busy:
    """Which scheduled run was at work at an instant: Forbid looks at the runs of the schedule alone."""

    def __init__(self, facts: Sequence[RunFact], before: Callable[[], Iterable[RunFact]]) -> None:
        self._facts, self._before = facts, before
        self._added = -1  # how many of the facts; those before them are asked for first
        self._fact: RunFact | None = None
        self._key = (-inf, 0, 0)  # the one that ended last; of several, the first

    def up_to(self, number: int) -> _Busy:
        """With so many of the facts taken into account."""
        if self._added < 0:
            for earlier in self._before():
                self._add(earlier)
            self._added = 0
        for fact in self._facts[self._added : number]:
            self._add(fact)
        self._added = max(number, self._added)
        return self

    def _add(self, fact: RunFact) -> None:
        until = inf if fact.status == RUNNING else fact.finished
        if fact.kind in (RunKind.SCHEDULED, None) and fact.started is not None and until is not None:
            key = (until, -fact.minute, -fact.attempt)
            if key > self._key:
                self._key, self._fact = key, fact

    def at(self, instant: float, span: SchedulePeriod, spans: Sequence[SchedulePeriod]) -> tuple[RunFact, float] | None:
        """The run, and until when it was at work; one that said nothing more, until its deadline."""
        fact, until = self._fact, self._key[0]
        if fact is None or fact.started is None:
            return None
        began = fact.started
        if fact.status == RUNNING and fact.evidence == RECORDED:
            until = began + _silence(span.plan)
        if not _is_local(span):
            # The controller looks at the Job: made before the next time came, for only the latest is made, and outliving the run.
            until += LINGERS
            own = _span_at(spans, fact.minute * 60)
            if own is not None and own.end > fact.minute * 60 and fires_at(own, fact.minute):
                began = min(began, fact.minute * 60)
        return (fact, until) if began <= instant < until else None


def _is_local(span: SchedulePeriod) -> bool:
    """Whether a machine's own engine ran it, and no cluster."""
    return span.engine.startswith("host:")


def _silence(plan: TaskSchedule | None) -> float:
    """Seconds after its start from which on a run of another machine without a word has died."""
    return LONGEST if plan is None or plan.deadline is None else plan.deadline + SILENT


def _row(scene: TaskContext, fact: RunFact, span: SchedulePeriod | None, why: str) -> Row:
    status, reason, evidence = _judged(scene, fact, span)
    duration = None if fact.started is None or fact.finished is None else round(fact.finished - fact.started, 1)
    minute = fact.minute
    utc, local = scene.days.both(minute)
    return Row(
        utc,
        local,
        scene.task,
        status,
        fact.accuracy,
        fact.loss,
        duration,
        fact.attempt,
        fact.kind,
        run_name(scene.experiment, scene.task, minute, fact.attempt),
        why,
        reason,
        evidence,
        minute,
    )


def _judged(scene: TaskContext, fact: RunFact, span: SchedulePeriod | None) -> tuple[str, str, str]:
    """Status, reason and evidence; one that should long have ended, and whose machine cannot be asked, has died."""
    plan = span.plan if span is not None else None
    is_silent = fact.status == RUNNING and fact.evidence == RECORDED and fact.started is not None
    if is_silent and scene.now > (fact.started or 0) + _silence(plan):
        deadline = plan.deadline if plan is not None else None
        told = "for 30 days" if deadline is None else f"after its deadline of {format_duration(deadline)}"
        return DIED, f"no word {told} ({fact.reason})", INFERRED
    if fact.status == INTERRUPTED and fact.evidence == RECORDED and span is not None and not _is_local(span):
        after = _replaced_by(scene, fact)
        if after is not None:
            named = run_name(scene.experiment, scene.task, after, 1)
            return INTERRUPTED, f"replaced by {named} (concurrency: replace)", INFERRED
    return fact.status, fact.reason, fact.evidence


def _replaced_by(scene: TaskContext, fact: RunFact) -> int | None:
    """The slot for which a cluster's controller ended a run: the latest that came while it was at work."""
    if fact.finished is None or fact.kind not in (RunKind.SCHEDULED, None):
        return None
    came = expected(scene.spans, fact.minute * 60 + 59, fact.finished)
    if not came:
        return None
    minute, span = came[-1]
    return minute if span.plan.concurrency == "Replace" and not span.plan.suspend else None


def _why(fact: RunFact, scene: TaskContext, is_expected: bool) -> str:
    """Why a run ran when it did; nothing for one that ran on time."""
    if fact.kind is not None and fact.kind != RunKind.SCHEDULED:
        return fact.kind
    late = None if fact.started is None else fact.started - fact.minute * 60
    if is_expected or not scene.spans:
        return f"{format_duration(late)} late" if late is not None and late >= LATE else ""
    instant = fact.minute * 60
    until = inf if fact.started is None else fact.started
    if any(instant <= span.start <= until and fires_at(span, fact.minute) for span in scene.spans):
        return "late, after an edit"
    if instant < scene.spans[0].start:
        return "before the first revision"
    return "no revision expected it"


def _unexpected(scene: TaskContext, fact: RunFact) -> Row:
    return _row(scene, fact, _span_at(scene.spans, fact.minute * 60), _why(fact, scene, False))


def _span_at(spans: Sequence[SchedulePeriod], instant: float) -> SchedulePeriod | None:
    """The latest that had begun by then."""
    n = bisect_right(spans, instant, key=lambda span: span.start) - 1
    return spans[n] if n >= 0 else None


def _empty(scene: TaskContext, minute: int, span: SchedulePeriod, after: int | None, busy: _Busy) -> Row:
    status, reason, evidence = _without_run(scene, minute, span, after, busy)
    utc, local = scene.days.both(minute)
    return Row(utc, local, scene.task, status, None, None, None, None, None, None, "", reason, evidence, minute)


def _without_run(scene: TaskContext, minute: int, span: SchedulePeriod, after: int | None, busy: _Busy) -> tuple[str, str, str]:
    """Why an expected slot has no run: what was recorded counts before what can be told from the rest."""
    instant = minute * 60
    note = scene.notes.slots.get((scene.task, minute))
    if note is not None:
        event = str(note.get("event", ""))
        return event if event in STATUSES else MISSED, str(note.get("reason", event)), RECORDED
    if span.plan.suspend:
        by = f" by {span.by}" if span.by else ""
        return SUSPENDED, f"suspended since {scene.days.local(int(span.start // 60))}{by}", RECORDED
    if instant > scene.now:
        return NOT_YET, "", RECORDED
    deadline = span.plan.starting_deadline
    last = inf if deadline is None else float(instant + deadline)
    if span.plan.concurrency == "Forbid" and (found := busy.at(instant, span, scene.spans)):
        fact, until = found
        named = run_name(scene.experiment, scene.task, fact.minute, fact.attempt)
        if until >= min(last, inf if after is None else after * 60, scene.now):
            return SKIPPED, f"{named} was still running (concurrency: forbid)", INFERRED
    for start, end in scene.notes.away:
        if start <= instant < end and _is_local(span):
            to = "now" if end == inf else scene.days.local(int(end // 60))
            return MISSED, f"serve was not running from {scene.days.local(int(start // 60))} to {to}", RECORDED
    # Only the latest time that was missed is made up for.
    if scene.now < last and (after is None or scene.now < after * 60) and span.end > scene.now:
        limit = "" if last == inf else f"; it may start until {scene.days.local(int(last // 60))}"
        return DUE, f"no run yet{limit}", INFERRED
    if not _is_local(span):
        return MISSED, "no run reached the store: no Job was made, or its pods could not begin", "unknown"
    return MISSED, "no run and no word of why: probably serve was not running", INFERRED


def format_duration(seconds: float) -> str:
    """A length of time for people: 45 s, 43 min, 6 h, 1.5 h, 2 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            value = seconds / size
            return f"{value:.0f} {unit}" if abs(value - round(value)) < 0.05 else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s"
