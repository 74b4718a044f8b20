"""`suspend` and `resume`: a CronJob's suspension, owned apart from what `sync` owns, and recorded as a revision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cronjobs.experiment import Experiment, Task
from cronjobs.objects import labels
from cronjobs.objects.config_maps import revisions_name
from jobs.contract import ENSEMBLE_TASK, member_task
from scheduler import VERSION
from scheduler.kube import kinds, objects
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError
from scheduler.kube.objects import Object
from scheduler.sync import apply


def select_cronjobs(api: KubeClient, experiment: Experiment, names: list[str], value: bool) -> list[Object]:
    """The CronJobs whose suspension changes: of these tasks, or of all; raises ClusterError for one that is not there."""
    namespace = experiment.cluster.namespace
    found = objects.by_name(api.list(kinds.CRONJOB, namespace, _selector(experiment.name), decoder=objects.decoder()))
    there = {each["metadata"]["labels"].get(labels.TASK, ""): each for each in found.values()}
    if not there:
        raise KubeError(f"experiment {experiment.name} has no CronJob in namespace {namespace}: cronsemble sync makes them")
    chosen = names or list(there)
    for name in chosen:
        if name not in there:
            raise KubeError(f"{name}: no such task on the cluster; there are {', '.join(sorted(there))}")
        configured = _tasks(experiment).get(name)
        if configured is not None and configured.suspend is not None and bool(configured.suspend) != value:
            told = str(configured.suspend).lower()
            raise KubeError(f"{experiment.path}: {name} has `suspend: {told}`, which holds: change it there and sync")
    return [there[name] for name in chosen if bool(there[name]["spec"].get("suspend")) != value]


def set_suspended(api: KubeClient, experiment: Experiment, chosen: list[Object], value: bool, force: bool) -> None:
    """Set it on these CronJobs, and record a revision of those that took it; needs the namespace's Lease."""
    namespace = experiment.cluster.namespace

    def one(each: Object) -> KubeError | None:
        try:
            apply.suspend(api, namespace, each["metadata"]["name"], each["metadata"]["uid"], value, force)
        except KubeError as error:
            return error
        return None

    with ThreadPoolExecutor(apply.AT_ONCE) as pool:
        errors = list(pool.map(one, chosen))
    done = [each for each, error in zip(chosen, errors, strict=True) if error is None]
    if done:
        tasks = {each["metadata"]["labels"][labels.TASK]: {"suspend": value} for each in done}
        told = {"tasks": tasks, "partial": True}
        what = "suspend" if value else "resume"
        apply.record(api, namespace, revisions_name(experiment.name), experiment.name, told, VERSION, what)
    if failed := [error for error in errors if error is not None]:
        raise KubeError("\n".join(dict.fromkeys(map(str, failed))))


def _selector(experiment: str) -> str:
    return f"{labels.SELECTOR},{labels.INSTANCE}={experiment}"


def _tasks(experiment: Experiment) -> dict[str, Task]:
    found: dict[str, Task] = {member_task(name): member for name, member in experiment.members.items()}
    if experiment.ensemble is not None:
        found[ENSEMBLE_TASK] = experiment.ensemble
    return found
