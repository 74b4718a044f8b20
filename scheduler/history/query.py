"""The history of an experiment: the store's runs, revisions and notes as rows, newest first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from math import inf
from typing import Any

from cronjobs.fire_times.fires import seconds
from cronjobs.revisions import revisions
from cronjobs.revisions.expected import following
from cronjobs.revisions.revisions import RevisionPeriod, SchedulePeriod
from jobs.store import Store
from scheduler.history.index import Index
from scheduler.history.observed_runs import ClusterObservation, ObservedJob, is_news
from scheduler.history.slots import FAILED, NOT_YET, SUCCEEDED, LocalClock, Notes, Row, RunFact, TaskContext, rows

BACK = 3
"""Months that are searched for a run that was still at work when a slot of a later month came."""


@dataclass(frozen=True)
class HistoryQuery:
    """Which rows are asked for: minutes since 1970, both included; no tasks or statuses given means all."""

    low: int | None = None
    high: int | None = None
    tasks: Collection[str] = ()
    statuses: Collection[str] = ()
    limit: int = 0


class History:
    """What a store tells of one experiment, as of ``now`` in seconds since 1970; dates are in ``timezone``.

    ``sight`` is what was seen on its cluster: Jobs that the store knows nothing of, and revisions that it may not have yet.
    """

    def __init__(self, store: Store, experiment: str, timezone: str, now: float, sight: ClusterObservation | None = None) -> None:
        self.store, self.experiment, self.now = store, experiment, now
        self.sight = sight or ClusterObservation("", now)
        self.days = LocalClock(timezone)
        self.index = Index(store, experiment)
        self.given = [*store.ledger.revisions(experiment), *self.sight.revisions]
        self.spans: dict[str, list[SchedulePeriod]] = revisions.schedule_periods(revisions.scheduling_periods(self.given, now))
        self._notes: Notes | None = None

    def tasks(self) -> list[str]:
        """Every task that a revision names or that has runs."""
        return sorted({*self.spans, *self.store.tasks(self.experiment), *(task for task, _, _ in self.sight.seen)})

    def facts(self, task: str, month: str) -> Sequence[RunFact]:
        """The runs of a task and a month, oldest slot first, with what was seen of them."""
        return self.sight.merge(self.experiment, task, month, self.index.facts(task, month))

    def unrecorded(self) -> list[ObservedJob]:
        """What was seen of runs that are over and tells more of them than the store does."""
        found = []
        for (task, minute, attempt), seen in self.sight.seen.items():
            if seen.state == FAILED or (seen.is_over and seen.lost):
                known = {(fact.minute, fact.attempt): fact for fact in self.index.facts(task, seen.run.month)}
                fact = known.get((minute, attempt))
                if is_news(fact, seen) if seen.state == FAILED else fact is not None and fact.status == SUCCEEDED:
                    found.append(seen)
        return found

    def revisions(self) -> list[RevisionPeriod]:
        """Every revision with what it changed, oldest first."""
        return revisions.periods(self.given, self.now)

    @property
    def notes(self) -> Notes:
        if self._notes is None:
            self._notes = _notes(self.store.ledger.notes(self.experiment))
        return self._notes

    def rows(self, wish: HistoryQuery) -> list[Row]:
        """The rows that are asked for, newest slot first; without an end, up to now and each task's next slot."""
        found = (row for row in self._rows(wish) if not wish.statuses or row.status in wish.statuses)
        return list(islice(found, wish.limit or None))

    def _rows(self, wish: HistoryQuery) -> Iterator[Row]:
        tasks = [task for task in self.tasks() if not wish.tasks or task in wish.tasks]
        now = int(self.now // 60)
        if wish.high is None:
            yield from sorted(self._coming(tasks), key=_order, reverse=True)
        with_runs = {task: sorted({*self.store.months(self.experiment, task), *self.sight.months(task)}) for task in tasks}
        low = -inf if wish.low is None else wish.low
        # A run's minute may lie after now where a clock was wrong: unless an end is given, it is told all the same.
        high = inf if wish.high is None else wish.high
        slots_until = now if wish.high is None else wish.high
        for month in self._months(tasks, with_runs, low, high, slots_until):
            start, end = max(_month_start(month), low), min(_month_end(month), high)
            found = [
                row
                for task in tasks
                for row in self._of_month(task, month, with_runs[task], int(start), int(end), int(min(end, slots_until)))
            ]
            yield from sorted(found, key=_order, reverse=True)

    def _months(
        self, tasks: Sequence[str], with_runs: dict[str, list[str]], low: float, high: float, slots_until: float
    ) -> list[str]:
        """The months between two minutes that have runs, or slots up to ``slots_until``; newest first."""
        found = {month for months in with_runs.values() for month in months}
        for task in tasks:
            for span in self.spans.get(task, ()):
                at, until = max(span.start // 60, low), min(span.end // 60, slots_until)
                while at <= until:
                    month = _month_of(int(at))
                    found.add(month)
                    at = _month_end(month) + 1
        return sorted((each for each in found if _month_start(each) <= high and _month_end(each) >= low), reverse=True)

    def _of_month(self, task: str, month: str, with_runs: list[str], low: int, high: int, slots_until: int) -> list[Row]:
        known: Sequence[RunFact] = self.facts(task, month) if month in with_runs else ()
        spans = self.spans.get(task, [])
        if not known and not any(span.start < slots_until * 60 + 60 and span.end > low * 60 for span in spans):
            return []
        facts = (
            known if low <= _month_start(month) and high >= _month_end(month) else [f for f in known if low <= f.minute <= high]
        )

        def before() -> Iterator[RunFact]:
            yield from (fact for fact in known if fact.minute < low)
            for earlier in [each for each in with_runs if each < month][-BACK:]:
                yield from self.facts(task, earlier)

        return rows(self._scene(task), facts, low, slots_until, before)

    def _coming(self, tasks: Sequence[str]) -> Iterator[Row]:
        for task in tasks:
            minute = following(self.spans.get(task, ()), self.now)
            if minute is not None:
                for row in rows(self._scene(task), (), minute, minute):
                    if row.status == NOT_YET:
                        yield row

    def _scene(self, task: str) -> TaskContext:
        return TaskContext(self.experiment, task, self.spans.get(task, ()), self.notes, self.days, self.now)


def _order(row: Row) -> tuple[int, str, int]:
    return row.minute, row.task, row.attempt or 0


def _notes(notes: Iterator[dict[str, Any]]) -> Notes:
    slots: dict[tuple[str, int], dict[str, Any]] = {}
    events: list[tuple[float, str, float | None]] = []
    for note in notes:
        try:
            if "task" in note:
                slots[note["task"], int(note["minute"])] = note
            elif note.get("event") in ("started", "stopped"):
                since = _instant(note["since"]) if note.get("since") else None
                events.append((_instant(note["time"]), note["event"], since))
        except (KeyError, TypeError, ValueError):
            continue
    away: list[tuple[float, float]] = []
    stopped: float | None = None
    for moment, event, since in sorted(events):
        if event == "stopped":
            stopped = moment
        else:
            start = stopped if stopped is not None else since
            if start is not None:
                away.append((start, moment))
            stopped = None
    if stopped is not None:
        away.append((stopped, inf))
    return Notes(slots, away)


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _month_of(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m")


def _month_start(month: str) -> int:
    year, _, number = month.partition("-")
    return seconds(datetime(int(year), int(number), 1, tzinfo=UTC)) // 60


def _month_end(month: str) -> int:
    """The last minute of a month."""
    year, _, number = month.partition("-")
    later = datetime(int(year) + int(number) // 12, int(number) % 12 + 1, 1, tzinfo=UTC)
    return seconds(later) // 60 - 1
