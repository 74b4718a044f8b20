"""Expected slots: the minutes at which a task should have run, from the schedules that held."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfoNotFoundError

from jobs.fire_times.fires import instants
from jobs.fire_times.schedule import Schedule, ScheduleError, parse
from jobs.fire_times.zones import DAY, zone
from jobs.schedule_periods import SchedulePeriod


def expected(periods: Sequence[SchedulePeriod], low: float, high: float) -> list[tuple[int, SchedulePeriod]]:
    """The slots of one task after ``low`` and up to ``high`` (seconds since 1970) in order, each with the plan it is from.

    A slot is a minute since 1970. ``periods`` are the task's, oldest first. A schedule that cannot be read expects nothing.
    """
    slots: dict[int, SchedulePeriod] = {}
    for n, period in enumerate(periods):
        if period.start >= high or period.end <= low:
            continue
        for second in _fires(period, max(low, period.start), min(high, period.end), _anchor(periods, n)):
            slots.setdefault(second // 60, period)
    return sorted(slots.items())


def fires_at(period: SchedulePeriod, minute: int) -> bool:
    """Whether a plan's schedule fires in a minute, whenever the plan held; @every never does."""
    schedule = _schedule(period.task_schedule.schedule)
    if schedule is None or schedule.every is not None:
        return False
    return bool(_fires(period, minute * 60 - 1, minute * 60 + 59, 0))


def following(periods: Sequence[SchedulePeriod], after: float) -> int | None:
    """The next slot after an instant, if the last plan goes on and fires within five years."""
    if not periods or periods[-1].task_schedule.suspend:
        return None
    period, schedule = periods[-1], _schedule(periods[-1].task_schedule.schedule)
    if schedule is None or period.end <= after:
        return None
    anchor = int(_anchor(periods, len(periods) - 1))
    try:
        second = next(instants(schedule, zone(period.task_schedule.timezone), int(max(after, period.start)), anchor), None)
    except (ZoneInfoNotFoundError, ValueError):
        return None
    return None if second is None or second > period.end else second // 60


def _fires(period: SchedulePeriod, low: float, high: float, anchor: float) -> list[int]:
    """The fire times of a period's schedule after ``low`` and up to ``high``, in seconds since 1970."""
    schedule = _schedule(period.task_schedule.schedule)
    if schedule is None:
        return []
    try:
        # Fire times are whole seconds: those after a fraction of one are those after the second itself.
        times = instants(schedule, zone(period.task_schedule.timezone), int(low // 1), int(anchor))
        return list(takewhile(lambda time: time <= high, times))
    except (ZoneInfoNotFoundError, ValueError):
        return []


def _anchor(periods: Sequence[SchedulePeriod], n: int) -> float:
    """Where @every counts from: the last time that the schedule before it fired, else when the task was made."""
    while n:
        period, before = periods[n], periods[n - 1]
        if before.end != period.start or before.engine != period.engine:
            break
        schedule = _schedule(before.task_schedule.schedule)
        if schedule is not None and not before.task_schedule.suspend:
            if schedule.every is not None:
                anchor = _anchor(periods, n - 1)
                last = anchor + (period.start - anchor) // schedule.every * schedule.every
                if last > max(anchor, before.start):
                    return last
            for back in (DAY, 40 * DAY, 6 * 366 * DAY):
                times = _fires(before, max(before.start, period.start - back), period.start, 0)
                if times:
                    return times[-1]
        n -= 1
    return periods[n].start


@lru_cache(maxsize=4096)
def _schedule(text: str | None) -> Schedule | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ScheduleError:
        return None
