"""An experiment's objects: the ConfigMaps of its snapshot, a CronJob for each task that has a schedule, and its watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from cronjobs.experiment import Ensemble, Experiment, Member, Task
from cronjobs.objects import labels
from cronjobs.objects.config_maps import code_map, program_map
from cronjobs.objects.job_spec import job_spec, let_yield
from cronjobs.objects.pods import ensemble_pod, image_of, train_pod
from cronjobs.objects.size import TooLarge, check_size
from cronjobs.objects.volumes import ObjectsError, store_volume
from cronjobs.objects.watch import tool_image, watch_cron_job
from cronjobs.tasks import ExperimentContext, tasks_of, time_limit, total_retries
from jobs import contract as c


def desired(context: ExperimentContext, program: bytes, code: bytes | None) -> list[dict[str, Any]]:
    """All objects of an experiment in the order in which they are made: ConfigMaps, then CronJobs.

    ``context`` holds the hashes of ``program`` and ``code``. None at all without a schedule. Raises ObjectsError.
    """
    namespace = context.experiment.cluster.namespace
    scheduled = list(cron_jobs(context))
    if not scheduled:
        return []
    maps = [program_map(namespace, program), *([code_map(namespace, code)] if code else [])]
    watch = context.experiment.watch
    return [*maps, *scheduled, *([] if watch is None else [watch_cron_job(context.experiment, watch, context.version)])]


def cron_jobs(context: ExperimentContext) -> Iterator[dict[str, Any]]:
    """The CronJobs of the tasks that have a schedule, members first; raises ObjectsError."""
    experiment = context.experiment
    _check(experiment)
    for member in experiment.members.values():
        if member.schedule is not None:
            yield _cron_job(experiment, c.member_task(member.name), member, train_pod(context, member))
    if experiment.ensemble is not None and experiment.ensemble.schedule is not None:
        yield _cron_job(experiment, c.ENSEMBLE_TASK, experiment.ensemble, _ensemble(context))


def _ensemble(context: ExperimentContext) -> dict[str, Any]:
    assert context.experiment.ensemble is not None
    return ensemble_pod(context, context.experiment.ensemble)


def size_problems(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """The tasks that no cluster can run because of their size, each with what is wrong, whatever images they have."""
    images = {name: "image" for name in _runtimes(experiment)} | dict(experiment.cluster.images)
    context = ExperimentContext(replace(experiment, cluster=replace(experiment.cluster, images=images)), "0" * 64, "0" * 64)
    for name, task in tasks_of(context.experiment):
        try:
            pod = train_pod(context, task) if isinstance(task, Member) else _ensemble(context)
            _cron_job(context.experiment, name, task, pod)
        except TooLarge as error:
            yield name, str(error)
    if experiment.watch is not None:
        try:
            watch_cron_job(experiment, experiment.watch, "")
        except TooLarge as error:
            yield labels.WATCH, str(error)


def notes(experiment: Experiment) -> list[str]:
    """What the objects of an experiment do not say: tasks that make none, images that no node may find, files."""
    lines = [f"{task}: no schedule, so no CronJob" for task, spec in tasks_of(experiment) if spec.schedule is None]
    for runtime in _runtimes(experiment):
        image = image_of(experiment, runtime)
        packages = experiment.runtimes[runtime].packages
        if packages and image.rpartition("/")[2].partition(":")[0] == "cronsemble-keras3":
            asked = packages if isinstance(packages, str) else ", ".join(packages)
            lines.append(
                f"{image} does not hold the packages of runtimes.keras3.venv ({asked}): build an image that does from it"
            )
        lines += _not_in_a_registry(image, runtime)
    if experiment.watch is not None:
        lines += _not_in_a_registry(tool_image(experiment), "tool")
    lines += silent_notify(experiment)
    for key in ("dataset", "predict"):
        file = getattr(experiment.data, key)
        if file.endswith(".npz"):
            lines.append(f"data.{key}: {file} is read from data/ in the store: `cronsemble put` copies it there")
    return lines


def silent_notify(experiment: Experiment) -> list[str]:
    """That nobody tells what `notify:` asks for, where that is so."""
    if experiment.notify is None or experiment.watch is not None:
        return []
    return ["notify: on a cluster nobody tells the channels without a watch: type watch: {}"]


def _not_in_a_registry(image: str, key: str) -> list[str]:
    if not image.startswith("localhost/"):
        return []
    return [f"{image} is in no registry: nodes that do not hold it cannot run it; see cluster.images.{key}"]


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
    spec = job_spec(task, retries, time_limit(task), pod)
    if isinstance(task, Ensemble) and task.wait is not None:
        let_yield(spec)
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
            "jobTemplate": {"metadata": {"labels": {**own, **queue}}, "spec": spec},
        },
    }
    check_size(cronjob, name)
    return cronjob
