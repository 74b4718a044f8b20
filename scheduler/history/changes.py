"""How a row's accuracy differs from that of its task's slot before. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.contract import ENSEMBLE_TASK, RunKind
from scheduler.history.run_facts import MemberFact, RunFact, RunKey

if TYPE_CHECKING:
    from scheduler.history.slots import Row


@dataclass(frozen=True)
class Figures:
    """What changes are relative to: the accuracy on the ensemble's items, and the run's own."""

    items_accuracy: float | None = None
    accuracy: float | None = None


def latest_figures(facts: Sequence[RunFact], on_items: Mapping[RunKey, MemberFact], task: str) -> Figures:
    """The newest of each among runs of a task that are in order, those by hand apart.

    ``on_items``: of a training whose model an ensemble run took, what that one has of it.
    """
    own = None
    for fact in reversed(facts):
        if fact.kind == RunKind.MANUAL or fact.accuracy is None:
            continue
        if task == ENSEMBLE_TASK:
            return Figures(fact.accuracy, fact.accuracy)
        if own is None:
            own = fact.accuracy
        evaluated = on_items.get((fact.minute, fact.attempt))
        if evaluated is not None:
            return Figures(evaluated.accuracy, own)
    return Figures(None, own)


def is_comparable(row: Row) -> bool:
    """Whether a row may have a change: a run by hand is no slot, and has none."""
    return row.accuracy is not None and row.kind != RunKind.MANUAL


def add_change(row: Row, before: Figures) -> None:
    """Set a row's change relative to the figures before its slot: the same one as its own, or none."""
    if row.items_accuracy is not None:
        if before.items_accuracy is not None:
            row.change = row.items_accuracy - before.items_accuracy
    elif row.accuracy is not None and before.accuracy is not None:
        row.change = row.accuracy - before.accuracy


def add_changes(rows: Iterable[Row], before: Figures) -> None:
    """Set the changes of a task's rows, oldest first; ``before``: the figures before them.

    Several attempts of a slot are compared with the slot before, and the next slot with the last of them that has a figure.
    """
    minute, latest_items, latest_own = -1, before.items_accuracy, before.accuracy
    before_items, before_own = latest_items, latest_own
    # There are many rows: `is_comparable` and `add_change` in line.
    for row in rows:
        items, own = row.items_accuracy, row.accuracy
        if own is None or row.kind == RunKind.MANUAL:
            continue
        if row.minute != minute:
            minute, before_items, before_own = row.minute, latest_items, latest_own
        if items is not None:
            if before_items is not None:
                row.change = items - before_items
            latest_items = items
        elif before_own is not None:
            row.change = own - before_own
        latest_own = own
