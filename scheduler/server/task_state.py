"""Where each task of a served experiment stands: its plan, the slots that have begun, are at work, or wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from cronjobs.experiment import Task
from cronjobs.revisions.periods import SchedulePeriod
from cronjobs.tasks import ExperimentContext, ensemble_task, train_task
from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run


@dataclass
class TaskState:
    """What is known of one task. ``blocked`` tells why its waiting slot waits."""

    spec: Task
    resolved: dict[str, Any]
    spans: list[SchedulePeriod]
    started: set[int] = field(default_factory=set)
    active: dict[int, c.RunId | None] = field(default_factory=dict)
    waiting: int | None = None
    blocked: str = ""
    settled: int = 0
    wake: float = -inf


def tasks_of(context: ExperimentContext) -> dict[str, tuple[Task, dict[str, Any]]]:
    experiment = context.experiment
    found: dict[str, tuple[Task, dict[str, Any]]] = {
        c.member_task(name): (member, train_task(context, member)) for name, member in experiment.members.items()
    }
    if experiment.ensemble is not None:
        found[c.ENSEMBLE_TASK] = (experiment.ensemble, ensemble_task(context, experiment.ensemble))
    return found


def has_tries_left(run: Run, standing: TaskState) -> bool:
    failed = sum(1 for each in run.tries if each["end"] and each["end"].get("status") == Status.FAILED)
    return failed <= standing.spec.retries + len(standing.resolved.get("members", []))
