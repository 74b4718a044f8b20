"""The runs that succeeded, of any number of rows: which each task has, and how long those of a date took."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from jobs.contract import RunId, Status
from scheduler.history.slots import Row


class SucceededRuns:
    """What is kept of the rows that are added, newest slot first: a few numbers of each that succeeded."""

    def __init__(self, experiment: str) -> None:
        self._experiment = experiment
        self._keys: dict[str, tuple[array[int], array[int]]] = {}
        self._durations: dict[str, dict[str, array[float]]] = {}

    def add(self, row: Row) -> None:
        """Add a row."""
        if row.status != Status.SUCCEEDED or row.attempt is None:
            return
        minutes, attempts = self._keys.setdefault(row.task, (array("q"), array("q")))
        minutes.append(row.minute)
        attempts.append(row.attempt)
        if row.duration is not None:
            self._durations.setdefault(row.task, {}).setdefault(row.local[:10], array("d")).append(row.duration)

    def tasks(self) -> list[str]:
        """The tasks that have any, in the order of their first ones."""
        return sorted(self._keys, key=lambda task: (self._keys[task][0][-1], task))

    def runs(self, task: str) -> Sequence[RunId]:
        """Those of a task, oldest slot first; each is made when it is asked for."""
        return _Runs(self._experiment, task, *self._keys.get(task, (array("q"), array("q"))))

    def daily_durations(self) -> dict[str, dict[str, float]]:
        """By task and date (``2026-11-20``) the mean duration of its runs, in seconds."""
        # Summed up as they ran.
        return {
            task: {day: sum(reversed(own)) / len(own) for day, own in reversed(self._durations[task].items())}
            for task in self.tasks()
            if task in self._durations
        }


class _Runs(Sequence[RunId]):
    """The ids of minutes and attempts that are newest first, oldest first."""

    def __init__(self, experiment: str, task: str, minutes: array[int], attempts: array[int]) -> None:
        self._experiment, self._task, self._minutes, self._attempts = experiment, task, minutes, attempts

    def __len__(self) -> int:
        return len(self._minutes)

    def __getitem__(self, n: int) -> RunId:  # type: ignore[override]
        return RunId(self._minutes[-1 - n], self._attempts[-1 - n], self._experiment, self._task)
