"""An advice as lines of text, and as values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from scheduler.dialects.advice import Advice, DifferingDate
from scheduler.times import format_time

_TIMES = 3


def lines(advice: Advice) -> list[str]:
    """What to type, how it differs from the given expression, and how a data function may guard the date."""
    reading = advice.reading
    name = reading.dialect.value
    if advice.same:
        if not advice.there:
            return [f'type "{advice.expression}": it never fires, neither in {name} nor in Kubernetes, {advice.period}']
        same = f"the same {_number(advice.there, 'fire time')}"
        return [f'type "{advice.expression}": {name} and Kubernetes have {same} {advice.period}']
    if advice.shifts_alone:
        text = [
            f'type "{advice.expression}": {name} and Kubernetes have the same fire times {advice.period} but on '
            f"{_number(advice.date_count, 'date')}, when the clock is shifted",
            f"{name}: {reading.clock.value}; Kubernetes: what the clock leaves out is skipped, what it shows twice fires twice"
            " (docs: Schedules)",
        ]
    else:
        differences = [f"{advice.only_here} more"] if advice.only_here else []
        differences += [f"{advice.only_there} fewer"] if advice.only_there else []
        nearest = f'nearest "{advice.expression}": {_number(advice.here, "fire time")} {advice.period}'
        text = [f"{nearest}, {' and '.join(differences)} than {name}'s {advice.there}"]
        text += [f"Kubernetes has no word for {word}" for word in advice.untypable]
    if not advice.whole:
        text.append(f"only the first {advice.there} of {name}'s fire times were compared")
    text += _dates(advice)
    if advice.guard is not None:
        text.append("a data function can end the run on the other dates, as failed and without another try (docs: Schedules):")
        text += [f"  {line}" for line in advice.guard.python(reading.timezone)]
    return text


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _dates(advice: Advice) -> list[str]:
    name, zone = advice.reading.dialect.value, ZoneInfo(advice.reading.timezone)
    width = max((len(_times(date.there, zone)) for date in advice.dates), default=0)
    width = max(width, len(f"{name} alone"))
    text = [f"  {'date':<14}  {f'{name} alone':<{width}}  Kubernetes alone"]
    text += [
        f"  {date.date:%a %Y-%m-%d}  {_times(date.there, zone):<{width}}  {_times(date.here, zone)}".rstrip()
        for date in advice.dates
    ]
    rest = advice.date_count - len(advice.dates)
    return [*text, f"  and {_number(rest, 'more date')}"] if rest else text


def _times(moments: Sequence[datetime], zone: ZoneInfo) -> str:
    shown = [_time(moment.astimezone(zone)) for moment in moments[:_TIMES]]
    rest = len(moments) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "") if shown else "-"


def _time(local: datetime) -> str:
    offset = f"{local:%z}"
    return f"{local:%H:%M:%S}"[: 8 if local.second else 5] + f" {offset[:3]}:{offset[3:5]}"


def values(advice: Advice, fires: Sequence[datetime]) -> dict[str, Any]:
    """The advice with the keys of the JSON form; ``fires`` are coming fire times there."""
    reading = advice.reading
    return {
        "dialect": reading.dialect.value,
        "schedule": reading.schedule,
        "timezone": reading.timezone,
        "fires": [format_time(moment) for moment in fires],
        "notes": list(reading.notes),
        "verdict": "same" if advice.same else "nearest",
        "type": advice.expression,
        "compared": {
            "from": format_time(advice.after),
            "until": format_time(advice.until),
            "whole": advice.whole,
            "there": advice.there,
            "here": advice.here,
            "only_there": advice.only_there,
            "only_here": advice.only_here,
        },
        "shifts_alone": advice.shifts_alone,
        "differing_dates": advice.date_count,
        "differences": [_difference(date) for date in advice.dates],
        "untypable": list(advice.untypable),
        "guard": None
        if advice.guard is None
        else {"condition": advice.guard.text, "python": list(advice.guard.python(reading.timezone))},
    }


def _difference(date: DifferingDate) -> dict[str, Any]:
    return {
        "date": str(date.date),
        "there": [format_time(moment) for moment in date.there],
        "here": [format_time(moment) for moment in date.here],
    }
