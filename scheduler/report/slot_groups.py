"""The rows of the history by task, date and slot: in full where they are new, counted where there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from jobs.contract import Status
from scheduler.history.slots import Row
from scheduler.report.status_looks import is_manual, severity, status_of

MOST_ROWS = 4000
"""Rows that are kept in full; the dates before them are folded."""


@dataclass
class FoldedDate:
    """Of one task's date: how many slots there are of each status, and the first reason of each."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    manual: int = 0


@dataclass(frozen=True)
class SlotGroups:
    """An experiment's rows. ``full``: by task and date (``2026-11-20``, in the experiment's zone) its rows, oldest slot first.

    ``folded``: the dates before those. ``upcoming``: by task its next slot. ``shown_from``: the first date in full.
    """

    full: Mapping[str, Mapping[str, Sequence[Row]]]
    folded: Mapping[str, Mapping[str, FoldedDate]]
    upcoming: Mapping[str, Row]
    shown_from: str

    def tasks(self) -> list[str]:
        """Every task that has rows."""
        return sorted({*self.full, *self.folded, *self.upcoming})

    def first_date(self) -> str | None:
        """The oldest date with rows; None if there are none."""
        return min((day for dates in (*self.full.values(), *self.folded.values()) for day in dates), default=None)

    def last_date(self) -> str | None:
        """The newest date with rows that are not in the future; None if there are none."""
        return max((day for dates in (*self.full.values(), *self.folded.values()) for day in dates), default=None)


def group_rows(rows: Iterable[Row], most: int = MOST_ROWS) -> SlotGroups:
    """The groups of rows that are newest slot first; about ``most`` of them in full, and no more are held."""
    rows = iter(rows)
    newest = list(islice(rows, most + 1))
    shown_from = newest[most].local[:10] if len(newest) > most else ""
    full: dict[str, dict[str, list[Row]]] = {}
    folded: dict[str, dict[str, FoldedDate]] = {}
    upcoming: dict[str, Row] = {}
    for row in chain(newest, rows):
        day = row.local[:10]
        if row.status == Status.NOT_YET_DUE:
            upcoming[row.task] = row
        elif day > shown_from:
            full.setdefault(row.task, {}).setdefault(day, []).append(row)
        else:
            _fold(folded.setdefault(row.task, {}).setdefault(day, FoldedDate()), row)
    for dates in full.values():
        for own in dates.values():
            own.reverse()
    return SlotGroups(full, folded, upcoming, shown_from)


def _fold(date: FoldedDate, row: Row) -> None:
    if is_manual(row):
        date.manual += 1
        return
    status = status_of(row)
    date.counts[status] += 1
    if row.full_reason and status not in date.reasons:
        date.reasons[status] = row.full_reason


def effective_rows(rows: Sequence[Row], by_hand: bool = False) -> list[Row]:
    """Of each slot of a schedule the attempt that counts: the newest that succeeded, else the newest; no runs made by hand.

    ``rows`` are those of one task, in the order of slots and attempts; ``by_hand``: runs made by hand count too.
    """
    by_minute: dict[int, Row] = {}
    for row in rows:
        if is_manual(row) and not by_hand:
            continue
        known = by_minute.get(row.minute)
        if known is None or row.status == Status.SUCCEEDED or known.status != Status.SUCCEEDED:
            by_minute[row.minute] = row
    return list(by_minute.values())


def worst(statuses: Sequence[str]) -> str:
    """The worst of them."""
    return min(statuses, key=severity)
