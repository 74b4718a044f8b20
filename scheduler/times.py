"""Times, periods, durations and sizes: how users type them, and how they are printed."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from scheduler.errors import CronsembleError

DURATION_PATTERN = "[0-9]*[1-9][0-9]*[smhdw]"
"""What a duration looks like, as a regular expression that Python and JSON Schema read alike."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
"""Words for dates, and by how many days these differ from the date of now."""
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(
    rf"(?:(?P<weekday>{'|'.join(_WEEKDAYS)}) )?(?P<date>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})"
    r"[T ](?P<hour>[0-9]{2}):?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})(?:\.[0-9]+)?)?"
    r"(?: ?(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?))?",
    re.IGNORECASE,
)
_TIME_BEGINNING = re.compile(rf"(?:(?:{'|'.join(_WEEKDAYS)}) )?[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]|$)", re.IGNORECASE)
_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_EARLIEST_CLOCK = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
"""Seconds since 1970: a machine without a clock of its own begins at 1970 or at what its firmware says."""
_HINT = "type a date (2026-11-20, today, yesterday), a time (2026-11-20T01:00, with Z for UTC) or how long ago (36h, 7d)"
PERIOD_HINT = "type the first and the last day, e.g. 2026-11-01..2026-11-20"
"""What an error about a period says to type."""


class Period(NamedTuple):
    """From a first to a last minute, both included, in minutes since 1970-01-01T00:00Z."""

    first: int
    last: int


def check_clock(now: float) -> None:
    """Raise CronsembleError where this machine's clock cannot be right: no run could be found by its date afterwards."""
    if now < _EARLIEST_CLOCK:
        raise CronsembleError(f"this machine's clock says {format_time(now)}: set it, for runs are named by their minute")


def parse_duration(text: str) -> int:
    """The seconds of a duration such as 90s, 10m, 36h, 2d or 1w; raises ValueError."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError("must be a duration of at least 1s: type a number and s, m, h, d or w, e.g. 36h")
    return int(text[:-1]) * _UNITS[text[-1]]


def parse_time(text: str, timezone: str, now: float, option: str) -> datetime:
    """The instant that a text means, in UTC, to the second; of a date the first that clocks show.

    Read are dates (2026-11-20, today, yesterday, tomorrow) and times as in ISO 8601, the archive's form (2026-11-20T0600Z),
    times as they are printed (2026-11-20 06:00, Fri 2026-11-20 06:00 +01:00), and how long before ``now`` (36h, 7d). What has
    no zone of its own is in ``timezone``, an IANA name; of a time that clocks show twice the first is meant, and one that they
    leave out is an error. ``option`` names the option in the error, "" for none. Raises CronsembleError.
    """
    return _parse(text, timezone, now, option)[0]


def parse_last_time(text: str, timezone: str, now: float, option: str) -> datetime:
    """As `parse_time`, but the last instant: of a date its last second, of a time that clocks show twice the second one."""
    return _parse(text, timezone, now, option)[1]


def parse_period(text: str, timezone: str, now: float, option: str) -> Period:
    """The minutes that a text means: a whole day for a date, from the first to the last for FROM..TO.

    A time is as in `parse_time`, but one that clocks show twice means all between the two. Raises CronsembleError.
    """
    first, dots, last = text.partition("..")
    if not dots:
        start, end = _parse(text, timezone, now, option)
        return Period(_minute(start), _minute(end))
    if not first or not last:
        raise CronsembleError(f"{_place(option, text)}: {PERIOD_HINT}")
    period = Period(_minute(_parse(first, timezone, now, option)[0]), _minute(_parse(last, timezone, now, option)[1]))
    if period.last < period.first:
        raise CronsembleError(f"{_place(option, text)}: it ends before it begins: type {last}..{first}")
    return period


def parse_slots(text: str, timezone: str, now: float, option: str) -> tuple[Period, ...]:
    """As `parse_period`, but a time that clocks show twice means these two minutes and nothing between them."""
    period = parse_period(text, timezone, now, option)
    if period.first == period.last or ".." in text or is_date(text):
        return (period,)
    return Period(period.first, period.first), Period(period.last, period.last)


def is_date(text: str) -> bool:
    """Whether a text looks like a date, which means a whole day."""
    return text.lower() in _DAYS or _DATE.fullmatch(text) is not None


def is_time(text: str) -> bool:
    """Whether a text looks like a date, a time or FROM..TO, and not like a run's name."""
    first, dots, last = text.partition("..")
    return any(
        side.lower() in _DAYS or _TIME_BEGINNING.match(side) or (dots and re.fullmatch(DURATION_PATTERN, side))
        for side in (first, last)
    )


def _parse(text: str, timezone: str, now: float, option: str) -> tuple[datetime, datetime]:
    """The first and the last second that a text means, in UTC."""
    try:
        if re.fullmatch(DURATION_PATTERN, text):
            start = end = datetime.fromtimestamp(now, UTC).replace(microsecond=0) - timedelta(seconds=parse_duration(text))
        elif text.lower() in _DAYS:
            zone = ZoneInfo(timezone)
            start, end = _day(datetime.fromtimestamp(now, zone).date() + timedelta(days=_DAYS[text.lower()]), zone)
        elif is_date(text):
            start, end = _day(date.fromisoformat(text), ZoneInfo(timezone))
        elif typed := _TIME.fullmatch(text):
            day = date.fromisoformat(typed["date"])
            if typed["weekday"] and _WEEKDAYS.index(typed["weekday"].lower()) != day.weekday():
                raise CronsembleError(f"{_place(option, text)}: {day} is a {day:%A}")
            clock = f"{typed['hour']}:{typed['minute']}:{typed['second'] or '00'}{(typed['zone'] or '').upper()}"
            start, end = _instants(datetime.fromisoformat(f"{day}T{clock}"), ZoneInfo(timezone), _place(option, text))
        else:
            raise CronsembleError(f"{_place(option, text)}: no date or time: {_HINT}")
        if _FIRST_YEAR <= start.year <= _LAST_YEAR:
            return start, end
    except OverflowError:
        pass
    except ValueError as error:
        raise CronsembleError(f"{_place(option, text)}: there is no such date or time: {_HINT}") from error
    raise CronsembleError(f"{_place(option, text)}: type a year from {_FIRST_YEAR} to {_LAST_YEAR}")


def _instants(time: datetime, zone: ZoneInfo, place: str) -> tuple[datetime, datetime]:
    """The first and the last instant at which clocks show a time: two where they are set back.

    Raises CronsembleError where they are set forward over it: it could mean an instant before that or after.
    """
    if time.tzinfo is not None:
        return time.astimezone(UTC), time.astimezone(UTC)
    first, last = sorted(time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) != time:
        before, after = (instant.astimezone(zone).isoformat(timespec="minutes") for instant in (first, last))
        raise CronsembleError(f"{place}: clocks in {zone.key} are set forward over this time: type {before} or {after}")
    return first, last


def _day(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The first and the last second that clocks show this date; raises ValueError for one that they left out."""
    start, end = _first(day, zone), _first(day + timedelta(days=1), zone) - timedelta(seconds=1)
    if end < start:
        raise ValueError(f"{zone.key} has no {day}")
    return start, end


def _first(day: date, zone: ZoneInfo) -> datetime:
    """The first minute that clocks show this date: where midnight does not exist, the one after the gap."""
    moment = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
    while datetime.fromtimestamp(moment - 60, zone).date() >= day:
        moment -= 60
    while datetime.fromtimestamp(moment, zone).date() < day:
        moment += 60
    return datetime.fromtimestamp(moment, UTC)


def _minute(time: datetime) -> int:
    return int(time.timestamp() // 60)


def _place(option: str, text: str) -> str:
    return f"{option} {text}".strip()


def dates(low: int, high: int, timezone: str) -> list[date]:
    """The dates that a zone's clocks show from one minute since 1970 to another."""
    zone = ZoneInfo(timezone)
    first, last = (datetime.fromtimestamp(minute * 60, zone).date() for minute in (low, high))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def format_local(local: str, timezone: str) -> str:
    """A time with its offset, to the minute (2026-11-20T02:00+01:00), as clocks of the zone show it: 2026-11-20 02:00.

    The offset stays where they show this time twice. `parse_time` reads it as the same instant.
    """
    text = local.replace("T", " ")
    shown = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(timezone))
    is_shown_twice = shown.replace(fold=0).utcoffset() != shown.replace(fold=1).utcoffset()
    return text if is_shown_twice else text[:16]


def format_time(time: datetime | float, milliseconds: bool = False) -> str:
    """An instant as ISO 8601 in UTC: 2026-11-20T06:00:00Z. A number is seconds since 1970; fractions are cut."""
    instant = datetime.fromtimestamp(time, UTC) if isinstance(time, int | float) else time.astimezone(UTC)
    return instant.replace(tzinfo=None).isoformat(timespec="milliseconds" if milliseconds else "seconds") + "Z"


def format_duration(seconds: float) -> str:
    """Seconds, rounded, in the units that users type; the two largest of them: 2d 3h, 3h 20m, 45s."""
    left, parts = round(abs(seconds)), []
    for unit, size in reversed(_UNITS.items()):
        number, left = divmod(left, size) if unit != "w" else (0, left)
        if number:
            parts.append(f"{number}{unit}")
        elif parts:
            break
    return ("-" if seconds < 0 and parts else "") + (" ".join(parts[:2]) or "0s")


def format_single_unit(seconds: int) -> str:
    """A duration as a configuration writes it, one number and its unit: 36h, 90s, 2d."""
    unit, size = next((unit, size) for unit, size in reversed(_UNITS.items()) if unit != "w" and seconds % size == 0)
    return f"{seconds // size}{unit}"


def format_bytes(size: float) -> str:
    """A number of bytes in decimal units, as df -H counts: 512 bytes, 1.5 kB, 12.0 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        digits = 0 if unit == "bytes" else 1
        if round(size, digits) < 1000:
            return f"{size:.{digits}f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
