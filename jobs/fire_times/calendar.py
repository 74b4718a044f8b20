"""The calendar as numbers: days since 1970-01-01, and the days and minutes that a schedule names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from jobs.fire_times.schedule import Schedule


def day_of(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01; a month over 12 and any day are counted on, as Go does.

    The algorithm: years that begin in March, so that the leap day is a year's last.
    """
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    since = year - (month <= 2)
    return 365 * since + since // 4 - since // 100 + since // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469


def date_of(day: int) -> tuple[int, int, int]:
    """Year, month and day of the month of a day since 1970-01-01."""
    day += 719468
    era, of_era = divmod(day, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    number = of_year - (153 * month + 2) // 5 + 1
    return (year + era * 400 + (month >= 10), month + (3 if month < 10 else -9), number)


class CompiledSchedule:
    """What a schedule of five fields names: seconds of a day, and days."""

    def __init__(self, schedule: Schedule) -> None:
        minutes, hours, self.doms, self.months, self.dows = schedule.fields
        self.minutes, self.hours = minutes, hours
        self.both = schedule.stars[2] or schedule.stars[4]
        self.seconds = [hour * 3600 + minute * 60 for hour in sorted(hours) for minute in sorted(minutes)]
        self._shapes: dict[tuple[int, int], tuple[int, ...]] = {}

    def has_day(self, day: int) -> bool:
        """Whether the day of the month and of the week are named, whatever the month."""
        return self._has(date_of(day)[2], (day + 4) % 7)

    def _has(self, dom: int, dow: int) -> bool:
        if self.both:
            return dom in self.doms and dow in self.dows
        return dom in self.doms or dow in self.dows

    def days(self, day: int) -> Iterator[int]:
        """The days that the schedule names, from ``day`` on; ends where the next is over five years away."""
        year, month, _ = date_of(day)
        limit = year + 5
        while year <= limit:
            if month in self.months:
                first = day_of(year, month, 1)
                for distance in self._in_month(first, day_of(year, month + 1, 1) - first):
                    if first + distance >= day:
                        yield first + distance
                        limit = year + 5
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def next_in_month(self, day: int) -> tuple[int, bool]:
        """The next named day in the same month after ``day``, else the first of the next; and whether it is that."""
        year, month, dom = date_of(day)
        first, end = day - dom + 1, day_of(year, month + 1, 1)
        for distance in self._in_month(first, end - first):
            if distance >= dom:
                return first + distance, False
        return end, True

    def _in_month(self, first: int, length: int) -> tuple[int, ...]:
        """The named days of a month as distances from its first; there are 28 shapes of months."""
        dow = (first + 4) % 7
        distances = self._shapes.get((dow, length))
        if distances is None:
            distances = tuple(distance for distance in range(length) if self._has(distance + 1, (dow + distance) % 7))
            self._shapes[dow, length] = distances
        return distances


@lru_cache(maxsize=4096)
def compile_schedule(schedule: Schedule) -> CompiledSchedule:
    """What a schedule of five fields names, compiled once."""
    return CompiledSchedule(schedule)
