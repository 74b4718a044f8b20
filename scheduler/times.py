"""Dates as users type them, in the experiment's zone, as spans of minutes."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from scheduler.errors import CronsembleError

HINT = "type a date (2026-11-20), a time (2026-11-20T01:00, with Z for UTC) or how long ago (36h, 7d)"
_AGO = re.compile(r"([0-9]+)([mhdw])")
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:?[0-9]{2}")
_ARCHIVED = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2})([0-9]{2}Z)")


def parse_period(text: str, timezone: str, now: float, what: str) -> tuple[int, int]:
    """The first and last minute since 1970 that a text means: a whole day for a date; raises CronsembleError.

    A time without a zone is in ``timezone``, where a time that clocks show twice means both. ``what`` names the option.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        minute = int((now - int(ago[1]) * _UNITS[ago[2]]) // 60)
        return minute, minute
    zone = ZoneInfo(timezone)
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            day = date.fromisoformat(text)
            return _first(day, zone), _first(day + timedelta(days=1), zone) - 1
        if not _TIME.match(text):
            raise ValueError("no time of a date")
        moment = datetime.fromisoformat(_ARCHIVED.sub(r"\1:\2", text))
        if moment.tzinfo is not None:
            minute = int(moment.timestamp() // 60)
            return minute, minute
        folds = [int(moment.replace(tzinfo=zone, fold=fold).astimezone(UTC).timestamp() // 60) for fold in (0, 1)]
        return min(folds), max(folds)
    except (ValueError, OverflowError) as error:
        raise CronsembleError(f"{what} {text}: no time: {HINT}") from error


def is_time(text: str) -> bool:
    """Whether a text looks like a date or a time, and not like a run's name."""
    return re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T|$)", text) is not None


def _first(day: date, zone: ZoneInfo) -> int:
    """The first minute that clocks show this date: where midnight does not exist, the one after the gap."""
    moment = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
    while datetime.fromtimestamp(moment - 60, zone).date() >= day:
        moment -= 60
    while datetime.fromtimestamp(moment, zone).date() < day:
        moment += 60
    return int(moment // 60)


def dates(low: int, high: int, timezone: str) -> list[date]:
    """The dates that a zone's clocks show from one minute to another."""
    zone = ZoneInfo(timezone)
    first, last = (datetime.fromtimestamp(minute * 60, zone).date() for minute in (low, high))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
