"""What an engine needs to know to make a run, as values: its steps, runtimes, threads, retries and deadline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cronjobs.experiment import Task
from cronjobs.tasks import ExperimentContext, resolve_tasks, total_retries
from jobs.contract import ENSEMBLE_TASK, RunId, RunKind, slot_text
from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes.runtime import Runtime

Runtimes = Mapping[str, Runtime | RuntimeUnavailable]
"""By name what steps are started in, or why that cannot be had."""


@dataclass(frozen=True)
class Step:
    """A step's arguments and what it runs in; ``runtime`` is the reason where there is none."""

    argv: tuple[str, ...]
    runtime: Runtime | RuntimeUnavailable


@dataclass(frozen=True)
class RunSpec:
    """A run to be made of ``task``, a resolved configuration, in the slot ``minute``, in minutes since 1970.

    ``threads`` are the CPUs that it takes of the budget; ``retries`` the tries after the first; ``deadline`` the seconds
    that all tries may take; ``folder`` is where relative data paths begin; ``invocation`` ties the runs of one command
    together; ``env`` are more variables of the run's contract; ``after`` are the runs that must have ended before it starts.
    """

    task: Mapping[str, Any]
    minute: int
    kind: str
    steps: tuple[Step, ...]
    folder: Path
    threads: int
    retries: int
    deadline: int
    invocation: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    after: tuple[RunId, ...] = ()

    @property
    def label(self) -> str:
        """What an observer calls it: the task, with its slot where runs of several slots may be made at once."""
        task = str(self.task["task"])
        return task if self.kind == RunKind.MANUAL else f"{task} {slot_text(self.minute)}"


def spec_of_task(
    context: ExperimentContext, name: str, runtimes: Runtimes, minute: int, kind: str, invocation: str = ""
) -> RunSpec:
    """A run of the task of that name in a slot, as it is configured; raises KeyError if there is no such task."""
    settings, resolved = resolve_tasks(context)[name]
    return task_spec(resolved, settings, context.experiment.folder, runtimes, minute, kind, invocation)


def task_spec(
    task: Mapping[str, Any], settings: Task, folder: Path, runtimes: Runtimes, minute: int, kind: str, invocation: str = ""
) -> RunSpec:
    """A resolved configuration in a slot; of ``settings`` come the threads, retries and deadline."""
    steps = [Step(("prepare",), runtimes["keras3"])]
    members = task.get("members", [])
    if task["task"] == ENSEMBLE_TASK:
        steps += [Step(("predict", "--member", member["member"]), runtimes[member["runtime"]]) for member in members]
        steps.append(Step(("combine",), runtimes["keras3"]))
    else:
        steps.append(Step(("train",), runtimes[task["runtime"]]))
    retries = total_retries(settings, len(members))
    return RunSpec(task, minute, kind, tuple(steps), folder, settings.threads, retries, settings.deadline, invocation)


def step_secrets(task: Mapping[str, Any], argv: tuple[str, ...]) -> list[str]:
    """The names of the variables from secrets that a step of a resolved configuration gets: of a prediction its members'."""
    spec = task
    if argv[0] == "predict":
        spec = next((member for member in task.get("members", ()) if member["member"] == argv[-1]), {})
    return [str(name) for name in spec.get("secrets", ())]


def runtimes_needed(task: Mapping[str, Any]) -> set[str]:
    """The names of the runtimes that the steps of a resolved configuration run in."""
    names = {task["runtime"]} if "runtime" in task else {member["runtime"] for member in task.get("members", [])}
    return {"keras3", *names}


def runtimes_of(context: ExperimentContext, tasks: Iterable[str]) -> set[str]:
    """The names of the runtimes that the steps of these tasks run in; of a name that is no task none."""
    resolved = resolve_tasks(context)
    return {name for task in tasks if task in resolved for name in runtimes_needed(resolved[task][1])}
