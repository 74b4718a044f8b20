"""What a schedule does that its reader may not expect: shifts of the clock, dates that never come, too many fires."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice

from jobs.fire_times.calendar import compile_schedule
from jobs.fire_times.fires import instants, seconds
from jobs.fire_times.schedule import Schedule
from jobs.fire_times.zones import DAY, Zone, zone

AHEAD = timedelta(days=366)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def surprises(schedule: Schedule, timezone: str, now: datetime) -> list[str]:
    """A line for each surprise between ``now`` and a year later, in the order of time."""
    if schedule.every is not None:
        if schedule.every >= 60:
            return []
        problem = (
            f"fires each {schedule.every} s, more than once a minute: a Job is named by its minute, so that one of them runs"
        )
        return [f"{problem}; type @every 1m or more"]
    area, start = zone(timezone), seconds(now)
    if next(instants(schedule, area, start), None) is None:
        return [f"never fires: in the five years from {now:%Y-%m-%d} there is no such time; change the day or the month"]
    if len(compile_schedule(schedule).hours) == 24:
        return []  # a shift changes nothing for it
    lines = []
    for shift, before, since in area.shifts(start, seconds(now + AHEAD)):
        lines += _around(schedule, area, timezone, shift, before, since)
    return lines


def _around(schedule: Schedule, area: Zone, timezone: str, shift: int, before: int, since: int) -> list[str]:
    """What differs around a shift between what the calendar names and what clocks show at the fire times."""
    first = (shift + min(before, since)) // DAY - 1
    last = (shift + max(before, since)) // DAY + 2
    named = compile_schedule(schedule)
    days = [day for day in islice(named.days(first), last - first) if day < last]
    expected = {day * DAY + second for day in days for second in named.seconds}
    shown: Counter[int] = Counter()
    # From two days earlier, so that what a missing midnight does to the days after it is seen, and what is before is not.
    for instant in instants(schedule, area, area.instant(first * DAY) - 1):
        local = instant + area.offset(instant)
        if local >= last * DAY:
            break
        shown[local] += 1
    clocks = f"clocks go from {_clock(shift + before)} to {_clock(shift + since)} ({timezone})"
    lost = sorted(expected - shown.keys())
    twice = sorted(local for local, number in shown.items() if number > 1)
    strange = sorted(shown.keys() - expected)
    lines = []
    if lost:
        lines.append(f"{_times(lost, 'is', 'are')} skipped: {clocks}")
    if twice:
        lines.append(f"{_times(twice, 'fires', 'fire')} twice: {clocks}")
    if strange:
        why = "the day has no midnight" if since > before else "the hours are counted across it"
        lines.append(f"{_times(strange, 'fires', 'fire')}, though the schedule does not say so: {why}, {clocks}")
    return lines


def _clock(local: int) -> str:
    return f"{_moment(local):%H:%M}"


def _moment(local: int) -> datetime:
    return _EPOCH + timedelta(seconds=local)


def _times(shown: list[int], one: str, many: str) -> str:
    first, last = _moment(shown[0]), _moment(shown[-1])
    if len(shown) == 1:
        return f"{first:%A %Y-%m-%d %H:%M} {one}"
    until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%A %Y-%m-%d %H:%M}"
    return f"{len(shown)} times from {first:%A %Y-%m-%d %H:%M} to {until} {many}"
