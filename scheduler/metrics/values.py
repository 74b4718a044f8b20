"""The metrics of an experiment as values, from its history: how each task does, as of now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.contract import ENSEMBLE_TASK, Status, member_task
from jobs.expected_slots import following
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import DEGRADED, Row
from scheduler.report.slot_groups import effective_rows
from scheduler.stores.history_reader import HistoryReader
from scheduler.stores.revision_snapshots import RevisionSnapshots

STATES: tuple[str, ...] = (
    Status.SUCCEEDED.value,
    DEGRADED,
    Status.FAILED.value,
    Status.DIED.value,
    Status.INTERRUPTED.value,
    Status.NO_QUORUM.value,
    Status.REFUSED.value,
    Status.MISSED.value,
    Status.SKIPPED.value,
    Status.SUSPENDED.value,
    Status.UNKNOWN.value,
)
"""What may have become of a slot that is decided; ``degraded`` is one that succeeded with less than was asked for."""
_UNDECIDED = (Status.RUNNING, Status.DUE, Status.NOT_YET_DUE)
_SUCCESSES = (Status.SUCCEEDED, DEGRADED)
_DAYS = (2, 16, 128, 1024)
"""How far back is looked, in days: as far as a task's newest success."""
_MOST_ROWS = 50_000
"""Slots of a task that are looked at: a task that never succeeds and fires every minute is followed for a month."""
_MOST_ROWS_OF_ALL = 250_000
"""The same of all tasks together."""


@dataclass(frozen=True)
class TaskMetrics:
    """How a task does. Times in seconds since 1970, durations in seconds; None for what there is not, or is not known.

    ``state``: what became of its newest slot that is decided, one of STATES; empty if none is. ``unsuccessful``: how many slots
    in a row up to that one gave no success. ``running``: its runs that run now. ``last_slot``: its newest slot that has come.
    ``duration``: of its newest run that ended. ``items_accuracy``: on the items of the newest ensemble run that succeeded, the
    same for all tasks; ``validation_accuracy``: a training's own. ``model_age``: from the slot of a member's newest model until
    now, and ``model_max_age`` the age up to which the ensemble takes it.
    """

    task: str
    schedule: str = ""
    timezone: str = ""
    is_suspended: bool | None = None
    starting_deadline: float | None = None
    deadline: float | None = None
    state: str = ""
    unsuccessful: int | None = None
    running: int = 0
    last_slot: float | None = None
    next_slot: float | None = None
    last_success: float | None = None
    duration: float | None = None
    items_accuracy: float | None = None
    validation_accuracy: float | None = None
    model_age: float | None = None
    model_max_age: float | None = None


@dataclass(frozen=True)
class ExperimentMetrics:
    """How an experiment does as of ``time``, in seconds since 1970: until when its store is known.

    ``members``: how many the newest ensemble run that succeeded combined, ``quorum`` how many it needs. ``unreadable``: folders
    of the store that cannot be listed. ``next_look``: when a watch computes all this next.
    """

    experiment: str
    time: float
    tasks: Sequence[TaskMetrics]
    members: int | None = None
    quorum: int | None = None
    unreadable: int = 0
    next_look: float | None = None


def read_metrics(reader: HistoryReader) -> ExperimentMetrics:
    """The metrics of the tasks that an experiment has now; what was removed from its configuration has none.

    Looks back as far as needed: two days, where every task succeeded within these.
    """
    history = reader.history
    declared = _declared_tasks(reader)
    rows = _Rows(reader, declared)
    ensemble = declared.get(ENSEMBLE_TASK)
    settings = (RevisionSnapshots(reader.store).task(str(ensemble.get("task"))) if ensemble is not None else None) or {}
    newest = rows.newest_success(ENSEMBLE_TASK) if ensemble is not None else None
    fact = reader.fact(newest) if newest is not None else None
    combined = [member for member in fact.members if not member.left_out] if fact is not None else []
    items = {member_task(member.member): member.accuracy for member in combined}
    items[ENSEMBLE_TASK] = newest.accuracy if newest is not None else None
    max_age = _number(settings.get("max_age"))
    tasks = [
        _task_metrics(reader, rows, task, keys, items.get(task), None if task == ENSEMBLE_TASK else max_age)
        for task, keys in declared.items()
    ]
    quorum = _number(settings.get("quorum"))
    return ExperimentMetrics(
        history.experiment,
        min(history.now, history.known_until),
        tasks,
        len(combined) if combined else None,
        None if quorum is None else int(quorum),
        len(reader.unreadable),
    )


def _declared_tasks(reader: HistoryReader) -> dict[str, Mapping[str, Any]]:
    """By name what the newest revision that schedules says of each task; all that have runs where there is none."""
    periods = reader.history.scheduling_periods
    return dict(periods[-1].tasks) if periods else {task: {} for task in reader.history.tasks()}


def _task_metrics(
    reader: HistoryReader,
    rows: _Rows,
    task: str,
    keys: Mapping[str, Any],
    items_accuracy: float | None,
    max_age: float | None,
) -> TaskMetrics:
    history = reader.history
    is_scheduled = bool(keys.get("schedule"))
    decided = rows.decided(task)
    success = rows.newest_success(task)
    fact = reader.fact(success) if success is not None else None
    finished = (
        None if success is None else fact.finished if fact is not None and fact.finished is not None else success.minute * 60
    )
    newest = rows.newest(task)
    upcoming = following(history.schedule_periods.get(task, ()), history.now) if is_scheduled else None
    is_training = task != ENSEMBLE_TASK
    return TaskMetrics(
        task,
        schedule=str(keys.get("schedule") or ""),
        timezone=str(keys.get("timezone") or "UTC") if is_scheduled else "",
        is_suspended=bool(keys.get("suspend")) if is_scheduled else None,
        starting_deadline=_number(keys.get("starting_deadline")),
        deadline=_number(keys.get("deadline")),
        state=state_of(decided[-1]) if decided else "",
        unsuccessful=_unsuccessful(decided) if is_scheduled and decided else None,
        running=rows.running(task),
        last_slot=newest.minute * 60.0 if newest is not None and is_scheduled else None,
        next_slot=None if upcoming is None else upcoming * 60.0,
        last_success=finished,
        duration=next((row.duration for row in reversed(decided) if row.duration is not None), None),
        items_accuracy=items_accuracy,
        validation_accuracy=success.validation_accuracy if success is not None else None,
        model_age=max(0.0, history.now - success.minute * 60) if success is not None and is_training else None,
        model_max_age=max_age,
    )


def state_of(row: Row) -> str:
    """What became of a slot that is decided, one of STATES; a status of another version's is unknown."""
    if row.status == Status.SUCCEEDED and row.degraded:
        return DEGRADED
    return str(row.status) if row.status in STATES else Status.UNKNOWN.value


def _unsuccessful(decided: Sequence[Row]) -> int:
    """How many of the last of a task's slots, oldest first, gave no success; those of a suspended schedule end the count."""
    count = 0
    for row in reversed(decided):
        if state_of(row) in (*_SUCCESSES, Status.SUSPENDED):
            break
        count += 1
    return count


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class _Rows:
    """The newest rows of tasks: of each as far back as its newest success, within bounds."""

    def __init__(self, reader: HistoryReader, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        self._now = int(reader.history.now // 60)
        self._scheduled = {task for task, keys in tasks.items() if keys.get("schedule")}
        self._all: dict[str, list[Row]] = {}
        self._counted: dict[str, list[Row]] = {}
        pending, before = list(tasks), 0
        for days in _DAYS:
            pending = self._affordable(pending, before, days)
            if not pending:
                break
            self._read(reader, pending, days)
            pending, before = [task for task in pending if self.newest_success(task) is None], days

    def _affordable(self, tasks: Iterable[str], before: int, days: int) -> list[str]:
        """Those of the tasks whose slots of so many days are not too many, judged by those of fewer."""
        if not before:
            return list(tasks)
        chosen, total = [], 0.0
        for count, task in sorted((len(self._all[task]) * days / before, task) for task in tasks):
            total += count
            if count <= _MOST_ROWS and total <= _MOST_ROWS_OF_ALL:
                chosen.append(task)
        return chosen

    def _read(self, reader: HistoryReader, tasks: Sequence[str], days: int) -> None:
        by_task: dict[str, list[Row]] = {task: [] for task in tasks}
        # With an end: no slots to come, and none of a clock that was wrong.
        for row in reader.rows(HistoryQuery(self._now - days * 1440, self._now, tasks)):
            by_task[row.task].append(row)
        for task, rows in by_task.items():
            rows.reverse()
            self._all[task] = rows
            # Of a task without a schedule all runs are by hand.
            self._counted[task] = effective_rows(rows, by_hand=task not in self._scheduled)

    def decided(self, task: str) -> list[Row]:
        """The task's slots whose end is known, oldest first."""
        return [row for row in self._counted[task] if row.status not in _UNDECIDED]

    def newest(self, task: str) -> Row | None:
        """The task's newest slot."""
        rows = self._counted[task]
        return rows[-1] if rows else None

    def newest_success(self, task: str) -> Row | None:
        """The task's newest slot that has a model or a prediction."""
        return next((row for row in reversed(self._counted[task]) if row.status == Status.SUCCEEDED), None)

    def running(self, task: str) -> int:
        """How many runs of the task run now."""
        return sum(row.status == Status.RUNNING for row in self._all[task])
