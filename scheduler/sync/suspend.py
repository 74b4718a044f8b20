"""`suspend` and `resume`: a CronJob's suspension, under a field manager of its own, and recorded as a revision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cronjobs.experiment import Experiment, Task, Watch
from cronjobs.objects import labels
from cronjobs.objects.config_maps import revisions_name
from cronjobs.tasks import tasks_of
from scheduler import VERSION
from scheduler.kube import kinds, objects
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError
from scheduler.kube.objects import Object
from scheduler.sync import apply
from scheduler.sync.record import append_revision


def select_cronjobs(api: KubeClient, experiment: Experiment, tasks: list[str], value: bool) -> list[Object]:
    """The CronJobs of these tasks, or of all, whose suspension is not ``value`` yet; the watch only where it is named.

    Raises:
        KubeError: a task is not on the cluster, or the configuration says otherwise.
    """
    namespace = experiment.cluster.namespace
    selector = f"{labels.SELECTOR},{labels.INSTANCE}={experiment.name}"
    cronjobs = objects.by_name(api.list(kinds.CRONJOB, namespace, selector, decoder=objects.DECODER))
    by_task = {_name(cronjob): cronjob for cronjob in cronjobs.values()}
    if not by_task:
        raise KubeError(f"experiment {experiment.name} has no CronJobs in namespace {namespace}: cronsemble sync creates them")
    selected = tasks or [name for name in by_task if name != labels.WATCH]
    configured: dict[str, Task | Watch] = dict(tasks_of(experiment))
    if experiment.watch is not None:
        configured[labels.WATCH] = experiment.watch
    for name in selected:
        if name not in by_task:
            raise KubeError(f"{name}: no such task on the cluster; there are {', '.join(sorted(by_task))}")
        suspend = configured[name].suspend if name in configured else None
        if suspend is not None and bool(suspend) != value:
            setting = f"suspend: {str(suspend).lower()}"
            raise KubeError(f"{experiment.path}: {name} has `{setting}`, which takes precedence: change it there and sync")
    return [by_task[name] for name in selected if bool(by_task[name]["spec"].get("suspend")) != value]


def set_suspended(api: KubeClient, experiment: Experiment, cronjobs: list[Object], value: bool, force: bool) -> None:
    """Suspend or resume these CronJobs, and record a revision of those that were; needs the namespace's Lease.

    Raises:
        KubeError: another manager owns a suspension, and ``force`` is not given; a line for each.
    """
    namespace = experiment.cluster.namespace

    def attempt(cronjob: Object) -> KubeError | None:
        try:
            apply.suspend(api, namespace, cronjob, value, force)
        except KubeError as error:
            return error
        return None

    with ThreadPoolExecutor(apply.CONCURRENCY) as pool:
        errors = list(pool.map(attempt, cronjobs))
    done = [cronjob for cronjob, error in zip(cronjobs, errors, strict=True) if error is None]
    if done:
        tasks = {_name(cronjob): {"suspend": value} for cronjob in done}
        tasks.pop(labels.WATCH, None)  # no revision says anything of it
    if done and tasks:
        command = "suspend" if value else "resume"
        revisions = revisions_name(experiment.name)
        append_revision(api, namespace, revisions, experiment.name, {"tasks": tasks, "partial": True}, VERSION, command)
    if failures := [error for error in errors if error is not None]:
        raise KubeError(*dict.fromkeys(map(str, failures)))


def _name(cronjob: Object) -> str:
    """What `suspend` calls a CronJob: its task, or `watch`."""
    own = cronjob["metadata"]["labels"]
    return labels.WATCH if labels.is_watch(own) else str(own.get(labels.TASK, ""))
