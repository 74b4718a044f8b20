"""What goes: CronJobs that nothing declares any more, and snapshots that nothing names. Values in, values out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cronjobs.objects import labels
from cronjobs.objects.config_maps import mounted
from scheduler.kube.objects import NamespaceObjects, Object
from scheduler.sync.diff import fingerprint
from scheduler.sync.plan import KILL_RUNNING, PRUNE, Action, Refusal


def prune_cronjobs(gone: list[Object], unfinished: list[Object], refusals: list[Refusal]) -> list[Action]:
    """The removal of these CronJobs, and the refusal to kill what they run."""
    running: dict[str, list[str]] = {}
    for job in unfinished:
        for owner in job["metadata"]["ownerReferences"]:
            running.setdefault(owner.get("uid", ""), []).append(job["metadata"]["name"])
    actions = []
    for each in gone:
        metadata = each["metadata"]
        jobs = tuple(sorted(running.get(metadata["uid"], [])))
        if jobs:
            refusals.append(Refusal(f"removing CronJob {metadata['name']} kills its running {', '.join(jobs)}", KILL_RUNNING))
        actions.append(
            Action(
                PRUNE,
                "CronJob",
                metadata["namespace"],
                metadata["name"],
                metadata["labels"].get(labels.INSTANCE, ""),
                metadata["labels"].get(labels.TASK, ""),
                uid=metadata["uid"],
                seen=fingerprint({"metadata": {}, "spec": each["spec"]}, each, {}),
                running=jobs,
            )
        )
    return actions


def prune_maps(
    live: NamespaceObjects, cronjobs: Iterable[Object], wanted: set[str], unfinished: Callable[[], list[Object]], notes: list[str]
) -> list[Action]:
    """The removal of snapshots that nothing names: no CronJob that stays and no unfinished Job."""
    snapshots = (labels.PROGRAM, labels.CODE)
    candidates = {
        name: each
        for name, each in live.configmaps.items()
        if name not in wanted and each["metadata"]["labels"].get(labels.COMPONENT) in snapshots
    }
    if not candidates:
        return []
    named = {name for each in cronjobs for name in mounted(each["spec"]["jobTemplate"]["spec"]["template"]["spec"])}
    candidates = {name: each for name, each in candidates.items() if name not in named}
    by_jobs: dict[str, list[str]] = {}
    for job in unfinished() if candidates else ():
        for name in mounted(job["spec"]["template"]["spec"]):
            by_jobs.setdefault(name, []).append(job["metadata"]["name"])
    actions = []
    for name, each in candidates.items():
        if name in by_jobs:
            notes.append(f"ConfigMap {name} stays while {', '.join(sorted(by_jobs[name])[:3])} may need it")
        else:
            uid = each["metadata"]["uid"]
            actions.append(Action(PRUNE, "ConfigMap", each["metadata"]["namespace"], name, uid=uid, seen=uid))
    return actions
