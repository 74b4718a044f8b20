"""What the report says first: which task has a problem since when, which member is worse since when, and what changed then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.report.change_points import last_change
from scheduler.report.changes import Change
from scheduler.report.task_states import TaskState
from scheduler.report.trend import EnsemblePoint, Trend

SMALLEST_CHANGE = 0.02
"""The smallest change of accuracy that is worth a sentence."""


@dataclass(frozen=True)
class LevelChange:
    """A member (or ``ensemble``) whose accuracy on the ensemble's items has another level since a point of the trend.

    ``changes``: what changed after the point before it. ``last_before``: the point before it.
    """

    name: str
    before: float
    after: float
    since: EnsemblePoint
    last_before: EnsemblePoint
    points: int
    changes: Sequence[Change]

    @property
    def is_worse(self) -> bool:
        """Whether it fell."""
        return self.after < self.before


@dataclass(frozen=True)
class Findings:
    """Problems of tasks, and changes of level: the worst first."""

    problems: Sequence[TaskState]
    level_changes: Sequence[LevelChange]


@dataclass(frozen=True)
class ProblemGroup:
    """Tasks with the same problem since the same slot."""

    tasks: Sequence[str]
    status: str
    since: str
    slots: int
    reason: str


def problem_groups(states: Sequence[TaskState]) -> list[ProblemGroup]:
    """The problems, each once with the tasks that have it."""
    groups: dict[tuple[str, str, int, str], list[str]] = {}
    for state in states:
        day = state.since.local[:10] if state.since else ""
        groups.setdefault((state.problem, day, state.slots, state.reason), []).append(state.task)
    firsts = {state.task: state.since.local for state in states if state.since}
    return [
        ProblemGroup(tasks, status, min(firsts[task] for task in tasks if task in firsts), slots, reason)
        for (status, _, slots, reason), tasks in groups.items()
    ]


def find(states: Sequence[TaskState], trend: Trend, changes: Sequence[Change]) -> Findings:
    """What to say first."""
    last = trend.points[-1].result if trend.points else None
    current = [member.member for member in last.members] if last else []
    level_changes = [
        change
        for name in ("ensemble", *current)
        if (change := _level_change(name, trend, changes)) is not None
    ]  # fmt: skip
    level_changes.sort(key=lambda change: change.after - change.before)
    return Findings([state for state in states if state.is_problem], level_changes)


def accuracy_of(point: EnsemblePoint, name: str) -> float | None:
    """The accuracy on the ensemble's items of a member, or of the ``ensemble`` itself."""
    if name == "ensemble":
        return point.result.accuracy
    member = point.result.member(name)
    return None if member is None else member.accuracy


def loss_of(point: EnsemblePoint, name: str) -> float | None:
    """The same of the log loss."""
    if name == "ensemble":
        return point.result.loss
    member = point.result.member(name)
    return None if member is None else member.loss


def _level_change(name: str, trend: Trend, changes: Sequence[Change]) -> LevelChange | None:
    own = [(point, accuracy) for point in trend.points if (accuracy := accuracy_of(point, name)) is not None]
    change = last_change([accuracy for _, accuracy in own], SMALLEST_CHANGE)
    if change is None:
        return None
    since, before = own[change.position][0], own[change.position - 1][0]
    near = [each for each in changes if before.row.minute < each.minute <= since.row.minute]
    return LevelChange(name, change.before, change.after, since, before, len(own) - change.position, near)
