"""How cron and Airflow go from one fire time to the next, step by step: slow, and apart from what is tested with it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

_MINUTE = timedelta(minutes=1)
_NAMES = {
    name: str(number)
    for names, first in (("jan feb mar apr may jun jul aug sep oct nov dec", 1), ("sun mon tue wed thu fri sat", 0))
    for number, name in enumerate(names.split(), first)
}
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def cron_fields(expression: str) -> list[set[int]] | None:
    """The numbers of five fields by crontab(5); None for what it does not allow."""
    fields = []
    for field, (low, high) in zip(expression.lower().split(), _LIMITS, strict=True):
        numbers: set[int] = set()
        for part in field.split(","):
            text = re.sub("[a-z]+", lambda word: _NAMES.get(word[0], word[0]), part)
            match = re.fullmatch(r"(?:\*|([0-9]+)-([0-9]+))(?:/([0-9]+))?|([0-9]+)", text)
            if match is None:
                return None
            first, last, step, single = match.groups()
            start, end = (int(single), int(single)) if single else (int(first), int(last)) if first else (low, high)
            if not low <= start <= end <= high or step == "0":
                return None
            numbers |= set(range(start, end + 1, int(step or 1)))
        fields.append(numbers)
    return fields


def cron_fires(expression: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """cron's main loop: a virtual clock that is led after the real one, and fixed and wildcard entries apart.

    Hours far from a shift are looked at only where the entry names the hour.
    """
    fields = cron_fields(expression)
    assert fields is not None
    minutes, hours, days, months, weekdays = fields
    texts = expression.split()
    wild = texts[0].startswith("*") or texts[1].startswith("*")
    both = texts[2].startswith("*") or texts[4].startswith("*")
    area = ZoneInfo(zone)

    def due(clock: datetime) -> bool:
        on_day, on_weekday = clock.day in days, bool({clock.isoweekday() % 7, clock.isoweekday()} & weekdays)
        named = on_day and on_weekday if both else on_day or on_weekday
        return named and clock.month in months and clock.hour in hours and clock.minute in minutes

    fires = []
    now = after.replace(second=0, microsecond=0)
    virtual = now.astimezone(area).replace(tzinfo=None)
    while (now := now + _MINUTE) <= until:
        clock = now.astimezone(area).replace(tzinfo=None)
        difference = (clock - virtual) // _MINUTE
        if difference == 1:
            virtual = clock
            ran = due(clock)
        elif 1 < difference <= 180:
            ran = wild and due(clock)
            while virtual < clock:
                virtual += _MINUTE
                ran |= not wild and due(virtual)
        elif -180 <= difference <= 0:
            ran = wild and due(clock)
        else:
            virtual = clock
            ran = due(clock)
        if ran and now > after:
            fires.append(now)
        if difference == 1 and clock.minute == 59:
            now, virtual = _skip(now, virtual, area, hours)
    return fires


def _skip(now: datetime, virtual: datetime, area: ZoneInfo, hours: set[int]) -> tuple[datetime, datetime]:
    """Over whole hours that the entry does not name, as long as no shift is near."""
    offset = now.astimezone(area).utcoffset()
    while (virtual + _MINUTE).hour not in hours and (now + timedelta(hours=5)).astimezone(area).utcoffset() == offset:
        now, virtual = now + timedelta(hours=1), virtual + timedelta(hours=1)
    return now, virtual


def airflow_fires(expression: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """Airflow's way from one run to the next: croniter on a naive clock, and then the second of two instants."""
    area = ZoneInfo(zone)
    fires = []
    now = after
    steps = croniter(expression, after.replace(tzinfo=None), ret_type=datetime, max_years_between_matches=6)
    hourly = steps.expanded[1] == ["*"]
    while True:
        clock = now.astimezone(area).replace(tzinfo=None)
        try:
            following = steps.get_next(datetime, start_time=clock)
        except CroniterBadDateError:
            return fires
        if hourly:
            now += following - clock
        else:
            now = max(following.replace(tzinfo=area, fold=fold).astimezone(UTC) for fold in (0, 1))
        if now > until:
            return fires
        fires.append(now)
