"""Accuracy and loss of the ensemble and of its members on the same items, over the dates; ages of models; durations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def chosen_rows(rows: Iterable[Row], most: int = MOST_POINTS) -> tuple[list[Row], int]:
    """The rows of an ensemble's trend, oldest slot first, and how many more there are.

    ``rows`` are the ensemble's, newest slot first. The newest ``most`` one by one, then the last of each date.
    """
    succeeded = [row for row in effective_rows(list(rows)[::-1]) if row.status == Status.SUCCEEDED]
    newest, older = succeeded[-most:], succeeded[:-most]
    last_of_date = {row.local[:10]: row for row in older}
    return [*last_of_date.values(), *newest], len(older) - len(last_of_date)


def read_trend(store: Store, experiment: str, rows: Iterable[Row], most: int = MOST_POINTS) -> Trend:
    """The trend of an ensemble's rows, which are newest slot first; reads a record for each point."""
    chosen, folded = chosen_rows(rows, most)
    points = []
    for row in chosen:
        run = parse_run_id(row.run or "", experiment, ENSEMBLE_TASK)
        record = store.result(run) if run is not None else None
        if run is not None and record:
            points.append(EnsemblePoint(row, read_ensemble(store, Run(run, store.run_folder(run), Status.SUCCEEDED, "", record))))
    return Trend(points, folded)


def daily_durations(by_task: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, float]]:
    """By task and date the mean duration of its runs that succeeded, in seconds."""
    durations: dict[str, dict[str, list[float]]] = {}
    for task, rows in by_task.items():
        for row in rows:
            if row.status == Status.SUCCEEDED and row.duration is not None:
                durations.setdefault(task, {}).setdefault(row.local[:10], []).append(row.duration)
    return {task: {day: sum(own) / len(own) for day, own in dates.items()} for task, dates in durations.items()}
