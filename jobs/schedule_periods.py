"""Periods: which revision held when, and with it which schedule each task had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from jobs.contract import revision_time
from jobs.revisions import MANUAL, Revision, Tasks, chains, merge, states

_SCHEDULING = ("schedule", "timezone", "suspend", "concurrency", "starting_deadline", "deadline")


@dataclass(frozen=True)
class TaskSchedule:
    """What one task was to do while a revision held; durations in seconds."""

    schedule: str | None = None
    timezone: str = "UTC"
    suspend: bool = False
    concurrency: str = "Forbid"
    starting_deadline: int | None = None
    deadline: int | None = None


@dataclass(frozen=True)
class SchedulePeriod:
    """How long a task had one schedule: after ``start`` and up to ``end``, in seconds since 1970 in UTC."""

    start: float
    end: float
    task_schedule: TaskSchedule
    engine: str
    by: str


@dataclass(frozen=True)
class RevisionPeriod:
    """A revision, and the tasks while it held: from ``start`` to ``end`` in seconds since 1970, or without end."""

    start: float
    end: float
    revision: Revision
    before: Tasks
    tasks: Tasks

    @property
    def engine(self) -> str:
        """Whose revision it is; see `cronjobs.revisions.revisions`."""
        return str(self.revision.get("engine", ""))


def periods(revisions: Iterable[Revision], now: float = inf) -> list[RevisionPeriod]:
    """Every revision with its tasks, oldest first; ``end`` is when the next one came, whose ever.

    Of clocks that were wrong: one with a later number never begins before an earlier one, and one that is dated after
    ``now`` begins when the next one does, or now.
    """
    unended = []
    for chain in chains(merge(revisions)):
        starts = [revision_time(revision) for revision in chain]
        following = now
        for n in range(len(starts) - 1, -1, -1):
            starts[n] = following = min(starts[n], following) if starts[n] > now else starts[n]
        start = -inf
        for declared, (revision, before, after) in zip(starts, states(chain), strict=True):
            start = max(start, declared)
            unended.append(RevisionPeriod(start, inf, revision, before, after))
    # Stable: of the same instant, an engine's own stay in the order of its chain.
    unended.sort(key=lambda period: (period.start, period.engine))
    ends = [*[period.start for period in unended[1:]], inf][: len(unended)]
    return [
        RevisionPeriod(period.start, end, period.revision, period.before, period.tasks)
        for period, end in zip(unended, ends, strict=True)
    ]


def scheduling_periods(revisions: Iterable[Revision], now: float = inf) -> list[RevisionPeriod]:
    """The revisions that schedule something, each until the next such one; those of `cronsemble run` do not."""
    return periods((revision for revision in revisions if revision.get("what") != MANUAL), now)


def at(periods: Iterable[RevisionPeriod], instant: float) -> RevisionPeriod | None:
    """The one that holds at an instant, in seconds since 1970 in UTC."""
    return next((period for period in periods if period.start <= instant < period.end), None)


def schedule_periods(periods: Iterable[RevisionPeriod]) -> dict[str, list[SchedulePeriod]]:
    """Each task's schedules, oldest first; what changes nothing of its schedule does not end a period."""
    by_task: dict[str, list[SchedulePeriod]] = {}
    for period in periods:
        if period.end <= period.start:
            continue
        for name, task in period.tasks.items():
            schedule = task_schedule(task)
            own = by_task.setdefault(name, [])
            last = own[-1] if own else None
            joined = last is not None and last.end == period.start and last.engine == period.engine
            if joined and last is not None and last.task_schedule == schedule:
                own[-1] = SchedulePeriod(last.start, period.end, schedule, last.engine, last.by)
            else:
                own.append(SchedulePeriod(period.start, period.end, schedule, period.engine, str(period.revision.get("by", ""))))
    return by_task


def task_schedule(task: Mapping[str, Any]) -> TaskSchedule:
    """What a revision, or a resolved configuration, says of when a task runs."""
    return TaskSchedule(**{key: task[key] for key in _SCHEDULING if task.get(key) is not None})
