"""The actions that remove CronJobs, Jobs and snapshots. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cronjobs.objects import labels
from cronjobs.objects.config_maps import mounted, revisions_name
from scheduler.kube.objects import NamespaceObjects, Object, has_ended
from scheduler.sync.diff import fingerprint
from scheduler.sync.plan import Action, Flag, Refusal, Verb


def prune_cronjobs(cronjobs: Iterable[Object], unfinished_jobs: Iterable[Object]) -> list[Action]:
    """Remove these CronJobs; the unfinished Jobs that one has started end with it. A watch may be ended at any time."""
    running: dict[str, list[str]] = {}
    for job in unfinished_jobs:
        for owner in job["metadata"]["ownerReferences"]:
            running.setdefault(owner.get("uid", ""), []).append(job["metadata"]["name"])
    return [
        _prune(
            cronjob,
            "CronJob",
            [] if labels.is_watch(cronjob["metadata"]["labels"]) else running.get(cronjob["metadata"]["uid"], []),
            prunable(cronjob),
        )
        for cronjob in cronjobs
    ]


def prunable(cronjob: Object) -> str:
    """The fingerprint of a live CronJob whose removal is planned: of its whole specification."""
    return fingerprint({"metadata": {}, "spec": cronjob["spec"]}, cronjob, {})


def prune_own_jobs(jobs: Iterable[Object], removed_cronjobs: Iterable[Object]) -> list[Action]:
    """Remove the Jobs that do not go with one of these CronJobs: those that were started by hand."""
    cronjobs = {cronjob["metadata"]["uid"] for cronjob in removed_cronjobs}
    return [
        _prune(job, "Job", [] if has_ended(job) else [job["metadata"]["name"]])
        for job in jobs
        if not cronjobs & {owner.get("uid") for owner in job["metadata"]["ownerReferences"]}
    ]


def prune_snapshots(
    configmaps: Iterable[Object], unfinished_jobs: Iterable[Object], removals: Sequence[Action]
) -> tuple[list[Action], list[str]]:
    """Remove these ConfigMaps, which no CronJob will name, and say which stay because an unfinished Job mounts them.

    A Job that ends by one of the ``removals`` needs no snapshot any more.
    """
    ending = {job for action in removals for job in action.running}
    mounted_by: dict[str, list[str]] = {}
    for job in unfinished_jobs:
        if job["metadata"]["name"] not in ending:
            for name in mounted(job["spec"]["template"]["spec"]):
                mounted_by.setdefault(name, []).append(job["metadata"]["name"])
    actions, notes = [], []
    for configmap in configmaps:
        metadata = configmap["metadata"]
        if jobs := mounted_by.get(metadata["name"]):
            notes.append(f"ConfigMap {metadata['name']} stays while {', '.join(sorted(jobs)[:3])} may need it")
        else:
            uid = metadata["uid"]
            actions.append(Action(Verb.PRUNE, "ConfigMap", metadata["namespace"], metadata["name"], uid=uid, seen=uid))
    return actions, notes


def prune_revisions(experiment: str, live: NamespaceObjects) -> list[Action]:
    """Remove the ConfigMap with an experiment's revisions, if there is one."""
    configmap = live.configmaps.get(revisions_name(experiment))
    if configmap is None:
        return []
    metadata = configmap["metadata"]
    return [
        Action(Verb.PRUNE, "ConfigMap", live.namespace, metadata["name"], experiment, uid=metadata["uid"], seen=metadata["uid"])
    ]


def refusals(actions: Iterable[Action]) -> list[Refusal]:
    """Each removal that ends unfinished Jobs is refused without ``--kill-running``."""
    return [
        Refusal(
            f"Job {action.name} is running"
            if action.kind == "Job"
            else f"removing {action.kind} {action.name} kills its running {', '.join(action.running)}",
            Flag.KILL_RUNNING,
        )
        for action in actions
        if action.running
    ]


def _prune(live: Object, kind: str, running: Iterable[str], fingerprint: str = "") -> Action:
    metadata = live["metadata"]
    return Action(
        Verb.PRUNE,
        kind,
        metadata["namespace"],
        metadata["name"],
        metadata["labels"].get(labels.INSTANCE, ""),
        metadata["labels"].get(labels.TASK, ""),
        uid=metadata["uid"],
        seen=fingerprint,
        running=tuple(sorted(running)),
    )
