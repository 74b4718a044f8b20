"""Expressions for Kubernetes that may mean what a reading does: proposals only, nothing is claimed of them here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from jobs.fire_times.calendar import date_of
from jobs.fire_times.schedule import Schedule, ScheduleError, parse
from scheduler.dialects.reading import BOUNDS, DAY_OF_MONTH, DAY_OF_WEEK, HOUR, MINUTE, MONTH, Reading

_NAMES: dict[int, tuple[str, ...]] = {
    MONTH: ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    DAY_OF_WEEK: ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_RANGE = re.compile(r"([a-z]+|[0-9]{1,2})-([a-z]+|[0-9]{1,2})")


def candidates(reading: Reading, days: Iterable[int]) -> Iterator[str]:
    """Expressions that Kubernetes takes, the nearest to what was written first, each once.

    ``days`` are local days, since 1970-01-01, at which it fires: where its days cannot be written, they say which
    days of the month, or of the week, take them all in.
    """
    tried = set()
    for expression in _all(reading, list(days)):
        if expression not in tried and parsed(expression) is not None:
            tried.add(expression)
            yield expression


def parsed(expression: str) -> Schedule | None:
    """The schedule of an expression; None where Kubernetes refuses it."""
    try:
        return parse(expression)
    except ScheduleError:
        return None


def _all(reading: Reading, days: list[int]) -> Iterator[str]:
    yield reading.schedule.lower() if reading.schedule.startswith("@") else reading.schedule
    minute, hour, month = (_written(reading, field) for field in (MINUTE, HOUR, MONTH))
    if not reading.is_special:
        dom, weekday = _written(reading, DAY_OF_MONTH), _written(reading, DAY_OF_WEEK)
        starless = _starless(dom, DAY_OF_MONTH), _starless(weekday, DAY_OF_WEEK)
        for both in ((dom, weekday), ("*", "*"), starless, (dom, "*"), ("*", weekday)):
            yield f"{minute} {hour} {both[0]} {month} {both[1]}"
    if days:
        dates = [date_of(day) for day in days]
        months = compact({date[1] for date in dates}, MONTH)
        doms = compact({date[2] for date in dates}, DAY_OF_MONTH)
        weekdays = compact({(day + 4) % 7 for day in days}, DAY_OF_WEEK)
        yield f"{minute} {hour} {doms} {months} *"
        yield f"{minute} {hour} * {months} {weekdays}"


def _starless(field: str, place: int) -> str:
    """The field without the star that lets Kubernetes want both day fields."""
    return "{}-{}".format(*BOUNDS[place]) if field in ("*", "?", "*/1") else field


def _written(reading: Reading, place: int) -> str:
    """The field as Kubernetes takes it, as near to how it was written as may be."""
    values = reading.values(place)
    field = reading.written[place].lower()
    if _means(field, place, values):
        return field
    if len(values) < BOUNDS[place][1] - BOUNDS[place][0] + 1:
        parts = ",".join(dict.fromkeys(piece for part in field.split(",") for piece in _rewritten(part, place)))
        if _means(parts, place, values):
            return parts
    return compact(values, place)


def _means(field: str, place: int, values: Iterable[int]) -> bool:
    schedule = parsed(" ".join(field if number == place else "*" for number in range(5)))
    return schedule is not None and bool(schedule.fields) and schedule.fields[place] == values


def _rewritten(part: str, place: int) -> list[str]:
    """A part of a list; a 7 as 0, and a range that goes past the end in two."""
    low, high = BOUNDS[place]
    if place == DAY_OF_WEEK and part == "7":
        return ["0"]
    match = _RANGE.fullmatch(part)
    if match is None:
        return [part]
    first, last = (_number(word, place) for word in match.groups())
    if first is None or last is None:
        return [part]
    start, end = match.groups()
    if place == DAY_OF_WEEK and last == 7:
        end, last = "0", 0
    if first <= last:
        return [f"{start}-{end}"]
    named = start.isalpha()
    return [_span(start, _word(high, place, named), first == high), _span(_word(low, place, named), end, last == low)]


def _span(start: str, end: str, single: bool) -> str:
    return start if single and start.isalpha() == end.isalpha() else f"{start}-{end}"


def _number(word: str, place: int) -> int | None:
    if word.isdigit():
        return int(word)
    names = _NAMES.get(place, ())
    return names.index(word) + BOUNDS[place][0] if word in names else None


def _word(value: int, place: int, named: bool) -> str:
    return _NAMES[place][value - BOUNDS[place][0]] if named else str(value)


def compact(values: Iterable[int], place: int) -> str:
    """A field that names these values: *, a step, or ranges and single ones; never empty."""
    low, high = BOUNDS[place]
    ordered = sorted(values)
    if len(ordered) == high - low + 1:
        return "*"
    if len(ordered) > 2:
        step = ordered[1] - ordered[0]
        if step > 1 and ordered == list(range(ordered[0], high + 1, step)):
            return f"*/{step}" if ordered[0] == low else f"{ordered[0]}-{high}/{step}"
    parts: list[list[int]] = []
    for value in ordered:
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    pieces = []
    for start, end in parts:
        pieces += [str(start)] if start == end else [str(start), str(end)] if end == start + 1 else [f"{start}-{end}"]
    return ",".join(pieces)
