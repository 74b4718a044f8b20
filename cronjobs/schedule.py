"""Schedules: exactly the cron dialect that Kubernetes' CronJob controller accepts."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MONTHS = dict(jan=1, feb=2, mar=3, apr=4, may=5, jun=6, jul=7, aug=8, sep=9, oct=10, nov=11, dec=12)
_DAYS = dict(sun=0, mon=1, tue=2, wed=3, thu=4, fri=5, sat=6)
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:h|m|s|ms|us|µs|ns))+")


class ScheduleError(ValueError):
    """Kubernetes would refuse this schedule; the text says why and what to type."""


@dataclass(frozen=True)
class Schedule:
    """A parsed schedule: the values of each field, and whether it carries the star bit; or @every."""

    expression: str
    fields: tuple[frozenset[int], ...] = ()
    stars: tuple[bool, ...] = ()
    every: str | None = None


def parse(expression: str) -> Schedule:
    """The schedule that an expression spells; raises ScheduleError where Kubernetes would refuse it."""
    if "TZ" in expression:
        raise ScheduleError("a zone in the schedule is refused: set timezone: instead")
    text = expression.strip()
    if text.startswith("@"):
        return _descriptor(expression, text)
    parts = text.split()
    if len(parts) != 5:
        hint = ": leave out the seconds" if len(parts) == 6 else ', e.g. "0 1 * * *"'
        raise ScheduleError(f"it has {len(parts)} fields, five are needed{hint}")
    parsed = [_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    return Schedule(expression, tuple(values for values, _ in parsed), tuple(star for _, star in parsed))


def _descriptor(expression: str, text: str) -> Schedule:
    if text in _DESCRIPTORS:
        found = parse(_DESCRIPTORS[text])
        return Schedule(expression, found.fields, found.stars)
    if text.startswith("@every "):
        if not _DURATION.fullmatch(text.removeprefix("@every ")):
            raise ScheduleError("@every needs a duration, e.g. @every 1h30m")
        return Schedule(expression, every=text.removeprefix("@every "))
    known = ", ".join([*_DESCRIPTORS, "@every 1h"])
    raise ScheduleError(f"{text} is not known: type five fields, or one of {known}")


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    values: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        found, starred = _range(part, name, low, high, names)
        values |= found
        star |= starred
    return frozenset(values), star


def _range(part: str, name: str, low: int, high: int, names: dict[str, int]) -> tuple[set[int], bool]:
    pieces = part.split("/")
    if len(pieces) > 2:
        raise ScheduleError(f"{name}: {part} has more than one /")
    ends = pieces[0].split("-")
    star = ends[0] in ("*", "?")
    if star:
        start, end = low, high
    elif len(ends) > 2:
        raise ScheduleError(f"{name}: {part} has more than one -")
    else:
        start = _number(ends[0], name, names)
        end = _number(ends[1], name, names) if len(ends) == 2 else start
    step = 1
    if len(pieces) == 2:
        step = _number(pieces[1], name, {})
        if len(ends) == 1 and not star:
            end = high
        if step > 1:
            star = False
    if step == 0:
        raise ScheduleError(f"{name}: a step of 0: type 1 or more")
    if start < low or end > high:
        hint = ": type 0 for Sunday" if name == "day of week" and 7 in (start, end) else ""
        raise ScheduleError(f"{name}: {part} is outside {low}-{high}{hint}")
    if start > end:
        raise ScheduleError(f"{name}: the range {part} ends before it begins: split it with a comma")
    return set(range(start, end + 1, step)), star


def _number(text: str, name: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"\+?[0-9]+", text):
        known = f" or {', '.join(names)}" if names else ""
        raise ScheduleError(f"{name}: {text or 'nothing'} is not a number{known}")
    return int(text)
