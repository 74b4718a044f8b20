"""What an error about an expression that Kubernetes refuses adds where crontab or Airflow knows it: one line, soon made."""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime
from functools import lru_cache

from jobs.fire_times.schedule import ScheduleError
from scheduler.dialects.advice import Advice, advise, read
from scheduler.dialects.reading import Dialect, DialectError, Reading

AT_MOST = 20
"""Expressions of a file that are compared for its errors; further ones are pointed to the command that does it."""
_LIMIT = 20_000
_LONGEST = 200


def explain(error: ScheduleError, expression: str, timezone: str, today: date, compare: bool = True) -> str:
    """The error's text, and in it what to type instead for an expression that crontab or Airflow knows.

    It takes some hundredths of a second; without ``compare`` the text only names the command that compares.
    """
    addition = hint(expression, timezone, today) if compare else _pointer(expression, timezone)
    return str(error) if addition is None else f"{error.advice}; {addition} (Kubernetes would say: {error.kubernetes})"


@lru_cache(maxsize=256)
def hint(expression: str, timezone: str, today: date) -> str | None:
    """What to type, and how the two differ in the five years from a date on; None where neither dialect knows it."""
    reading = _reading(expression, timezone)
    if reading is None:
        return None
    try:
        advice = advise(reading, datetime(today.year, today.month, today.day, tzinfo=UTC), _LIMIT)
    except DialectError:
        return None
    if len(reading.written) == 5:
        return _in_one_line(advice)
    # Which end the seconds are at is not in the expression: what they have too much or too little is another's to ask.
    line = _in_one_line(advice) if advice.same else f"{_command(reading)} says what to type"
    return f"read with the seconds last, as Airflow does, {line}"


def _pointer(expression: str, timezone: str) -> str | None:
    reading = _reading(expression, timezone)
    return None if reading is None else f"{_command(reading)} says what to type"


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
    return next((reading for reading in readings if reading.strict), None)


def _command(reading: Reading) -> str:
    return f"cronsemble next --dialect {reading.dialect} {shlex.quote(reading.schedule)}"


def _in_one_line(advice: Advice) -> str:
    reading = advice.reading
    typed, name = f'"{advice.expression}"', reading.dialect.value
    if advice.same:
        return f"{typed} has {name}'s fire times {advice.period}"
    if advice.shifts_alone:
        dates = f"{advice.date_count} date{'' if advice.date_count == 1 else 's'}"
        return f"{typed} has {name}'s fire times {advice.period} but on {dates} when the clock is shifted"
    differences = [f"{advice.only_here} more"] if advice.only_here else []
    differences += [f"{advice.only_there} fewer"] if advice.only_there else []
    nearest = f"the nearest is {typed}, with {' and '.join(differences)} than {name}'s {advice.there} {advice.period}"
    return f"{nearest}: {_command(reading)} says how they differ"
