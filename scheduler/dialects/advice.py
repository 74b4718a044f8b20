"""What to type for an expression of another dialect, and how the two differ: every fire time of five years compared."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from jobs.fire_times.calendar import compile_schedule
from jobs.fire_times.fires import instants as instants_here
from jobs.fire_times.fires import seconds
from jobs.fire_times.schedule import Schedule, parse
from jobs.fire_times.zones import DAY, Zone, zone
from scheduler.dialects import airflow, crontab
from scheduler.dialects.candidates import candidates
from scheduler.dialects.guard import Condition, guard
from scheduler.dialects.instants import days_between, instants
from scheduler.dialects.reading import DAY_OF_MONTH, DAY_OF_WEEK, SECOND, YEAR, Dialect, DialectError, Reading

YEARS = 5
LIMIT = 3_000_000
"""Fire times that are compared at most: more than an expression without seconds has in five years."""
DATES = 10
"""Differing dates that are kept."""
_FIVE_YEARS = 1827 * DAY  # with two leap days, and a day too many where there is one
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_SCORED = 20_000
_WINDOW = 32 * DAY
_AT_SHIFT = 2 * DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = 1970, 2090


@dataclass(frozen=True)
class DifferingDate:
    """A local date at which the fire times differ: those of one side alone."""

    date: date
    there: tuple[datetime, ...]
    here: tuple[datetime, ...]


@dataclass(frozen=True)
class Advice:
    """What an expression means there, what to type here, and how the two differ from ``after`` to ``until``.

    ``there`` and ``here`` are numbers of fire times, ``only_there`` and ``only_here`` of those that the other lacks.
    ``whole`` is False where there were too many to compare five years of them.
    """

    reading: Reading
    expression: str
    after: datetime
    until: datetime
    whole: bool
    there: int
    here: int
    only_there: int = 0
    only_here: int = 0
    dates: tuple[DifferingDate, ...] = ()
    date_count: int = 0
    shifts_alone: bool = False
    guard: Condition | None = None
    untypable: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether every compared fire time is the same."""
        return not self.only_there and not self.only_here

    @property
    def period(self) -> str:
        """What was compared, as a message says it."""
        if self.whole:
            return f"over {YEARS} years in {self.reading.timezone}"
        return f"until {self.until:%Y-%m-%d} in {self.reading.timezone}"


def read(dialect: Dialect, text: str, timezone: str) -> Reading:
    """What a text says in a dialect; raises DialectError where it has no fire times that can be known."""
    return crontab.read(text, timezone) if dialect is Dialect.CRONTAB else airflow.read(text, timezone)


def coming(reading: Reading, after: datetime, until: datetime | None, count: int) -> list[datetime]:
    """At most ``count`` fire times there after ``after`` and up to ``until``."""
    start = _start(after)
    end = start + 30 * 366 * DAY if until is None else min(seconds(until), start + 30 * 366 * DAY)
    days = days_between(reading, start // DAY - 3, end // DAY + 2)
    fires, _ = instants(reading, days, start, end, count)
    return [_moment(instant) for instant in fires[:count]]


def advise(reading: Reading, after: datetime, limit: int = LIMIT) -> Advice:
    """What to type for a reading; raises DialectError where it never fires though what can be typed would."""
    start = _start(after)
    five_years = start + _FIVE_YEARS
    # Where single days count, each date of a year must have been each weekday for its candidates.
    days = days_between(reading, start // DAY - 3, (start + (12 * 366 * DAY if reading.is_special else _FIVE_YEARS)) // DAY + 2)
    there, end = instants(reading, days, start, five_years, limit)
    area = zone(reading.timezone)
    proposals = [(expression, parse(expression)) for expression in candidates(reading, days)]
    for expression, schedule in proposals:
        if _same(there, schedule, area, start, end):
            return Advice(reading, expression, after, _moment(end), end == five_years, len(there), len(there))
    if not there:
        raise DialectError(f"it does not fire in the {YEARS} years from {after:%Y-%m-%d}: leave the schedule out")
    scored_end = there[_SCORED] if len(there) > _SCORED else end
    expression, schedule = min(proposals, key=lambda proposal: _distance(there, proposal[1], area, start, scored_end))
    here = _here(schedule, area, start, end)
    only_there, only_here = _difference(there, here), _difference(here, there)
    dates, date_count = _dates(only_there, only_here, area)
    untypable = _untypable(reading)
    shifts_alone = _near_shifts(only_there, area, start, end) and _near_shifts(only_here, area, start, end)
    condition = None
    if untypable and len(reading.values(SECOND)) == 1:
        first, last = start // DAY + 2, end // DAY - 2
        days_here = [day for day in islice(compile_schedule(schedule).days(first), last - first) if day <= last]
        condition = guard(reading, [day for day in days if first <= day <= last], days_here)
    return Advice(
        reading, expression, after, _moment(end), end == five_years, len(there), len(here), len(only_there), len(only_here),
        dates, date_count, shifts_alone, condition, untypable,
    )  # fmt: skip


def _start(after: datetime) -> int:
    if not _FIRST <= after.year <= _LAST:
        raise DialectError(f"croniter's calendar is used from {_FIRST} to {_LAST}, not in {after.year}")
    return seconds(after)


def _moment(instant: int) -> datetime:
    return _EPOCH + timedelta(seconds=instant)


def _same(there: array[int], schedule: Schedule, area: Zone, start: int, end: int) -> bool:
    """Whether a schedule of ours fires at just these times up to ``end``."""
    number = 0
    for instant in instants_here(schedule, area, start):
        if instant > end:
            break
        if number == len(there) or there[number] != instant:
            return False
        number += 1
    return number == len(there)


def _here(schedule: Schedule, area: Zone, start: int, end: int) -> array[int]:
    instants = array("q")
    for instant in instants_here(schedule, area, start):
        if instant > end:
            break
        instants.append(instant)
    return instants


def _distance(there: array[int], schedule: Schedule, area: Zone, start: int, end: int) -> int:
    """How many fire times up to ``end`` a schedule of ours lacks or has too many."""
    here = _here(schedule, area, start, end)
    earlier = there[: bisect_right(there, end)]
    return len(_difference(earlier, here)) + len(_difference(here, earlier))


def _difference(one: array[int], other: array[int]) -> array[int]:
    """What is in one alone, in order; taken by the month, so that long lists need no large sets."""
    alone: array[int] = array("q")
    place = 0
    while place < len(one):
        month_end = one[place] + _WINDOW
        stop = bisect_left(one, month_end, place)
        low, high = bisect_left(other, one[place]), bisect_left(other, month_end)
        mine, theirs = one[place:stop], other[low:high]
        if mine != theirs:
            known = set(theirs)
            alone.extend([instant for instant in mine if instant not in known])
        place = stop
    return alone


def _dates(only_there: array[int], only_here: array[int], area: Zone) -> tuple[tuple[DifferingDate, ...], int]:
    """The first differing local dates, and how many there are."""

    def local_day(instant: int) -> int:
        return (instant + area.offset(instant)) // DAY

    days = sorted({*map(local_day, only_there), *map(local_day, only_here)})
    kept: dict[int, tuple[list[int], list[int]]] = {day: ([], []) for day in days[:DATES]}
    for side, alone in enumerate((only_there, only_here)):
        for instant in alone:
            day = local_day(instant)
            if day not in kept:
                break
            kept[day][side].append(instant)
    listed = [
        DifferingDate((_EPOCH + timedelta(days=day)).date(), tuple(map(_moment, there)), tuple(map(_moment, here)))
        for day, (there, here) in kept.items()
    ]
    return tuple(listed), len(days)


def _near_shifts(instants: Iterable[int], area: Zone, start: int, end: int) -> bool:
    shifts = [shift for shift, _, _ in area.shifts(start - _AT_SHIFT, end + _AT_SHIFT)]
    return all(bisect_left(shifts, instant - _AT_SHIFT) < bisect_right(shifts, instant + _AT_SHIFT) for instant in instants)


def _untypable(reading: Reading) -> tuple[str, ...]:
    """What of it Kubernetes has no word for."""
    reasons = []
    if reading.last_day:
        reasons.append("L, a month's last day")
    reasons += [f"{day}W, the weekday nearest to a day" for day in sorted(reading.nearest_weekdays)]
    for weekday, numbers in sorted(reading.nth_weekdays.items()):
        reasons += [
            f"L{weekday}, a month's last such weekday"
            if number == "l"
            else f"{weekday}#{number}, a month's {_ORDINALS[number - 1]} such weekday"
            for number in sorted(numbers, key=str)
        ]
    if reading.values(SECOND) != {0}:
        reasons.append("seconds")
    if not reading.is_full(YEAR):
        reasons.append("years")
    if not reading.either_day and not reading.is_full(DAY_OF_MONTH) and not reading.is_full(DAY_OF_WEEK):
        reasons.append("a day of the month that must also be a certain weekday")
    return tuple(reasons)
