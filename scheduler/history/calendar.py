"""The history as a calendar: a cell for each day and task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import msgspec

from jobs.contract import RunKind, Status
from scheduler.console import tables
from scheduler.console.colours import STATUS_COLOURS, paint
from scheduler.history.query import History, HistoryQuery
from scheduler.history.slots import Row
from scheduler.times import dates, parse_period

DAYS = 31
"""Days that are shown where no beginning is asked for."""
# The worst first: a day shows the worst of its slots.
_SIGNS = {
    Status.FAILED: "x",
    Status.DIED: "x",
    Status.NO_QUORUM: "q",
    Status.MISSED: "m",
    Status.UNKNOWN: "?",
    Status.INTERRUPTED: "i",
    Status.RUNNING: "r",
    Status.DUE: "r",
    Status.SKIPPED: "s",
    Status.SUSPENDED: "-",
    Status.SUCCEEDED: "#",
    Status.NOT_YET_DUE: ".",
}
_WORST: dict[str, int] = {status: n for n, status in enumerate(_SIGNS)}


class Cell(msgspec.Struct):
    """What became of one task's slots of one date: how many slots of each status, the worst first."""

    date: str
    task: str
    status: str
    slots: int
    counts: str


@dataclass(frozen=True)
class CalendarDays:
    """The statuses of slots by task and date, and the dates that were asked for, oldest first."""

    dates: list[date]
    tasks: dict[str, dict[str, Counter[str]]]


def days(history: History, wish: HistoryQuery, timezone: str) -> CalendarDays:
    """What became of every slot that was asked for; the last 31 days unless a beginning is given."""
    high = int(history.now // 60) if wish.high is None else wish.high
    low = wish.low
    if low is None:
        (last,) = dates(high, high, timezone)
        low = parse_period((last - timedelta(days=DAYS - 1)).isoformat(), timezone, history.now, "--since")[0]
    rows = history.rows(replace(wish, low=low, high=high))
    return CalendarDays(dates(low, high, timezone), _by_day(rows))


def _by_day(rows: Iterable[Row]) -> dict[str, dict[str, Counter[str]]]:
    slots: dict[tuple[str, str, int, bool], str] = {}
    for row in rows:
        key = (row.task, row.local[:10], row.minute, row.kind == RunKind.MANUAL)
        # One attempt that succeeded makes the slot's day good, whatever came before or after.
        if slots.get(key) != "succeeded":
            slots[key] = "succeeded" if row.status == Status.SUCCEEDED else slots.get(key, row.status)
    found: dict[str, dict[str, Counter[str]]] = {}
    for (task, day, _, _), status in slots.items():
        found.setdefault(task, {}).setdefault(day, Counter())[status] += 1
    return found


def _ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: _WORST.get(item[0], -1))


def cells(days: CalendarDays) -> list[Cell]:
    """The calendar's cells, newest date first, as values."""
    found = []
    for task, by_date in days.tasks.items():
        for day, counts in by_date.items():
            told = _ordered(counts)
            text = ", ".join(f"{count} {status}" for status, count in told)
            found.append(Cell(day, task, told[0][0], sum(counts.values()), text))
    return sorted(found, key=lambda cell: (cell.date, cell.task), reverse=True)


def print_days(days: CalendarDays) -> None:
    """A block for as many days as the terminal has room for, a line a task."""
    if not days.tasks:
        print("nothing in the history is like that")
        return
    names = sorted(days.tasks)
    left = min(max(map(len, names)), max(tables.width() // 2, 8))
    room = max(tables.width() - left - 2, 7)
    for block in _blocks(days.dates, room):
        print("  ".join([" " * left, _months(block)]).rstrip())
        print("  ".join([" " * left, _spread(block, [f"{day.day // 10 or ' '}" for day in block])]))
        print("  ".join([" " * left, _spread(block, [f"{day.day % 10}" for day in block])]))
        for name in names:
            signs = [_sign(days.tasks[name].get(day.isoformat(), {})) for day in block]
            print("  ".join([tables.cut(name, left).ljust(left), _spread(block, signs)]).rstrip())
        print()
    seen = {status for by_date in days.tasks.values() for counts in by_date.values() for status in counts}
    print("  ".join(f"{paint(sign, STATUS_COLOURS[status])} {status}" for status, sign in _SIGNS.items() if status in seen))


def _blocks(days: list[date], room: int) -> Iterable[list[date]]:
    """Whole weeks, Monday first, as many as there is room for."""
    weeks = max((room + 1) // 8, 1)
    while days:
        end = days[0] + timedelta(days=7 * weeks - days[0].weekday())
        block = [day for day in days if day < end]
        yield block
        days = days[len(block) :]


def _spread(block: list[date], signs: list[str]) -> str:
    """A sign a day, and a space before each Monday but the first day."""
    return "".join(
        (" " if n and day.weekday() == 0 else "") + sign for n, (day, sign) in enumerate(zip(block, signs, strict=True))
    )


def _months(block: list[date]) -> str:
    """The months' names above their first days, as far as they have room."""
    line = ""
    position = 0
    for n, day in enumerate(block):
        position += 1 if n and day.weekday() == 0 else 0
        if (n == 0 or day.day == 1) and len(line) <= position - (1 if line else 0):
            line = line.ljust(position) + day.strftime("%Y-%m")
        position += 1
    return line[: max(position, 7)]


def _sign(counts: Mapping[str, int]) -> str:
    if not counts:
        return " "
    status = Status(_ordered(counts)[0][0])
    return paint(_SIGNS[status], STATUS_COLOURS[status])
