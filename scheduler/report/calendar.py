"""The calendar of the report: for each month a row a task, and a cell a date with what became of its slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from scheduler.history.slots import Row
from scheduler.report.slot_groups import FoldedDate, SlotGroups, effective_rows, worst
from scheduler.report.status_looks import sign, status_of, style_class

HALF = 16
"""Days of the first half of a month."""
FINE_DATES = 7
"""Newest dates of a task with several slots a date, of which each slot has a cell."""
FINE_SLOTS = 288
"""Slots of such a date that have one."""


@dataclass(frozen=True)
class CalendarCell:
    """A task's date: the worst ``status`` of its ``slots`` slots, how many of them have it, and ``manual`` runs by hand."""

    date: str
    status: str
    sign: str
    style: str
    slots: int
    of_status: int
    manual: int


@dataclass(frozen=True)
class CalendarMonth:
    """A month (``2026-11``): the ``days`` of it that the report is about, and by task a cell for each, None without slots."""

    name: str
    days: Sequence[date]
    rows: Mapping[str, Sequence[CalendarCell | None]]

    def parts(self) -> list[slice]:
        """The two halves of the month: a narrow screen has room for one beside the names."""
        return [slice(0, HALF)] + ([slice(HALF, len(self.days))] if len(self.days) > HALF else [])


def calendar_months(groups: SlotGroups, tasks: Sequence[str]) -> list[CalendarMonth]:
    """The months, newest first; a task is in those in which it has a row."""
    first, last = groups.first_date(), groups.last_date()
    if first is None or last is None:
        return []
    months = []
    day = date.fromisoformat(last)
    while day >= date.fromisoformat(first):
        begin = day.replace(day=1)
        days = [begin + timedelta(days=n) for n in range(day.day)]
        months.append(_month(groups, tasks, days))
        day = begin - timedelta(days=1)
    return months


def _month(groups: SlotGroups, tasks: Sequence[str], days: Sequence[date]) -> CalendarMonth:
    names = [day.isoformat() for day in days]
    by_task = {task: [_cell(groups, task, name) for name in names] for task in tasks}
    return CalendarMonth(names[0][:7], days, {task: cells for task, cells in by_task.items() if any(cells)})


def _cell(groups: SlotGroups, task: str, day: str) -> CalendarCell | None:
    rows = groups.full.get(task, {}).get(day)
    if rows:
        return _cell_of_rows(day, rows)
    folded = groups.folded.get(task, {}).get(day)
    return None if folded is None else _cell_of_fold(day, folded)


def _cell_of_rows(day: str, rows: Sequence[Row]) -> CalendarCell:
    statuses = [status_of(row) for row in effective_rows(rows)]
    return _cell_of(day, statuses, sum(row.kind == "manual" for row in rows))


def _cell_of_fold(day: str, folded: FoldedDate) -> CalendarCell:
    return _cell_of(day, list(folded.counts.elements()), folded.manual)


def _cell_of(day: str, statuses: Sequence[str], manual: int) -> CalendarCell:
    if not statuses:
        return CalendarCell(day, "by hand alone", "+", "manual", 0, 0, manual)
    status = worst(statuses)
    return CalendarCell(day, status, sign(status), style_class(status), len(statuses), statuses.count(status), manual)


def fine_dates(groups: SlotGroups, tasks: Sequence[str]) -> list[tuple[tuple[int, str], list[Row]]]:
    """By the number of a task and a date the slots that count, newest date first: of tasks with several slots a date."""
    dates = []
    for n, task in enumerate(tasks):
        own = groups.full.get(task, {})
        newest = sorted(own, reverse=True)[:FINE_DATES]
        slots = {day: effective_rows(own[day]) for day in newest}
        if any(len(rows) > 1 for rows in slots.values()):
            dates += [((n, day), rows[-FINE_SLOTS:]) for day, rows in slots.items() if rows]
    return dates
