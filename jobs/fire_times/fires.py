"""Fire times: exactly when Kubernetes' CronJob controller would start a schedule's Jobs.

The controller uses robfig/cron v3.0.1, and this does what that library does, not what a cron should: times in a
gap are skipped, times shown twice fire twice, and after a midnight that does not exist a day may be taken for the
next. croniter is not used: it reads another dialect (7, L, #, @reboot, a star bit of its own), shifts times out
of gaps instead of skipping them, and takes about thirty times as long. Where the two agree there is nothing left
for it to do.

Away from a zone's shifts all this is plain calendar, and days are counted out whole. Around a shift, and after a
midnight that does not exist, ``following`` goes through the library's own steps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from jobs.fire_times.calendar import CompiledSchedule, compile_schedule, date_of, day_of
from jobs.fire_times.schedule import Schedule
from jobs.fire_times.zones import DAY, LAST, Zone, zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MORE = 3600  # a shift is not near a day if it is so long after its end
_BEYOND = LAST - 8 * 366 * DAY


def fires(schedule: Schedule, timezone: str, after: datetime) -> Iterator[datetime]:
    """The fire times after an instant, in UTC and in order, strictly after it; ends where there is none in five years.

    @every counts from ``after``, cut to whole seconds: Kubernetes gives it the last scheduled time, or the creation.
    """
    for instant in instants(schedule, zone(timezone), seconds(after)):
        yield _EPOCH + timedelta(seconds=instant)


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970 in UTC, cut; raises ValueError without a zone."""
    if moment.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return (moment - _EPOCH) // _SECOND


def instants(schedule: Schedule, area: Zone, after: int, anchor: int | None = None) -> Iterator[int]:
    """The fire times after an instant, in seconds since 1970.

    ``anchor`` is where @every counts from (``after`` by default).
    """
    if schedule.every is not None:
        yield from _every(schedule.every, after, after if anchor is None else anchor)
        return
    named = compile_schedule(schedule)
    if not named.seconds:
        return
    last: int | None = after
    while last is not None:
        for instant in _calm(named, area, last):
            yield instant
            last = instant
        if last >= _BEYOND:
            return
        last = following(named, area, last)
        if last is not None:
            yield last


def _every(delay: int, after: int, anchor: int) -> Iterator[int]:
    at = anchor + max((after - anchor) // delay, 0) * delay
    while (at := at + delay) < LAST:
        yield at


def _calm(named: CompiledSchedule, area: Zone, after: int) -> Iterator[int]:
    """The fire times after an instant as long as no shift is near: perhaps none, and never one too many."""
    if after >= _BEYOND or not area.quiet(after - 2 * DAY, after + DAY + _MORE):
        return
    offset = area.offset(after)
    if offset % 60:
        return
    day, second = divmod(after + offset, DAY)
    month = day_of(*date_of(day)[:2], 1)
    # The library may go back to the first of the month to count from there.
    previous = month - 1
    first = bisect_right(named.seconds, second)
    calm_until = area.quiet_until(after)
    for named_day in named.days(day):
        if named_day == day:
            start = first
        else:
            start = 0
            midnight = named_day * DAY - offset
            if midnight + DAY + _MORE > calm_until:
                if midnight >= _BEYOND or not area.quiet(midnight - DAY, midnight + DAY + _MORE):
                    return
                offset = area.offset(midnight)
                if offset % 60:
                    return
                calm_until = area.quiet_until(midnight)
            if not area.midnights(previous, named_day):
                return
        base = named_day * DAY - offset
        for at in named.seconds[start:]:
            yield base + at
        previous = named_day


def following(named: CompiledSchedule, area: Zone, after: int) -> int | None:
    """The fire time after an instant by the library's own steps (SpecSchedule.Next); None after five years.

    ``reset`` is the library's ``added``: whether the smaller units are at their beginning already.
    """
    at = after + 1
    local = at + area.offset(at)
    limit = date_of(local // DAY)[0] + 5
    reset = False
    while True:
        day, second = divmod(local, DAY)
        year, month, dom = date_of(day)
        if year > limit:
            return None
        if month not in named.months:
            if not reset:
                reset = True
                at = area.instant(day_of(year, month, 1) * DAY)
            at, wrapped = _month(named, area, at)
            local = at + area.offset(at)
            if wrapped:
                continue
        if not named.has_day(local // DAY):
            if not reset:
                reset = True
                at = area.instant(local // DAY * DAY)
            at, wrapped = _day(named, area, at)
            local = at + area.offset(at)
            if wrapped:
                continue
        if local % DAY // 3600 not in named.hours:
            if not reset:
                reset = True
                at = area.instant(local // 3600 * 3600)
            at, wrapped = _hour(named, area, at)
            local = at + area.offset(at)
            if wrapped:
                continue
        if local % 3600 // 60 not in named.minutes:
            if not reset:
                reset = True
                at -= at % 60
            at, wrapped = _minute(named, area, at)
            local = at + area.offset(at)
            if wrapped:
                continue
        if local % 60 == 0:
            return at
        reset = True
        ahead = 60 - local % 60
        if area.quiet(at, at + ahead):
            at += ahead
            local += ahead
        while local % 60:
            at += 1
            local = at + area.offset(at)


def _month(named: CompiledSchedule, area: Zone, at: int) -> tuple[int, bool]:
    """The first named month after ``at``, and whether a year ended on the way."""
    while True:
        day, second = divmod(at + area.offset(at), DAY)
        year, month, dom = date_of(day)
        at = area.instant(day_of(year, month + 1, dom) * DAY + second)
        month = date_of((at + area.offset(at)) // DAY)[1]
        if month == 1 or month in named.months:
            return at, month == 1


def _day(named: CompiledSchedule, area: Zone, at: int) -> tuple[int, bool]:
    """The first named day after ``at``, and whether a month ended on the way."""
    while True:
        day, second = divmod(at + area.offset(at), DAY)
        if second == 0:
            # From one midnight to the next it goes day by day, unless one of them does not exist.
            target, first = named.next_in_month(day)
            midnight = area.instant(target * DAY)
            if area.midnights(day, target):
                return midnight, first
        ahead, start = 1, at
        while True:
            at = area.instant((day + ahead) * DAY + second)
            hour = (at + area.offset(at)) % DAY // 3600
            if hour:
                at += (24 - hour if hour > 12 else -hour) * 3600
            if at > start:
                break
            ahead = _after_day_left_out(ahead)
        day = (at + area.offset(at)) // DAY
        first = date_of(day)[2] == 1
        if first or named.has_day(day):
            return at, first


def _after_day_left_out(ahead: int) -> int:
    """How many days ahead to look next, where the day ahead is one that the zone left out: the library never gets past it."""
    return ahead + 1


def _hour(named: CompiledSchedule, area: Zone, at: int) -> tuple[int, bool]:
    """The first named hour after ``at``, and whether a day was seen to end on the way."""
    while True:
        at += 3600
        hour = (at + area.offset(at)) % DAY // 3600
        if hour == 0 or hour in named.hours:
            return at, hour == 0


def _minute(named: CompiledSchedule, area: Zone, at: int) -> tuple[int, bool]:
    """The first named minute after ``at``, and whether an hour ended on the way."""
    if area.quiet(at, at + 3600):
        minute = (at + area.offset(at)) % 3600 // 60
        later = min((value for value in named.minutes if value > minute), default=60)
        return at + (later - minute) * 60, later == 60
    while True:
        at += 60
        minute = (at + area.offset(at)) % 3600 // 60
        if minute == 0 or minute in named.minutes:
            return at, minute == 0
