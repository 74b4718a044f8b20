"""Expected slots: the minutes at which a task should have run, from the plans that held."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from zoneinfo import ZoneInfoNotFoundError

from cronjobs.fire_times.fires import instants
from cronjobs.fire_times.schedule import Schedule, ScheduleError, parse
from cronjobs.fire_times.zones import DAY, zone
from cronjobs.revisions.revisions import SchedulePeriod


def expected(spans: Sequence[SchedulePeriod], low: float, high: float) -> list[tuple[int, SchedulePeriod]]:
    """The slots of one task after ``low`` and up to ``high`` (seconds since 1970) in order, each with the plan it is from.

    A slot is a minute since 1970. ``spans`` are the task's, oldest first. A schedule that cannot be read expects nothing.
    """
    found: dict[int, SchedulePeriod] = {}
    for n, span in enumerate(spans):
        if span.start >= high or span.end <= low:
            continue
        for second in _fires(span, max(low, span.start), min(high, span.end), _anchor(spans, n)):
            found.setdefault(second // 60, span)
    return sorted(found.items())


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
        found = next(instants(schedule, zone(span.plan.timezone), int(max(after, span.start)), anchor), None)
    except (ZoneInfoNotFoundError, ValueError):
        return None
    return None if found is None or found > span.end else found // 60


def _fires(span: SchedulePeriod, low: float, high: float, anchor: float) -> list[int]:
    schedule = _schedule(span.plan.schedule)
    if schedule is None:
        return []
    found = []
    try:
        # Fire times are whole seconds: those after a fraction of one are those after the second itself.
        for each in instants(schedule, zone(span.plan.timezone), int(low // 1), int(anchor)):
            if each > high:
                break
            found.append(each)
    except (ZoneInfoNotFoundError, ValueError):
        return []
    return found


def _anchor(spans: Sequence[SchedulePeriod], n: int) -> float:
    """Where @every counts from: the last time that the schedule before it fired, else when the task was made."""
    while n:
        span, before = spans[n], spans[n - 1]
        if before.end != span.start or before.engine != span.engine:
            break
        schedule = _schedule(before.plan.schedule)
        if schedule is not None and not before.plan.suspend:
            if schedule.every is not None:
                own = _anchor(spans, n - 1)
                last = own + (span.start - own) // schedule.every * schedule.every
                if last > max(own, before.start):
                    return last
            for back in (DAY, 40 * DAY, 6 * 366 * DAY):
                found = _fires(before, max(before.start, span.start - back), span.start, 0)
                if found:
                    return found[-1]
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
