"""The state of each task now: its last slot, its next one, how old its model is, and since when something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.contract import ENSEMBLE_TASK, Status
from scheduler.history.slots import Row
from scheduler.report.slot_groups import SlotGroups, effective_rows
from scheduler.report.status_looks import PROBLEMS, status_of


@dataclass(frozen=True)
class TaskState:
    """A task as of now; ``is_former``: no schedule of it is left.

    ``last``: the row of its last slot that has come; ``status`` as the report shows it. ``since``: the first slot since which its
    slots have a problem, ``slots`` how many these are, ``reason`` the last one's. ``model``: its newest success, and its age in
    seconds.
    """

    task: str
    is_former: bool
    last: Row | None
    status: str
    upcoming: Row | None
    model: Row | None
    model_age: float | None
    since: Row | None
    slots: int
    reason: str
    problem: str = ""
    """The statuses of these slots, the last one's first."""

    @property
    def is_problem(self) -> bool:
        """Whether somebody should look at it."""
        return self.since is not None and not self.is_former


def task_states(groups: SlotGroups, scheduled: Sequence[str], now: float) -> list[TaskState]:
    """The state of every task, those that are scheduled first, the ensemble last of these; ``now`` in seconds since 1970."""
    present = [task for task in scheduled if task != ENSEMBLE_TASK] + [task for task in scheduled if task == ENSEMBLE_TASK]
    former = [task for task in groups.tasks() if task not in present]
    return [_state(groups, task, task in former, now) for task in (*present, *former)]


def _state(groups: SlotGroups, task: str, is_former: bool, now: float) -> TaskState:
    dates = groups.full.get(task, {})
    rows = effective_rows([row for day in sorted(dates) for row in dates[day]])
    model = next((row for row in reversed(rows) if row.status == Status.SUCCEEDED), None)
    last = rows[-1] if rows else None
    settled = [row for row in rows if row.status not in (Status.RUNNING, Status.DUE)]
    streak: list[Row] = []
    for row in reversed(settled):
        if status_of(row) not in PROBLEMS:
            break
        streak.append(row)
    return TaskState(
        task,
        is_former,
        last,
        status_of(last) if last else "",
        groups.upcoming.get(task),
        model,
        None if model is None else now - model.minute * 60,
        streak[-1] if streak else None,
        len(streak),
        streak[0].full_reason if streak else "",
        ", before that ".join(dict.fromkeys(status_of(row) for row in streak)),
    )
