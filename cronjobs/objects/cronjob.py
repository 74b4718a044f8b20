"""An experiment's objects: the ConfigMaps of its snapshot, and a CronJob for each task that has a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from cronjobs.experiment import Ensemble, Experiment, Task
from cronjobs.objects import labels
from cronjobs.objects.config_maps import LARGEST, code_map, program_map
from cronjobs.objects.job_spec import job_spec
from cronjobs.objects.pods import ensemble_pod, image_of, train_pod
from cronjobs.objects.volumes import ObjectsError, store_volume
from cronjobs.tasks import ExperimentContext, tasks_of, total_retries
from jobs import contract as c


def desired(context: ExperimentContext, program: bytes, code: bytes | None) -> list[dict[str, Any]]:
    """All objects of an experiment in the order in which they are made: ConfigMaps, then CronJobs.

    ``context`` holds the hashes of ``program`` and ``code``. None at all without a schedule. Raises ObjectsError.
    """
    namespace = context.experiment.cluster.namespace
    scheduled = list(cron_jobs(context))
    maps = [program_map(namespace, program), *([code_map(namespace, code)] if code else [])]
    return [*maps, *scheduled] if scheduled else []


def cron_jobs(context: ExperimentContext) -> Iterator[dict[str, Any]]:
    """The CronJobs of the tasks that have a schedule, members first; raises ObjectsError."""
    experiment = context.experiment
    _check(experiment)
    for member in experiment.members.values():
        if member.schedule is not None:
            yield _cron_job(experiment, c.member_task(member.name), member, train_pod(context, member))
    ensemble = experiment.ensemble
    if ensemble is not None and ensemble.schedule is not None:
        yield _cron_job(experiment, c.ENSEMBLE_TASK, ensemble, ensemble_pod(context, ensemble))


def notes(experiment: Experiment) -> list[str]:
    """What the objects of an experiment do not say: tasks that make none, images that no node may find, files."""
    lines = [f"{task}: no schedule, so no CronJob" for task, spec in tasks_of(experiment) if spec.schedule is None]
    for runtime in _runtimes(experiment):
        image = image_of(experiment, runtime)
        if image.startswith("localhost/"):
            lines.append(f"{image} is in no registry: nodes that do not hold it cannot run it; see cluster.images.{runtime}")
    for key in ("dataset", "predict"):
        file = getattr(experiment.data, key)
        if file.endswith(".npz"):
            lines.append(f"data.{key}: {file} is read from data/ in the store: `cronsemble put` copies it there")
    return lines


def _check(experiment: Experiment) -> None:
    """What every task needs, all that is missing at once."""
    problems: list[str] = []
    needs: list[Callable[[], object]] = [partial(store_volume, experiment)]
    needs += [partial(image_of, experiment, runtime) for runtime in _runtimes(experiment)]
    for need in needs:
        try:
            need()
        except ObjectsError as error:
            problems += error.problems
    if problems:
        raise ObjectsError(*problems)


def _runtimes(experiment: Experiment) -> list[str]:
    """The names of the runtimes that the tasks need: the members', and keras3 for prepare and combine."""
    return sorted({"keras3", *(member.runtime for member in experiment.members.values())})


def _cron_job(experiment: Experiment, name: str, task: Task, pod: dict[str, Any]) -> dict[str, Any]:
    own = {**task.labels, **labels.of_task(experiment.name, labels.component(name), name)}
    retries = total_retries(task, len(experiment.members) if isinstance(task, Ensemble) else 0)
    queue = {labels.QUEUE: task.queue} if task.queue else {}
    cronjob = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"{experiment.name}-{name}", "namespace": experiment.cluster.namespace, "labels": own},
        "spec": {
            "schedule": task.schedule,
            "timeZone": task.timezone,
            # Left out unless the configuration says it: else `suspend` and `resume` own it.
            **({} if task.suspend is None else {"suspend": task.suspend}),
            "concurrencyPolicy": task.concurrency.capitalize(),
            "startingDeadlineSeconds": int(task.starting_deadline),
            "successfulJobsHistoryLimit": task.history_limits.successful,
            "failedJobsHistoryLimit": task.history_limits.failed,
            "jobTemplate": {"metadata": {"labels": {**own, **queue}}, "spec": job_spec(task, retries, pod)},
        },
    }
    # Only the ensemble has a container for each member; the configuration file bounds the others.
    size = len(msgspec.json.encode(cronjob)) if isinstance(task, Ensemble) else 0
    if size > LARGEST:
        raise ObjectsError(f"{name}: its CronJob has {size:,} bytes, at most {LARGEST:,} fit: split the experiment")
    return cronjob
