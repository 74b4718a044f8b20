"""A schedule in the words of a Healthchecks server, and how much longer it must wait because it reads them otherwise.

The server reads cron by Debian's rules (the library cronsim), and waits after a ping for the next time that these
give. Kubernetes differs from them in what `*/2` in a field of days means, in descriptors, and where clocks are set: a time that
they leave out is skipped by Kubernetes, and expected just after the gap by the server; one that they show twice fires twice.
From version 3.1 on the server reads systemd's OnCalendar too (the library oncalendar), which skips what clocks leave out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import islice, pairwise

from jobs.fire_times.calendar import CompiledSchedule, compile_schedule, date_of
from jobs.fire_times.fires import instants
from jobs.fire_times.schedule import Schedule, parse
from jobs.fire_times.zones import DAY, Zone, zone

LONGEST_SCHEDULE = 100
"""Characters of a schedule that the server takes."""
LEAST_SECONDS, MOST_SECONDS = 60, 365 * DAY
"""Of a grace and of a timeout, as the server takes them."""
_HORIZON = 10 * 365 * DAY
"""Seconds for which shifts of the zone are looked at: a date in a month meets each weekday within it."""
_WINDOW = 3 * DAY
_MOST_FIRES = 100_000
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class ServerSchedule:
    """What the server is told: a schedule, or the seconds between two pings; one of them is given.

    ``schedule``: five fields of cron, or lines of OnCalendar. ``extra_grace``: seconds by which it must wait longer than a run
    may take, so that it never misses a run that is not due. ``before_3_1``: what a server is told that knows no OnCalendar.
    """

    schedule: str | None = None
    timeout: int | None = None
    extra_grace: int = 0
    before_3_1: ServerSchedule | None = None


class _Reading(Enum):
    """How the server reads a schedule where clocks are set."""

    FIXED = "cron that begins with no star: out of a gap it moves to the minute after it; of two showings the first counts"
    FOLLOWING = "cron with a star in its minute or hour: as the clock shows it"
    CALENDAR = "OnCalendar: what is in a gap is left out; of two showings the first counts"


@lru_cache(maxsize=1024)
def server_schedule(expression: str, timezone: str, today: int) -> ServerSchedule | None:
    """The server's words for a schedule; None for one that does not fire in the next five years.

    ``today``: days since 1970, from which on the zone's shifts count. Raises ScheduleError.
    """
    schedule, area, now = parse(expression), zone(timezone), today * DAY
    if schedule.every is not None:
        return ServerSchedule(timeout=min(max(schedule.every, LEAST_SECONDS), MOST_SECONDS))
    if next(instants(schedule, area, now), None) is None:
        return None
    candidates = [(cron, _extra_grace(schedule, area, now, _reading(cron))) for cron in _spellings(schedule)]
    cron, extra = min(candidates, key=lambda candidate: candidate[1])
    if len(cron) > LONGEST_SCHEDULE:
        fires = islice(instants(schedule, area, now), _MOST_FIRES)
        longest = max((later - earlier for earlier, later in pairwise(fires) if earlier < now + _HORIZON), default=MOST_SECONDS)
        return ServerSchedule(timeout=min(longest, MOST_SECONDS))
    by_cron = ServerSchedule(cron, extra_grace=extra)
    lines = _calendar_lines(schedule) if extra else ""
    if not 0 < len(lines) <= LONGEST_SCHEDULE:
        return by_cron
    by_calendar = _extra_grace(schedule, area, now, _Reading.CALENDAR)
    return ServerSchedule(lines, extra_grace=by_calendar, before_3_1=by_cron) if by_calendar < extra else by_cron


# -- spelling


def _spellings(schedule: Schedule) -> Iterator[str]:
    """The fields as the server reads them; the plain way first, then with a star that makes it follow the clock as it is set.

    That star is one with a step beyond the field: `*/60` is minute 0 alone.
    """
    values = [sorted(field) for field in schedule.fields]
    minute, hour, month = (_field(values[n], *_RANGES[n], may_be_star=True) for n in (0, 1, 3))
    # Of days it means something else: with a star, both fields of days must match, else one of them.
    dom, dow = ("*" if schedule.stars[n] else _field(values[n], *_RANGES[n], may_be_star=False) for n in (2, 4))
    yield " ".join((minute, hour, dom, month, dow))
    if _reading(f"{minute} {hour}") == _Reading.FIXED:
        for n, field, size in ((0, minute, 60), (1, hour, 24)):
            if values[n][0] == 0:
                rest = _field(values[n][1:], *_RANGES[n], may_be_star=False)
                starred = f"*/{size}" + (f",{rest}" if rest else "")
                times = (starred, hour) if field is minute else (minute, starred)
                yield " ".join((*times, dom, month, dow))


def _reading(cron: str) -> _Reading:
    """How the server reads a schedule of cron."""
    minute, hour = cron.split()[:2]
    return _Reading.FOLLOWING if minute.startswith("*") or hour.startswith("*") else _Reading.FIXED


def _calendar_lines(schedule: Schedule) -> str:
    """The schedule as OnCalendar, in which days of the month and of the week must always match both: else in two lines."""
    values = [sorted(field) for field in schedule.fields]
    minute, hour, day, month = (_calendar_field(values[n], *_RANGES[n]) for n in range(4))
    # Its weeks begin with Monday.
    days = sorted((value - 1) % 7 for value in values[4])
    weekdays = "" if len(days) == 7 else ",".join(_weekdays(days)) + " "
    time = ":".join(field.zfill(2) if field.isdigit() else field for field in (hour, minute))
    date = "" if day == month == "*" else f"*-{month}-{day} "
    if schedule.stars[2] or schedule.stars[4]:
        return f"{weekdays}{date}{time}"
    each_day = "" if month == "*" else f"*-{month}-* "
    return f"{date}{time}\n{weekdays}{each_day}{time}"


def _calendar_field(values: list[int], low: int, high: int) -> str:
    if values == list(range(low, high + 1)):
        return "*"
    return _field(values, low, high, may_be_star=False).replace("-", "..")


def _weekdays(days: list[int]) -> Iterator[str]:
    """Days of the week, Monday is 0, as names and ranges of names."""
    while days:
        length = next((n for n in range(1, len(days)) if days[n] != days[0] + n), len(days))
        row, days = days[:length], days[length:]
        yield from [f"{_WEEKDAYS[row[0]]}..{_WEEKDAYS[row[-1]]}"] if length > 2 else [_WEEKDAYS[day] for day in row]


def _field(values: list[int], low: int, high: int, may_be_star: bool) -> str:
    """Values of a field, in the fewest ranges and steps that are found from its beginning; empty for none."""
    step = values[1] - values[0] if len(values) > 1 else 0
    if may_be_star and step and values == list(range(low, high + 1, step)):
        return "*" if step == 1 else f"*/{step}"
    parts, rest = [], values
    while rest:
        run = _progression(rest)
        if len(run) < 3:
            run = rest[:1]
        step = run[1] - run[0] if len(run) > 1 else 0
        parts.append(f"{run[0]}-{run[-1]}" + (f"/{step}" if step > 1 else "") if step else str(run[0]))
        rest = [value for value in rest if value not in run]
    return ",".join(parts)


def _progression(values: list[int]) -> list[int]:
    """The longest even row of values that begins with the first; of equal ones that with the smallest step."""
    best, known = values[:1], set(values)
    for second in values[1:]:
        step = second - values[0]
        row = [values[0]]
        while row[-1] + step in known:
            row.append(row[-1] + step)
        if len(row) > len(best):
            best = row
    return best


# -- where clocks are set


def _extra_grace(schedule: Schedule, area: Zone, now: int, reading: _Reading) -> int:
    """By how many seconds the server may expect a run too early, around the zone's shifts."""
    extra, named, seen = 0, compile_schedule(schedule), set()
    for at, before, since in area.shifts(now, now + _HORIZON):
        day, second = divmod(at + before, DAY)
        days = tuple(_has_day(named, day + distance) for distance in range(-3, 4))
        # A shift like an earlier one, at the same time of the day and with the same days around it, tells nothing new.
        if sum(days[-3:]) > 1:
            if (before, since, second, days) in seen:
                continue
            seen.add((before, since, second, days))
        # One after the other, as the controller counts them: behind a midnight that does not exist it depends on where it began.
        real = list(_through(instants(schedule, area, at - _WINDOW), at + _WINDOW))
        if not real or real[-1] <= at + _WINDOW:
            real.append(at + MOST_SECONDS)  # nothing follows in five years: no wait is long enough
        for expected in _expected(schedule, area, at, real[-1], reading):
            if expected <= real[-1]:
                extra = max(extra, real[bisect_left(real, expected)] - expected)
        if reading != _Reading.FOLLOWING and since < before and any(at < fire < at + before - since for fire in real):
            # A ping between a time's two showings makes the server expect the first of them, which is past.
            extra = max(extra, before - since)
    return extra


def _expected(schedule: Schedule, area: Zone, shift: int, end: int, reading: _Reading) -> Iterator[int]:
    """The instants at which the server expects a ping, in seconds since 1970: from the day before a shift to that of ``end``.

    ``end`` is the first fire time well after the shift: the one before it may be one that Kubernetes' library does not find.
    """
    named = compile_schedule(schedule)
    for day in range((shift + area.offset(shift)) // DAY - 1, (end + area.offset(end)) // DAY + 1):
        if not _has_day(named, day):
            continue
        for second in named.seconds:
            local = day * DAY + second
            shown = _shown(area, local)
            if reading == _Reading.FOLLOWING:
                if not shown and second == 0 and not _has_day(named, day - 1):
                    # It goes to the midnight of the next day that is named, also where there is none.
                    yield area.instant(local)
                yield from shown
                continue
            while not shown and reading == _Reading.FIXED:
                local += 60
                shown = _shown(area, local)
            yield from shown[:1]


def _has_day(named: CompiledSchedule, day: int) -> bool:
    return date_of(day)[1] in named.months and named.has_day(day)


def _shown(area: Zone, local: int) -> list[int]:
    """The instants at which clocks show a time: one, two where they are set back, none in a gap."""
    offsets = {area.offset(local - offset + away) for offset in (area.offset(local),) for away in (-DAY, 0, DAY)}
    return sorted(local - offset for offset in offsets if area.offset(local - offset) == offset)


def _through(times: Iterable[int], end: int) -> Iterator[int]:
    """The instants up to the first after ``end``, that one too."""
    for at in times:
        yield at
        if at > end:
            return
