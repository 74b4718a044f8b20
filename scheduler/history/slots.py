"""The rows of one task: what became of every time that it should have run, and why. Values in, values out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf

import msgspec

from jobs.contract import ENSEMBLE_TASK, Evidence, NoteEvent, RunKind, Status, run_name
from jobs.expected_slots import expected, fires_at
from jobs.fire_times.calendar import date_of
from jobs.fire_times.zones import DAY, zone
from jobs.schedule_periods import SchedulePeriod, TaskSchedule
from scheduler.history.changes import add_changes, latest_figures
from scheduler.history.cronjob_warnings import CronJobWarning, explanation
from scheduler.history.notes import Notes
from scheduler.history.run_facts import MemberFact, RunFact, RunKey
from scheduler.times import format_duration

LATE = 60
"""Seconds after its minute from which on a run is called late."""
SILENT = 600
"""Seconds after its deadline from which on a run of another machine that writes nothing is taken for dead."""
LONGEST = 30 * 86400
"""The same, after its start, for a run whose deadline is not known."""
LINGERS = 30
"""Seconds for which a Job may outlive its run's record: the containers end, the kubelet reports it, the controllers see it."""
_REACHES = (2 * DAY, 62 * DAY, 6 * 366 * DAY)
"""Seconds in which a following slot is looked for: most schedules fire daily, and each fires within five years or never."""
MOST_KNOWN = 50_000
"""Minutes whose texts a clock keeps: rows come in the order of time."""
STATUSES = frozenset(status.value for status in Status)
DEGRADED = "degraded"
"""What is said beside the status of a run that succeeded with less than was asked for."""


class Row(msgspec.Struct, gc=False):
    """A row of the history; what only a run has is None without one.

    ``accuracy`` and ``loss`` are the run's own: of a training on its validation data, of an ensemble on its items.
    ``items_accuracy`` and ``items_loss`` are on the ensemble's items: of a training in the first ensemble run that took its
    model. ``change`` is the difference of ``items_accuracy``, or where there is none of ``accuracy``, to the latest slot before
    that has it, runs by hand apart. ``degraded`` says what a run lacks although it succeeded; it is empty for any other.
    ``try_number`` is that of a run's last try, ``max_tries`` how many there may be.
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
    try_number: int | None = None
    max_tries: int | None = None
    degraded: str = ""
    items_accuracy: float | None = None
    items_loss: float | None = None
    change: float | None = None

    @property
    def validation_accuracy(self) -> float | None:
        """Of a training its own accuracy, on its validation data."""
        return None if self.task == ENSEMBLE_TASK else self.accuracy

    @property
    def outcome(self) -> str:
        """The status for people: one that succeeded with less than was asked for is ``succeeded, degraded``."""
        return f"{self.status}, {DEGRADED}" if self.degraded else self.status

    @property
    def explanation(self) -> str:
        """Why it ran when it did, what it lacks and its reason, for people."""
        return "; ".join(filter(None, (self.why, self.full_reason)))

    @property
    def full_reason(self) -> str:
        """What it lacks and its reason, for people."""
        return "; ".join(filter(None, (self.degraded, self.reason)))

    def has_status(self, statuses: Collection[str]) -> bool:
        """Whether its status is one of these; one that succeeded with less than was asked for is ``degraded`` too."""
        return self.status in statuses or (DEGRADED in statuses and bool(self.degraded))


class LocalClock:
    """Writes minutes since 1970 as UTC and as the clocks of a zone (an IANA name) show them."""

    def __init__(self, timezone: str) -> None:
        self._zone = zone(timezone)
        # Tasks share their slots more often than not.
        self._known: dict[int, tuple[str, str]] = {}

    def both(self, minute: int) -> tuple[str, str]:
        """In UTC and in the zone: ``2026-11-20T01:00Z``, ``2026-11-20T02:00+01:00``."""
        known = self._known.get(minute)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            day, minute_of_day = divmod(minute, 1440)
            offset = self._zone.offset(minute * 60)
            local_day, local_minute = divmod(minute + offset // 60, 1440)
            known = self._known[minute] = (
                f"{_date(day)}T{_TIMES[minute_of_day]}Z",
                f"{_date(local_day)}T{_TIMES[local_minute]}{_offset(offset)}",
            )
        return known

    def local(self, minute: int) -> str:
        """In the zone: ``2026-11-20T02:00+01:00``."""
        return self.both(minute)[1]


_TIMES = [f"{n // 60:02}:{n % 60:02}" for n in range(1440)]


@lru_cache(maxsize=100_000)
def _date(day: int) -> str:
    return "{:04}-{:02}-{:02}".format(*date_of(day))


@lru_cache(maxsize=1000)
def _offset(seconds: int) -> str:
    return ("-" if seconds < 0 else "+") + _TIMES[abs(seconds) // 60]


@dataclass(frozen=True)
class TaskContext:
    """What the rows of one task are computed from, its runs apart.

    ``periods``: its schedules, oldest first. ``now``: seconds since 1970. ``warnings``: why its CronJob created no Job.
    """

    experiment: str
    task: str
    periods: Sequence[SchedulePeriod]
    notes: Notes
    clock: LocalClock
    now: float
    warnings: Sequence[CronJobWarning] = ()
    known_until: float = inf
    """Until when the runs are known, in seconds since 1970: a store that cannot be read now may have later ones."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """The months whose runs cannot be listed, and why; one of "" stands for all."""

    def why_unknown(self, minute: int) -> str:
        """Why it is unknown whether a slot has runs; empty if it is not."""
        if not self.unreadable:
            return ""
        return self.unreadable.get("", "") or self.unreadable.get(_date(minute // 1440)[:-3], "")


@dataclass(frozen=True)
class TaskWindow:
    """The slots and runs of one task in a span of time, in order.

    ``slots``: each expected minute with the schedule that expects it. ``facts``: all runs of the span, by minute and
    attempt. ``earlier``: the runs of the time before it that are at hand already.
    """

    context: TaskContext
    slots: Sequence[tuple[int, SchedulePeriod]]
    facts: Sequence[RunFact]
    earlier: Sequence[RunFact] = ()
    on_items: Mapping[RunKey, MemberFact] = field(default_factory=dict)
    """Of a member's task: what the ensemble run that is looked at for it has of each training."""

    @property
    def has_slot_without_run(self) -> bool:
        """Whether a row depends on the runs of an earlier time, which may still have been running."""
        filled = {fact.minute for fact in self.facts if fact.kind != RunKind.MANUAL}
        return not all(minute in filled for minute, _ in self.slots)


def task_window(
    context: TaskContext, facts: Sequence[RunFact], low: int, high: int, earlier: Sequence[RunFact] = ()
) -> TaskWindow:
    """The slots of the minutes ``low`` to ``high``, both included, with ``facts``, the runs of the span in order."""
    return TaskWindow(context, expected(context.periods, low * 60 - 1, high * 60 + 59), facts, earlier)


def task_rows(window: TaskWindow, earlier: Iterable[RunFact] = (), older_models: Mapping[RunKey, str] | None = None) -> list[Row]:
    """The rows of a window, oldest first.

    ``earlier`` are runs of months before it, in any order; they matter only where it has a slot without a run.
    ``older_models`` says of each ensemble run that took an older model than there might have been why.
    """
    context, slots, facts = window.context, window.slots, window.facts
    rows: list[Row] = []
    older_models = older_models or {}
    running = _LatestRunning()
    running.add([*window.earlier, *earlier])
    position = added = 0
    for n, (minute, period) in enumerate(slots):
        while position < len(facts) and facts[position].minute < minute:
            rows.append(_unexpected_run(window, facts[position], older_models))
            position += 1
        is_filled, first = False, position
        while position < len(facts) and facts[position].minute == minute:
            fact = facts[position]
            is_filled |= fact.kind != RunKind.MANUAL
            rows.append(_run_row(window, fact, period, _why(fact, context, True), older_models))
            position += 1
        if not is_filled:
            following_slot = slots[n + 1][0] if n + 1 < len(slots) else _following_slot(context, minute)
            running.add(facts[added:first])
            added = first
            rows.append(_row_without_run(context, minute, period, following_slot, running))
    rows += [_unexpected_run(window, fact, older_models) for fact in facts[position:]]
    add_changes(rows, latest_figures(window.earlier, window.on_items, context.task))
    return rows


def _following_slot(context: TaskContext, minute: int) -> int | None:
    """The slot after the last one of a window, if its time has come."""
    for reach in _REACHES:
        slots = expected(context.periods, minute * 60 + 59, min(context.now, minute * 60 + reach))
        if slots:
            return slots[0][0]
    return None


class _LatestRunning:
    """The scheduled run that ended last: `concurrency: forbid` looks at the runs of the schedule alone."""

    def __init__(self) -> None:
        self._fact: RunFact | None = None
        self._key = (-inf, 0, 0)  # of several that ended at once, the first

    def add(self, facts: Iterable[RunFact]) -> None:
        for fact in facts:
            end = inf if fact.status == Status.RUNNING else fact.job_ended or fact.finished
            if fact.kind in (RunKind.SCHEDULED, None) and fact.started is not None and end is not None:
                key = (end, -fact.minute, -fact.attempt)
                if key > self._key:
                    self._key, self._fact = key, fact

    def at(self, instant: float, period: SchedulePeriod, periods: Sequence[SchedulePeriod]) -> tuple[RunFact, float] | None:
        """The run that was running at an instant, and until when; one that wrote nothing more, until its deadline."""
        fact, end = self._fact, self._key[0]
        if fact is None or fact.started is None:
            return None
        start = fact.started
        if fact.status == Status.RUNNING and fact.evidence == Evidence.RECORDED:
            end = start + _silence(period.task_schedule)
        if not _is_local(period):
            # The controller goes by the Job: it existed before the next time came, for only the latest time's is created, and
            # it outlives the run.
            end += LINGERS
            own_period = _period_at(periods, fact.minute * 60)
            if own_period is not None and own_period.end > fact.minute * 60 and fires_at(own_period, fact.minute):
                start = min(start, fact.minute * 60)
        return (fact, end) if start <= instant < end else None


def _is_local(period: SchedulePeriod) -> bool:
    """Whether a machine's own engine ran it, and no cluster."""
    return period.engine.startswith("host:")


def _silence(schedule: TaskSchedule | None) -> float:
    """Seconds after its start from which on a run of another machine that writes nothing has died."""
    return LONGEST if schedule is None or schedule.deadline is None else schedule.deadline + SILENT


def _run_row(
    window: TaskWindow, fact: RunFact, period: SchedulePeriod | None, why: str, older_models: Mapping[RunKey, str]
) -> Row:
    context = window.context
    status, reason, evidence = _run_status(context, fact, period)
    duration = None if fact.started is None or fact.finished is None else round(fact.finished - fact.started, 1)
    minute, key = fact.minute, (fact.minute, fact.attempt)
    utc, local = context.clock.both(minute)
    degraded = fact.degraded
    if status == Status.REFUSED:
        # It did not succeed with less than was asked for.
        reason, degraded = "; ".join(filter(None, (reason, degraded))), ""
    if context.task == ENSEMBLE_TASK:
        accuracy, loss = fact.accuracy, fact.loss
        if older_models and key in older_models:
            if status == Status.REFUSED:
                reason = f"{reason}; {older_models[key]}"
            else:
                degraded = "; ".join(filter(None, (degraded, older_models[key])))
    else:
        evaluated = window.on_items.get(key)
        accuracy, loss = (None, None) if evaluated is None else (evaluated.accuracy, evaluated.loss)
    return Row(
        utc,
        local,
        context.task,
        status,
        fact.accuracy,
        fact.loss,
        duration,
        fact.attempt,
        fact.kind,
        run_name(context.experiment, context.task, minute, fact.attempt),
        why,
        reason,
        evidence,
        minute,
        fact.try_number,
        fact.max_tries,
        degraded,
        accuracy,
        loss,
    )


def _run_status(context: TaskContext, fact: RunFact, period: SchedulePeriod | None) -> tuple[str, str, str]:
    """Status, reason and evidence; one that should long have ended, and whose machine cannot be asked, has died."""
    if fact.status == Status.SUCCEEDED:
        if refused := fact.refused:
            return Status.REFUSED, "; ".join(filter(None, (refused, fact.reason))), fact.evidence
        return fact.status, fact.reason, fact.evidence
    schedule = period.task_schedule if period is not None else None
    is_silent = fact.status == Status.RUNNING and fact.evidence == Evidence.RECORDED and fact.started is not None
    if is_silent and min(context.now, context.known_until) > (fact.started or 0) + _silence(schedule):
        deadline = schedule.deadline if schedule is not None else None
        limit = f"within {format_duration(LONGEST)}" if deadline is None else f"by its deadline of {format_duration(deadline)}"
        return Status.DIED, f"it recorded no end {limit} ({fact.reason})", Evidence.INFERRED
    is_interrupted = fact.status == Status.INTERRUPTED and fact.evidence == Evidence.RECORDED
    if is_interrupted and period is not None and not _is_local(period):
        slot = _replacing_slot(context, fact)
        if slot is not None:
            successor = run_name(context.experiment, context.task, slot, 1)
            return Status.INTERRUPTED, f"replaced by {successor} (concurrency: replace)", Evidence.INFERRED
    return fact.status, fact.reason, fact.evidence


def _replacing_slot(context: TaskContext, fact: RunFact) -> int | None:
    """The slot for which a cluster's controller ended a run: the latest that came while it was running."""
    if fact.finished is None or fact.kind not in (RunKind.SCHEDULED, None):
        return None
    slots = expected(context.periods, fact.minute * 60 + 59, fact.finished)
    if not slots:
        return None
    minute, period = slots[-1]
    return minute if period.task_schedule.concurrency == "Replace" and not period.task_schedule.suspend else None


def _why(fact: RunFact, context: TaskContext, is_expected: bool) -> str:
    """Why a run ran when it did, and for whom it waited; nothing for one that ran on time."""
    if fact.kind is not None and fact.kind != RunKind.SCHEDULED:
        return fact.kind
    return "; ".join(filter(None, (_lateness(fact, context, is_expected), fact.waited)))


def _lateness(fact: RunFact, context: TaskContext, is_expected: bool) -> str:
    # Whoever waits was there in time.
    began = fact.started if fact.wait_began is None else fact.wait_began
    delay = None if began is None else began - fact.minute * 60
    if is_expected or not context.periods:
        return f"{format_duration(delay)} late" if delay is not None and delay >= LATE else ""
    instant = fact.minute * 60
    start = inf if fact.started is None else fact.started
    if any(instant <= period.start <= start and fires_at(period, fact.minute) for period in context.periods):
        return "late, after an edit"
    if instant < context.periods[0].start:
        return "before the first revision"
    return "no revision expected it"


def _unexpected_run(window: TaskWindow, fact: RunFact, older_models: Mapping[RunKey, str]) -> Row:
    context = window.context
    return _run_row(window, fact, _period_at(context.periods, fact.minute * 60), _why(fact, context, False), older_models)


def _period_at(periods: Sequence[SchedulePeriod], instant: float) -> SchedulePeriod | None:
    """The latest that had begun by then."""
    n = bisect_right(periods, instant, key=lambda period: period.start) - 1
    return periods[n] if n >= 0 else None


def _row_without_run(
    context: TaskContext, minute: int, period: SchedulePeriod, following_slot: int | None, running: _LatestRunning
) -> Row:
    status, reason, evidence = _status_without_run(context, minute, period, following_slot, running)
    utc, local = context.clock.both(minute)
    return Row(utc, local, context.task, status, None, None, None, None, None, None, "", reason, evidence, minute)


def _status_without_run(
    context: TaskContext, minute: int, period: SchedulePeriod, following_slot: int | None, running: _LatestRunning
) -> tuple[str, str, str]:
    """Why an expected slot has no run: what was recorded counts before what follows from the rest."""
    instant = minute * 60
    clock, schedule = context.clock, period.task_schedule
    note = context.notes.slots.get((context.task, minute))
    warning = explanation(context.warnings, minute, following_slot, schedule.starting_deadline)
    refusal = warning.reason if warning is not None else ""
    if note is not None and note.get("event") == NoteEvent.REFUSED:
        refusal = refusal or str(note.get("reason", ""))
    elif note is not None:
        event = str(note.get("event", ""))
        return event if event in STATUSES else Status.MISSED, str(note.get("reason", event)), Evidence.RECORDED
    if schedule.suspend:
        by = f" by {period.by}" if period.by else ""
        return Status.SUSPENDED, f"suspended since {clock.local(int(period.start // 60))}{by}", Evidence.RECORDED
    if instant > context.now:
        return Status.NOT_YET_DUE, "", Evidence.RECORDED
    if why := context.why_unknown(minute):
        return Status.UNKNOWN, f"unreadable: {why}: see cronsemble fsck", Evidence.UNKNOWN
    last_start = inf if schedule.starting_deadline is None else float(instant + schedule.starting_deadline)
    following_instant = inf if following_slot is None else following_slot * 60
    if not refusal and min(last_start, following_instant, context.now) > context.known_until:
        return Status.UNKNOWN, f"the store was last read at {clock.local(int(context.known_until // 60))}", Evidence.UNKNOWN
    # Of several slots that were missed, only the latest is still run.
    may_begin = context.now < last_start and context.now < following_instant and period.end > context.now
    limit = "" if last_start == inf else f"; it may start until {clock.local(int(last_start // 60))}"
    is_named = bool(refusal) and (note is not None or (warning is not None and warning.minute is not None))
    if schedule.concurrency == "Forbid" and not is_named and (blocking := running.at(instant, period, context.periods)):
        fact, end = blocking
        if end >= min(last_start, following_instant, context.now):
            name = run_name(context.experiment, context.task, fact.minute, fact.attempt)
            blocking_job = f"the Job of {name} still ran ({fact.reason})" if fact.job_ended else f"{name} was still running"
            if may_begin:
                # When that one has ended it begins, if there is time.
                return Status.DUE, f"{blocking_job} (concurrency: forbid){limit}", Evidence.INFERRED
            return Status.SKIPPED, f"{blocking_job} (concurrency: forbid)", Evidence.INFERRED
    downtime = next((pause for pause in context.notes.downtimes if pause[0] <= instant < pause[1] and _is_local(period)), None)
    if may_begin:
        if downtime is not None and downtime[1] == inf:
            reason = f"serve has not been running since {clock.local(int(downtime[0] // 60))}"
            return Status.DUE, reason + limit, Evidence.RECORDED
        return Status.DUE, f"no run yet{limit}" + (f": {refusal}" if refusal else ""), Evidence.INFERRED
    if downtime is not None:
        start, end = downtime
        until = "now" if end == inf else clock.local(int(end // 60))
        reason = f"serve was not running from {clock.local(int(start // 60))} to {until}"
        return Status.MISSED, reason, Evidence.RECORDED
    if refusal:
        return Status.MISSED, f"no Job was created: {refusal}", Evidence.OBSERVED
    if not _is_local(period):
        return Status.MISSED, "no run reached the store: no Job was created, or its pods could not start", Evidence.UNKNOWN
    return Status.MISSED, "no run, and no record of why: probably serve was not running", Evidence.INFERRED
