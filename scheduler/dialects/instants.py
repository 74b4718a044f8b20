"""The instants at which an expression fires there: croniter's days and times, placed as the system does at shifts."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from datetime import datetime, timedelta

from jobs.fire_times.calendar import date_of
from jobs.fire_times.zones import DAY, Zone, zone
from scheduler.dialects.reading import DAY_OF_MONTH, DAY_OF_WEEK, MONTH, YEAR, ClockShifts, DialectError, Reading

_EPOCH = datetime(1970, 1, 1)
_LONG = 3 * 3600  # from so long a jump on cron takes the clock for set anew, and makes up for nothing


def instants(reading: Reading, days: list[int], after: int, end: int, limit: int) -> tuple[array[int], int]:
    """The fire times after one instant and up to another, in seconds since 1970; and up to where they were sought.

    ``days`` are the local days at which it fires, from three before the one to two behind the other, or more. With more
    than ``limit`` fire times the second is before ``end``, soon after the last of them.
    """
    if not reading.times:
        return array("q"), end
    most = limit // len(reading.times) + 9  # the first days may lie before ``after``, and the last is cut
    if len(days) > most:
        end = min(end, days[most - 2] * DAY)
        days = days[:most]
    times = _Local(days, reading.times)
    place = _placed_by_airflow if reading.clock in (ClockShifts.AIRFLOW, ClockShifts.AIRFLOW_HOURLY) else _placed_by_cron
    # What runs after a shift depends on what ran before it: it is placed from a day before, and what was before is not shown.
    placed = place(reading, times, after - DAY, end)
    return placed[bisect_right(placed, after) :], end


def days_between(reading: Reading, first: int, last: int) -> list[int]:
    """The local days, since 1970-01-01, from ``first`` to ``last`` that the day fields, the months and the years name."""
    years, months = reading.values(YEAR), reading.values(MONTH)
    every_year = reading.is_full(YEAR)
    if reading.is_special:
        days = _days_of_croniter(reading, first, last)
        return [day for day in days if every_year or date_of(day)[0] in years]
    doms, weekdays = reading.values(DAY_OF_MONTH), reading.values(DAY_OF_WEEK)
    either = reading.either_day and reading.is_limit(DAY_OF_MONTH) and reading.is_limit(DAY_OF_WEEK)
    days = []
    for day in range(first, last + 1):
        year, month, dom = date_of(day)
        if month in months and (every_year or year in years):
            by_dom, by_weekday = dom in doms, (day + 4) % 7 in weekdays
            if by_dom or by_weekday if either else by_dom and by_weekday:
                days.append(day)
    return days


def _days_of_croniter(reading: Reading, first: int, last: int) -> list[int]:
    """The days as croniter steps through them, at midnight on a clock without shifts."""
    from croniter import CroniterBadDateError, croniter

    expression = " ".join(("0", "0", *reading.fields[2:5]))
    start = _EPOCH + timedelta(days=first, minutes=-1)
    days = []
    try:
        steps = croniter(
            expression, start, ret_type=datetime, day_or=reading.either_day, max_years_between_matches=(last - first) // 365 + 2
        )
        while (day := (steps.get_next(datetime) - _EPOCH).days) <= last:
            days.append(day)
    except CroniterBadDateError:
        pass
    except (ValueError, LookupError, TypeError, OverflowError, AttributeError) as error:
        raise DialectError(f"croniter cannot count its days: {error}") from error
    return days


class _Local:
    """Fire times on a clock without shifts, in seconds since 1970-01-01 00:00 of that clock."""

    def __init__(self, days: list[int], times: list[int]) -> None:
        self._days, self._times = days, times

    def between(self, low: int, high: int) -> list[int]:
        """Those from ``low`` to before ``high``."""
        days = self._days[bisect_left(self._days, low // DAY) : bisect_right(self._days, high // DAY)]
        if not days:
            return []
        local_times = [day * DAY + time for day in days for time in self._times]
        return local_times[bisect_left(local_times, low) : bisect_left(local_times, high)]

    def after(self, low: int) -> int | None:
        """The next one strictly after ``low``."""
        place = bisect_left(self._days, low // DAY)
        for day in self._days[place : place + 2]:
            number = bisect_right(self._times, low - day * DAY)
            if number < len(self._times):
                return day * DAY + self._times[number]
        return None


def _placed_by_cron(reading: Reading, times: _Local, after: int, end: int) -> array[int]:
    area = zone(reading.timezone)
    placed = array("q")
    starts = [after + 1, *(shift for shift, _, _ in area.shifts(after + 1, end))]
    reached: int | None = None  # up to where of the clock fixed times have run
    for start, stop in zip(starts, [*starts[1:], end + 1], strict=True):
        offset = area.offset(start)
        low, high = start + offset, stop + offset
        if reading.clock is ClockShifts.CRON and reached is not None and abs(low - reached) < _LONG:
            if low > reached and times.between(reached, low):
                placed.append(start)
                low += 1  # what is due at the gap's end runs in the same minute
            low = max(low, reached)
            reached = max(reached, high)
        else:
            reached = high
        placed.extend([time - offset for time in times.between(low, high)])
    return placed


def _placed_by_airflow(reading: Reading, times: _Local, after: int, end: int) -> array[int]:
    """In one go up to each shift, and across it as Airflow goes from one run to the next."""
    area = zone(reading.timezone)
    by_distance = reading.clock is ClockShifts.AIRFLOW_HOURLY
    placed = array("q")
    now = after
    while now <= end:
        offset = area.offset(now)
        shift = next(((at, since) for at, _, since in area.shifts(now, end)), (end + 1, offset))
        stop = shift[0] + (offset if by_distance else min(offset, shift[1]))
        before_shift = times.between(now + offset + 1, stop)
        placed.extend([time - offset for time in before_shift])
        now = placed[-1] if before_shift else now
        following = times.after(now + offset)
        if following is None:
            break
        now = following - offset if by_distance else _later_instant(area, following)
        if now <= end:
            placed.append(now)
    return placed


def _later_instant(area: Zone, local: int) -> int:
    """The instant of a clock's time: of one shown twice the second, of one left out as much after the shift."""
    for shift, before, since in area.shifts(local - 2 * DAY, local + 2 * DAY):
        if shift + min(before, since) <= local < shift + max(before, since):
            return local - min(before, since)
    return area.instant(local)
