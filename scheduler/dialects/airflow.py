"""An Airflow schedule as Airflow reads it: croniter, given clock times without a zone, and presets of its own.

Reference: airflow/timetables/_cron.py. Airflow asks croniter for the next time of a clock without shifts and then
looks for the instant: a time that the clock leaves out is moved on by as much, of one shown twice the second is taken.
Where the hour is ``*`` it counts on by the distance instead.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from scheduler.dialects.reading import HASHED, HOUR, ClockShifts, Dialect, DialectError, Reading

_PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@midnight": "0 0 * * *",
}
_NEVER = {
    "@once": "it runs one time: `cronsemble run`",
    "@continuous": "it begins again when the last run has ended, which no clock says: type a distance, e.g. @every 1h",
    "none": "such a DAG is started by hand: leave schedule: out, and use `cronsemble run`",
}
_UNITS = ((3600, 10**9, "h"), (60, 60, "m"), (1, 60, "s"))
_WORDS = re.compile(r"\S+", re.ASCII)
_TIMEDELTA = re.compile(r"\s*(?:datetime\.)?timedelta\((.*)\)\s*")
_ARGUMENT = re.compile(r"\s*(?:(weeks|days|hours|minutes|seconds)\s*=\s*)?([0-9]{1,9})\s*")


def read(text: str, timezone: str) -> Reading:
    """What a DAG's schedule says; raises DialectError where it has no fire times that can be known."""
    stripped = text.strip()
    if not stripped:
        raise DialectError("it is empty: give one schedule")
    if stripped.lower() in _NEVER:
        raise DialectError(f"{stripped} has no fire times: {_NEVER[stripped.lower()]}")
    _refuse_distance(stripped)
    # croniter takes its own in any case; the one that is Airflow's must be typed as it is.
    preset = None if stripped.lower() == "@quarterly" != stripped else _PRESETS.get(stripped.lower())
    fields = tuple(_WORDS.findall(preset or stripped))
    if stripped.startswith("@") and preset is None:
        raise DialectError(f"Airflow does not know {stripped[:60]}: it knows {', '.join([*_PRESETS, *list(_NEVER)[:2]])}")
    if not 5 <= len(fields) <= 7:
        number = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
        raise DialectError(f"it has {number}: Airflow takes five, or six and seven with seconds and years last")
    for field in fields:
        if HASHED.fullmatch(field):
            kind = "chance draws it anew each time" if field[0] in "rR" else "Airflow gives it no id to hash, and refuses it"
            raise DialectError(f"{field}: {kind}: type a fixed number, e.g. 17")
    reading = Reading(Dialect.AIRFLOW, stripped, timezone, fields, fields, clock=ClockShifts.AIRFLOW)
    return replace(reading, clock=ClockShifts.AIRFLOW_HOURLY) if reading.is_full(HOUR) else reading


def _refuse_distance(text: str) -> None:
    """Raise DialectError for a timedelta, with @every if it is one of whole seconds."""
    match = _TIMEDELTA.fullmatch(text)
    if match is None:
        return
    amounts: dict[str, int] = {}
    for place, argument in enumerate(match[1].split(",")):
        part = _ARGUMENT.fullmatch(argument)
        unit = part and (part[1] or ("days", "seconds", "")[min(place, 2)])
        if not part or not unit or unit in amounts:
            raise DialectError(f"{text[:60]} cannot be read: whole weeks, days, hours, minutes and seconds can")
        amounts[unit] = int(part[2])
    try:
        length = timedelta(**amounts) // timedelta(seconds=1)
    except OverflowError:
        length = 0
    if not 1 <= length <= 292 * 365 * 86400:
        raise DialectError(f"{text[:60]} is no distance between runs: type @every and one, e.g. @every 6h")
    spelled = "".join(f"{length // size % count}{unit}" for size, count, unit in _UNITS if length // size % count)
    raise DialectError(
        f"{text[:60]} is counted from the DAG's start_date, so its fire times are not in it: type @every {spelled}, which is as "
        "long, and is counted from the CronJob's creation"
    )
