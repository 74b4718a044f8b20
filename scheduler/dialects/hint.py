"""What an error about an expression that Kubernetes refuses adds where crontab or Airflow knows it: one line, soon made."""

from __future__ import annotations

import shlex
from datetime import datetime

from scheduler.dialects.advice import Advice, advise, read
from scheduler.dialects.reading import Dialect, DialectError, Reading

AT_MOST = 20
"""Expressions that one process compares for errors; further ones are pointed to the command that does."""
_LIMIT = 100_000
_LONGEST = 200
_hints: dict[tuple[str, str], str | None] = {}


def hint(expression: str, timezone: str, now: datetime) -> str | None:
    """What to type instead, and how the two differ in the five years after ``now``; None where neither dialect knows it.

    Made once for an expression and zone, and for so many of them that a thousand wrong ones take no longer than a few.
    """
    key = expression, timezone
    if key not in _hints:
        reading = _reading(expression, timezone)
        if reading is not None and len(_hints) >= AT_MOST:
            return _command(reading)
        if reading is None and len(_hints) >= 10 * AT_MOST:
            return None
        _hints[key] = None if reading is None else _hint(reading, now)
    return _hints[key]


def _reading(expression: str, timezone: str) -> Reading | None:
    """As crontab has it if cron itself takes it, else as Airflow does."""
    if len(expression) > _LONGEST:
        return None
    readings = []
    for dialect in Dialect:
        try:
            readings.append(read(dialect, expression, timezone))
        except DialectError:
            continue
    # Six fields are no crontab's, and where they have the seconds nobody knows.
    return next((reading for reading in readings if reading.strict and len(reading.written) == 5), None)


def _hint(reading: Reading, now: datetime) -> str | None:
    try:
        return in_one_line(advise(reading, now, _LIMIT))
    except DialectError:
        return None


def _command(reading: Reading) -> str:
    return f"cronsemble next --dialect {reading.dialect} {shlex.quote(reading.given)} says what to type"


def in_one_line(advice: Advice) -> str:
    """What to type and how it differs, as a part of a line."""
    reading = advice.reading
    if advice.same:
        return f'"{advice.expression}" has {reading.dialect}\'s fire times {advice.period}'
    if advice.shifts_alone:
        dates = f"{advice.date_count} date{'' if advice.date_count == 1 else 's'}"
        return (
            f'"{advice.expression}" has {reading.dialect}\'s fire times {advice.period} but on {dates} when the clock is shifted'
        )
    numbers = [f"{advice.only_here} more"] if advice.only_here else []
    numbers += [f"{advice.only_there} fewer"] if advice.only_there else []
    more = _command(reading).replace("what to type", "how they differ")
    return f'the nearest is "{advice.expression}", with {" and ".join(numbers)} than {reading.dialect}\'s {advice.there} {advice.period}: {more}'
