"""Expected slots: the minutes at which a task should have run, from the plans that held."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfoNotFoundError

from cronjobs.fire_times.fires import instants
from cronjobs.fire_times.schedule import Schedule, ScheduleError, parse
from cronjobs.fire_times.zones import DAY, zone
from cronjobs.revisions.periods import SchedulePeriod


def expected(spans: Sequence[SchedulePeriod], low: float, high: float) -> list[tuple[int, SchedulePeriod]]:
    """The slots of one task after ``low`` and up to ``high`` (seconds since 1970) in order, each with the plan it is from.

    A slot is a minute since 1970. ``spans`` are the task's, oldest first. A schedule that cannot be read expects nothing.
    """
    slots: dict[int, SchedulePeriod] = {}
    for n, span in enumerate(spans):
        if span.start >= high or span.end <= low:
            continue
        for second in _fires(span, max(low, span.start), min(high, span.end), _anchor(spans, n)):
            slots.setdefault(second // 60, span)
    return sorted(slots.items())


def fires_at(span: SchedulePeriod, minute: int) -> bool:
    """Whether a plan's schedule fires in a minute, whenever the plan held; @every never does."""
    schedule = _schedule(span.plan.schedule)
    if schedule is None or schedule.every is not None:
        return False
    return bool(_fires(span, minute * 60 - 1, minute * 60 + 59, 0))


def following(spans: Sequence[SchedulePeriod], after: float) -> int | None:
    """The next slot after an instant, if the last plan goes on and fires within five years."""
    if not spans or spans[-1].plan.suspend:
        return None
    span, schedule = spans[-1], _schedule(spans[-1].plan.schedule)
    if schedule is None or span.end <= after:
        return None
    anchor = int(_anchor(spans, len(spans) - 1))
    try:
        second = next(instants(schedule, zone(span.plan.timezone), int(max(after, span.start)), anchor), None)
    except (ZoneInfoNotFoundError, ValueError):
        return None
    return None if second is None or second > span.end else second // 60


def _fires(span: SchedulePeriod, low: float, high: float, anchor: float) -> list[int]:
    """The fire times of a period's schedule after ``low`` and up to ``high``, in seconds since 1970."""
    schedule = _schedule(span.plan.schedule)
    if schedule is None:
        return []
    try:
        # Fire times are whole seconds: those after a fraction of one are those after the second itself.
        times = instants(schedule, zone(span.plan.timezone), int(low // 1), int(anchor))
        return list(takewhile(lambda time: time <= high, times))
    except (ZoneInfoNotFoundError, ValueError):
        return []


def _anchor(spans: Sequence[SchedulePeriod], n: int) -> float:
    """Where @every counts from: the last time that the schedule before it fired, else when the task was made."""
    while n:
        span, before = spans[n], spans[n - 1]
        if before.end != span.start or before.engine != span.engine:
            break
        schedule = _schedule(before.plan.schedule)
        if schedule is not None and not before.plan.suspend:
            if schedule.every is not None:
                anchor = _anchor(spans, n - 1)
                last = anchor + (span.start - anchor) // schedule.every * schedule.every
                if last > max(anchor, before.start):
                    return last
            for back in (DAY, 40 * DAY, 6 * 366 * DAY):
                times = _fires(before, max(before.start, span.start - back), span.start, 0)
                if times:
                    return times[-1]
        n -= 1
    return spans[n].start


@lru_cache(maxsize=4096)
def _schedule(text: str | None) -> Schedule | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ScheduleError:
        return None
