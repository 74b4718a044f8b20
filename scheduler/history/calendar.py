"""The history as a calendar: a cell for each day and task, from rows to lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import groupby

import msgspec

from jobs.contract import RunKind, Status
from scheduler.console.colours import STATUS_COLOURS
from scheduler.console.text_width import shorten_distinct
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import DEGRADED, Row
from scheduler.times import dates, parse_period

DAYS = 31
"""Days that are shown where no beginning is asked for."""
_SIGNS: dict[str, str] = {
    Status.FAILED: "x",
    Status.DIED: "x",
    Status.NO_QUORUM: "q",
    Status.REFUSED: "!",
    Status.MISSED: "m",
    Status.UNKNOWN: "?",
    Status.INTERRUPTED: "i",
    Status.RUNNING: "r",
    Status.DUE: "r",
    Status.SKIPPED: "s",
    Status.SUSPENDED: "-",
    DEGRADED: "~",
    Status.SUCCEEDED: "#",
    Status.NOT_YET_DUE: ".",
}
"""The sign of each status, the worst first: a day shows the worst of its slots."""
_NAME, _SHORT_NAME = len("2026-11"), len("Nov")
_WORST = {status: n for n, status in enumerate(_SIGNS)}


_MANUAL_SIGN = "o"
NO_SLOT = "no slot"
"""What stands in the place of a status where a date has runs by hand alone."""


class Cell(msgspec.Struct):
    """What became of one task's slots of one date: how many slots of each status, the worst first; runs by hand apart.

    ``manual``: how many runs by hand of each status; ``status`` is NO_SLOT where there are only such.
    """

    date: str
    task: str
    status: str
    slots: int
    counts: str
    manual: str = ""


@dataclass(frozen=True)
class CalendarDays:
    """The statuses of slots by task and date (``2026-11-20``), and the dates that were asked for, oldest first.

    ``manual`` has those of runs by hand: a test must not spoil a day.
    """

    dates: list[date]
    tasks: Mapping[str, Mapping[str, Counter[str]]]
    manual: Mapping[str, Mapping[str, Counter[str]]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The tasks that have slots or runs."""
        return sorted({*self.tasks, *self.manual})


def calendar_query(query: HistoryQuery, timezone: str, now: float) -> HistoryQuery:
    """The query with both ends: until now, and the last 31 dates of ``timezone``, unless they are given."""
    high = int(now // 60) if query.high is None else query.high
    low = query.low
    if low is None:
        (last,) = dates(high, high, timezone)
        low = parse_period((last - timedelta(days=DAYS - 1)).isoformat(), timezone, now, "--since")[0]
    return replace(query, low=low, high=high)


def calendar_days(rows: Iterable[Row], query: HistoryQuery, timezone: str) -> CalendarDays:
    """The rows of a :func:`calendar_query`, in the history's order, by date."""
    assert query.low is not None and query.high is not None
    of_slots: dict[str, dict[str, Counter[str]]] = {}
    manual: dict[str, dict[str, Counter[str]]] = {}
    # The attempts at a slot follow one another.
    for _, attempts in groupby(rows, lambda row: (row.minute, row.task)):
        slot = list(attempts)
        _count(of_slots, [row for row in slot if row.kind != RunKind.MANUAL])
        _count(manual, [row for row in slot if row.kind == RunKind.MANUAL])
    return CalendarDays(dates(query.low, query.high, timezone), of_slots, manual)


def _count(by_task: dict[str, dict[str, Counter[str]]], attempts: Sequence[Row]) -> None:
    """Add the attempts at one slot, newest first, as one."""
    status = ""
    for row in attempts:
        own = DEGRADED if row.degraded else row.status
        # A slot with one attempt that succeeded counts as succeeded, best without lack; else its newest attempt counts.
        if not status or own == Status.SUCCEEDED or (own == DEGRADED and status != Status.SUCCEEDED):
            status = own
    if attempts:
        by_task.setdefault(attempts[0].task, {}).setdefault(attempts[0].local[:10], Counter())[status] += 1


def _worst_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: _WORST.get(item[0], -1))


def cells(days: CalendarDays) -> list[Cell]:
    """The calendar's cells, newest date first, as values."""
    calendar_cells = []
    for task in days.names():
        by_date, manual = days.tasks.get(task, {}), days.manual.get(task, {})
        for day in {**by_date, **manual}:
            counts: Mapping[str, int] = by_date.get(day, {})
            status = _worst_first(counts)[0][0] if counts else NO_SLOT
            cell = Cell(day, task, status, sum(counts.values()), _counts_text(counts), _counts_text(manual.get(day, {})))
            calendar_cells.append(cell)
    return sorted(calendar_cells, key=lambda cell: (cell.date, cell.task), reverse=True)


def _counts_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in _worst_first(counts))


def lines(days: CalendarDays, width: int, paint: Callable[[str, str | None], str]) -> Iterable[str]:
    """A block for as many days as ``width`` columns have room for, a line a task; ``paint`` colours a text."""
    names = days.names()
    shortened = shorten_distinct(names, max(width // 2, 8))
    name_width = max(map(len, shortened.values()))
    margin = " " * name_width
    for block in _blocks(days.dates, max(width - name_width - 2, 7)):
        yield from (f"{margin}  {line}" for line in _months(block))
        yield "  ".join([margin, _spread(block, [f"{day.day // 10 or ' '}" for day in block])])
        yield "  ".join([margin, _spread(block, [f"{day.day % 10}" for day in block])])
        for name in names:
            signs = [_sign(days, name, day.isoformat(), paint) for day in block]
            yield "  ".join([shortened[name].ljust(name_width), _spread(block, signs)]).rstrip()
        yield ""
    shown = {status for by_date in days.tasks.values() for counts in by_date.values() for status in counts}
    legend = [f"{paint(sign, STATUS_COLOURS[status])} {status}" for status, sign in _SIGNS.items() if status in shown]
    has_manual_days = any(day not in days.tasks.get(task, {}) for task, by_date in days.manual.items() for day in by_date)
    yield "  ".join([*legend, f"{_MANUAL_SIGN} manual runs alone"] if has_manual_days else legend)


def _blocks(days: Sequence[date], room: int) -> Iterable[Sequence[date]]:
    """Whole weeks, Monday first, as many as there is room for; a month whose name would have no room begins the next block."""
    weeks = max((room + 1) // 8, 1)
    while days:
        end = days[0] + timedelta(days=7 * weeks - days[0].weekday())
        block = [day for day in days if day < end]
        positions = _positions(block)
        without_room = (n for n, day in enumerate(block) if n and day.day == 1 and positions[n] + _NAME > room)
        block = block[: next(without_room, len(block))]
        yield block
        days = days[len(block) :]


def _positions(block: Sequence[date]) -> list[int]:
    """The column of each day: there is a space before each Monday but the first day."""
    mondays = 0
    positions = []
    for n, day in enumerate(block):
        mondays += n > 0 and day.weekday() == 0
        positions.append(n + mondays)
    return positions


def _spread(block: Sequence[date], signs: Sequence[str]) -> str:
    """A sign a day, and a space before each Monday but the first day."""
    return "".join(
        (" " if n and day.weekday() == 0 else "") + sign for n, (day, sign) in enumerate(zip(block, signs, strict=True))
    )


def _months(block: Sequence[date]) -> list[str]:
    """The months' names above their first days, ``2026-11``, or ``Nov`` where the next month leaves no room for more.

    One that has no room beside that either is in a line below it.
    """
    starts = [(position, day) for day, position in zip(block, _positions(block), strict=True) if day is block[0] or day.day == 1]
    lines: list[str] = []
    for n, (position, day) in enumerate(starts):
        room = starts[n + 1][0] - position if n + 1 < len(starts) else _NAME + 1
        name = f"{day:%b}" if _SHORT_NAME < room <= _NAME else day.isoformat()[:_NAME]
        if lines and len(lines[-1]) < position:
            lines[-1] = lines[-1].ljust(position) + name
        else:
            lines.append(" " * position + name)
    return lines


def _sign(days: CalendarDays, task: str, day: str, paint: Callable[[str, str | None], str]) -> str:
    """The worst of a day's slots; of runs by hand only that there are any, where there is no slot."""
    counts: Mapping[str, int] = days.tasks.get(task, {}).get(day, {})
    if not counts:
        return _MANUAL_SIGN if day in days.manual.get(task, {}) else " "
    status = _worst_first(counts)[0][0]
    return paint(_SIGNS.get(status, "?"), STATUS_COLOURS.get(status, "red"))
