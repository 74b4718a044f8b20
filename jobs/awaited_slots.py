"""Awaited slots: those of its members that lie between an ensemble's slot before and its own. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from jobs.expected_slots import expected
from jobs.fire_times.zones import DAY
from jobs.schedule_periods import SchedulePeriod, TaskSchedule

LONGEST = 30 * DAY
"""Seconds that a run may take whose deadline is not recorded."""
_REACHES = (2 * DAY, 62 * DAY, 6 * 366 * DAY)
"""Seconds in which the slot before is looked for: most schedules fire daily, and each fires within five years or never."""


@dataclass(frozen=True)
class AwaitedSlot:
    """A slot of a task, a minute since 1970, and the schedule that expects it."""

    task: str
    minute: int
    schedule: TaskSchedule

    @property
    def last_start(self) -> float:
        """Until when it may start, in seconds since 1970; infinite where that is not limited."""
        limit = self.schedule.starting_deadline
        return inf if limit is None else float(self.minute * 60 + limit)


def awaited_slots(
    periods: Mapping[str, Sequence[SchedulePeriod]], ensemble: str, tasks: Iterable[str], minute: int, now: float
) -> dict[str, list[AwaitedSlot]]:
    """By task the slots that an ensemble's slot awaits, newest first: after the ensemble's slot before, up to its own.

    ``periods``: each task's schedules, oldest first; ``ensemble`` is the ensemble's task. A suspended schedule expects nothing,
    nor does a task that is gone at ``now`` (seconds since 1970). Of slots that long ago would have been over none is given.
    """
    before = previous_slot(periods.get(ensemble, ()), minute)
    slots = {}
    for task in tasks:
        own = periods.get(task, ())
        if not own or own[-1].end <= now:
            continue
        low = max(-inf if before is None else before * 60 + 59, now - reach(own))
        expects = [(at, period.task_schedule) for at, period in expected(own, low, minute * 60 + 59)]
        slots[task] = [AwaitedSlot(task, at, schedule) for at, schedule in reversed(expects) if not schedule.suspend]
    return slots


def previous_slot(periods: Sequence[SchedulePeriod], minute: int) -> int | None:
    """The last slot of a task before a minute, suspended or not; None if there was none."""
    for seconds in _REACHES:
        slots = expected(periods, minute * 60 - seconds, minute * 60 - 1)
        if slots:
            return slots[-1][0]
    return None


def reach(periods: Sequence[SchedulePeriod]) -> float:
    """Seconds after its time from which on no slot of these schedules can still start or run."""
    limits = [
        (LONGEST if schedule.starting_deadline is None else schedule.starting_deadline)
        + (LONGEST if schedule.deadline is None else schedule.deadline)
        for schedule in (period.task_schedule for period in periods)
    ]
    return float(max(limits, default=0))
