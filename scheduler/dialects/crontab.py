"""A crontab's line as cronie and Vixie's cron read it; what they refuse is read as croniter does, and that is noted.

Reference: cronie's entry.c and cron.c, crontab(5). A day field that begins with * (``*/2`` too) makes the two day
fields both count. Entries whose minute and hour do not begin with * are run after a gap of the clock, and once where an
hour comes twice.
"""

from __future__ import annotations

import re
from dataclasses import replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scheduler.dialects.reading import (
    DAY_OF_MONTH,
    DAY_OF_WEEK,
    HASHED,
    HOUR,
    MINUTE,
    MONTH,
    ClockShifts,
    Dialect,
    DialectError,
    Reading,
)

PRESETS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 7, (*_WEEKDAYS, "sun")),
)
_ASSIGNMENT = re.compile(r"""\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\s*=\s*(.*)""")
_ON_ONE_LINE = re.compile(r"\s*(CRON_TZ)\s*=\s*(\S+)[ \t]+(\S.*)")
_PART = re.compile(r"(?:(\*)|([0-9]+|[A-Za-z]+)(?:-([0-9]+|[A-Za-z]+))?)(?:/([0-9]+))?")
_FIELDS_ALONE = re.compile(r"[-0-9*?/,#LW]+(\s+[-0-9*?/,#LW]+)?")
_NO_COMMAND = "if that is a field for seconds or years, this is no crontab's line, which has five fields"


def read(text: str, timezone: str) -> Reading:
    """What a line of a crontab says: its schedule, alone or with its command, CRON_TZ and other variables before it.

    Raises DialectError where it has no fire times that can be known.
    """
    line, zone, notes = _entry(text, timezone)
    per_job_zone = zone is not None
    if line.startswith("-"):
        line = line[1:].lstrip()
    if line.startswith("@"):
        reading = _preset(line, zone or timezone)
    else:
        fields = line.split(None, 5)
        if len(fields) < 5:
            raise DialectError(f"it has {len(fields)} field{'' if len(fields) == 1 else 's'}, a crontab's schedule has five")
        reading = _five(tuple(fields[:5]), zone or timezone)
        if len(fields) > 5:
            if fields[5].startswith("*"):
                raise DialectError(f"it has more than five fields: cron refuses a command that begins with {_short(fields[5])}")
            notes.append(_rest(fields[5], reading.schedule))
            if _FIELDS_ALONE.fullmatch(fields[5]):
                reading = replace(reading, strict=False, notes=(*reading.notes, _NO_COMMAND))
    if per_job_zone and reading.clock is ClockShifts.CRON:
        # With CRON_TZ the daemon compares clocks minute by minute; only its own zone's shifts are made up for.
        reading = replace(reading, clock=ClockShifts.SHOWN)
    return replace(reading, notes=(*notes, *reading.notes))


def _entry(text: str, timezone: str) -> tuple[str, str | None, list[str]]:
    """The one entry among the lines of a text, the zone that CRON_TZ gives it, and notes."""
    zone, notes, entries = None, [], []
    for line in text.splitlines() or [""]:
        joined = _ON_ONE_LINE.fullmatch(line)
        assignment = None if joined else _ASSIGNMENT.fullmatch(line)
        if joined:
            zone = joined[2]
            entries.append(joined[3].strip())
        elif assignment and assignment[1] == "CRON_TZ":
            zone = assignment[2].strip().strip("\"'") or None
        elif assignment:
            if assignment[1] == "TZ":
                notes.append("TZ= is for the command alone, cron does not read the schedule in it: give its zone with --timezone")
            if assignment[1] == "RANDOM_DELAY":
                notes.append("RANDOM_DELAY starts it later by chance, which Kubernetes cannot: it is left out")
        elif line.strip() and not line.lstrip().startswith("#"):
            entries.append(line.strip())
    if not entries:
        raise DialectError(
            f"it {'sets variables and has no schedule' if '=' in text else 'is empty'}: give a line with five fields"
        )
    if len(entries) > 1:
        raise DialectError(f"it has {len(entries)} schedules: give one at a time")
    if zone is not None:
        _check_zone(zone)
        if zone != timezone:
            notes.append(f"CRON_TZ is the schedule's zone: type it as timezone: {zone}")
    return entries[0], zone, notes


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DialectError(f"CRON_TZ={_short(name)} is not a time zone: type one, e.g. Europe/Berlin") from error


def _rest(command: str, schedule: str) -> str:
    return f'"{schedule}" is the schedule; from the sixth word on it is the command: {_short(command)}'


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _preset(line: str, timezone: str) -> Reading:
    name, _, command = line.partition(" ")
    notes = [_rest_of_preset(name, command.strip())] if command.strip() else []
    if name.lower() == "@reboot":
        raise DialectError("@reboot has no time: on a cluster nothing boots; type a time, or use `cronsemble run`")
    if name.lower() not in PRESETS:
        raise DialectError(f"cron does not know {_short(name)}: it knows @reboot, {', '.join(PRESETS)}")
    strict = name in PRESETS
    if not strict:
        notes.append(f"cron itself takes {name.lower()} in small letters only")
    fields = tuple(PRESETS[name.lower()].split())
    clock = ClockShifts.SHOWN if name.lower() == "@hourly" else ClockShifts.CRON
    return Reading(Dialect.CRONTAB, name, timezone, fields, fields, True, clock, strict, tuple(notes))


def _rest_of_preset(name: str, command: str) -> str:
    return f'"{name}" is the schedule; what follows is the command: {_short(command)}'


def _five(written: tuple[str, ...], timezone: str) -> Reading:
    for field in written:
        for part in field.split(","):
            if "~" in part:
                raise DialectError(f"{part}: cron draws a number when it reads the crontab: type a fixed one")
            if HASHED.fullmatch(part):
                raise DialectError(f"{part}: it stands for a number that a hash or chance chooses: type a fixed one, e.g. 17")
    wild = any(written[field].startswith("*") for field in (MINUTE, HOUR))
    clock = ClockShifts.SHOWN if wild else ClockShifts.CRON
    either_day = not any(written[field].startswith("*") for field in (DAY_OF_MONTH, DAY_OF_WEEK))
    refused = [field for field, bounds in zip(written, _FIELDS, strict=True) if _numbers(field, *bounds) is None]
    fields = tuple(_canonical(field, *bounds) for field, bounds in zip(written, _FIELDS, strict=True))
    if not refused:
        return Reading(Dialect.CRONTAB, " ".join(written), timezone, written, fields, either_day, clock)
    note = f"cron itself refuses {', '.join(refused)}; croniter, and crons that know it, read it like this"
    reading = Reading(Dialect.CRONTAB, " ".join(written), timezone, written, fields, either_day, clock, False, (note,))
    reading.values(MONTH)  # raises where croniter refuses it as well
    return reading


def _canonical(field: str, low: int, high: int, names: tuple[str, ...]) -> str:
    """The field for croniter, which reads n-n as all and 1-7/2 without Sunday; as it is where cron refuses it."""
    numbers = _numbers(field, low, high, names)
    if numbers is None or field == "*":
        return field
    return ",".join(map(str, sorted(numbers)))


def _numbers(field: str, low: int, high: int, names: tuple[str, ...]) -> set[int] | None:
    """The numbers that a field names by cron's own grammar; None where it would refuse it."""
    numbers: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return None
        star, first, last, step = match.groups()
        if star:
            start, end = low, high
        else:
            ends = [_number(word, low, names) for word in (first, last) if word is not None]
            if None in ends or step and len(ends) == 1:
                return None
            start, end = ends[0], ends[-1]  # type: ignore[assignment]
        stride = 1 if step is None else int(step) if len(step) < 10 else 0
        if not low <= start <= end <= high or stride == 0:
            return None
        numbers |= set(range(start, end + 1, stride))
    return {number % 7 for number in numbers} if high == 7 else numbers


def _number(word: str, low: int, names: tuple[str, ...]) -> int | None:
    if word.isdigit():
        return int(word) if len(word) < 10 else None
    return names.index(word.lower()) + low if word.lower() in names else None
