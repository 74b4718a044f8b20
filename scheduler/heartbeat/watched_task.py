"""A task whose runs are expected, or the watch with its looks: when, and how long after its slot one may have ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cronjobs.experiment import Experiment, Task
from cronjobs.objects import labels
from cronjobs.objects.watch import STARTING_DEADLINE
from cronjobs.tasks import tasks_of, time_limit
from jobs import contract as c


@dataclass(frozen=True)
class WatchedTask:
    """A task, or the watch, with its schedule; ``seconds``: after a slot, those in which its run, or look, may start and end."""

    task: str
    schedule: str
    timezone: str
    seconds: int
    is_suspended: bool = False


def tasks_of_experiment(experiment: Experiment) -> list[WatchedTask]:
    """The tasks of a configuration that have a schedule, as `serve` runs them, and its watch."""
    tasks = [
        WatchedTask(name, task.schedule, task.timezone, _seconds(task), bool(task.suspend))
        for name, task in tasks_of(experiment)
        if task.schedule is not None
    ]
    if (watch := experiment.watch) is not None:
        seconds = STARTING_DEADLINE + int(watch.deadline)
        tasks.append(WatchedTask(labels.WATCH, watch.schedule, watch.timezone, seconds, bool(watch.suspend)))
    return tasks


def _seconds(task: Task) -> int:
    return int(task.starting_deadline) + time_limit(task)


def tasks_of_cronjobs(cronjobs: Iterable[Mapping[str, Any]]) -> list[WatchedTask]:
    """The tasks of CronJobs whose pods send pings, and the watch if it is among them, as a cluster has them."""
    watched = []
    for cronjob in cronjobs:
        metadata, spec = cronjob["metadata"], cronjob["spec"]
        job = spec["jobTemplate"]["spec"]
        pod = job["template"]["spec"]
        variables = {
            variable.get("name")
            for step in [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
            for variable in step.get("env") or ()
        }
        if c.ENV_PING_URL in variables:
            seconds = int(spec.get("startingDeadlineSeconds") or 0) + int(job.get("activeDeadlineSeconds") or 0)
            own = metadata.get("labels") or {}
            name = labels.WATCH if labels.is_watch(own) else str(own.get(labels.TASK, ""))
            zone = str(spec.get("timeZone") or "UTC")
            watched.append(WatchedTask(name, str(spec["schedule"]), zone, seconds, bool(spec.get("suspend"))))
    return watched
