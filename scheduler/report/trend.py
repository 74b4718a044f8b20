"""Accuracy and loss of the ensemble and of its members on the same items, over the dates; ages of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.contract import ENSEMBLE_TASK, Status, parse_run_id
from jobs.store import Run, Store
from scheduler.history.slots import Row
from scheduler.report.slot_groups import effective_rows
from scheduler.results.ensemble_result import EnsembleResult, read_ensemble

MOST_POINTS = 500
"""Ensemble runs that are shown one by one; of the dates before them the last run of each."""


@dataclass(frozen=True)
class EnsemblePoint:
    """One ensemble run of the trend."""

    row: Row
    result: EnsembleResult

    def model_age(self, member: str) -> float | None:
        """Hours from the slot of the member's model to the ensemble's; None where it took none."""
        own = self.result.member(member)
        return None if own is None or own.model is None else (self.row.minute - own.model.minute) / 60


@dataclass(frozen=True)
class Trend:
    """The ensemble runs that succeeded, oldest first; ``folded``: how many more there are on dates that have one point."""

    points: Sequence[EnsemblePoint]
    folded: int

    def members(self) -> list[str]:
        """Every member of any of the points, in the order of the newest point that has it."""
        names: dict[str, None] = {}
        for point in reversed(self.points):
            names.update(dict.fromkeys(member.member for member in point.result.members))
        return list(names)


class TrendRows:
    """Of an ensemble's rows, which are added newest slot first, those of its trend: the newest, then the last of each date.

    Of a slot the attempt counts that does in all of the report (:func:`scheduler.report.slot_groups.effective_rows`).
    """

    def __init__(self, most: int = MOST_POINTS) -> None:
        self._most, self._folded = most, 0
        self._newest: list[Row] = []
        self._last_of_date: dict[str, Row] = {}
        self._slot: list[Row] = []

    def add(self, row: Row) -> None:
        """Add a row."""
        if self._slot and self._slot[-1].minute != row.minute:
            self._add_slot()
        self._slot.append(row)

    def _add_slot(self) -> None:
        for row in effective_rows(self._slot[::-1]):
            if row.status != Status.SUCCEEDED:
                continue
            if len(self._newest) < self._most:
                self._newest.append(row)
            elif row.local[:10] in self._last_of_date:
                self._folded += 1
            else:
                self._last_of_date[row.local[:10]] = row
        self._slot = []

    def chosen(self) -> tuple[list[Row], int]:
        """Those rows, oldest slot first, and how many more succeeded."""
        self._add_slot()
        return [*reversed(self._last_of_date.values()), *reversed(self._newest)], self._folded


def read_trend(store: Store, experiment: str, rows: TrendRows) -> Trend:
    """The trend of an ensemble's rows; reads a record for each point."""
    chosen, folded = rows.chosen()
    points = []
    for row in chosen:
        run = parse_run_id(row.run or "", experiment, ENSEMBLE_TASK)
        record = store.result(run) if run is not None else None
        if run is not None and record:
            points.append(EnsemblePoint(row, read_ensemble(store, Run(run, store.run_folder(run), Status.SUCCEEDED, "", record))))
    return Trend(points, folded)
