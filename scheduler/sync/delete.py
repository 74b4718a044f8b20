"""`delete`: everything of one experiment in one namespace, but never the store."""

from __future__ import annotations

from collections.abc import Mapping

from cronjobs.objects import labels
from cronjobs.objects.config_maps import revisions_name
from scheduler import VERSION
from scheduler.kube import objects
from scheduler.kube.client import KubeClient
from scheduler.kube.objects import Object
from scheduler.sync import planner, prune
from scheduler.sync.plan import KILL_RUNNING, PRUNE, RECORD, Action, Refusal, SyncPlan


def plan_removal(api: KubeClient, namespace: str, experiment: str, purge: bool) -> SyncPlan:
    """The removal of an experiment's CronJobs and own Jobs, of snapshots that nothing names then, and with ``purge`` of its
    revisions."""
    found = objects.read_namespace_objects(api, namespace, [])
    gone = [each for each in found.cronjobs.values() if each["metadata"]["labels"].get(labels.INSTANCE) == experiment]
    jobs = objects.jobs(api, namespace, selector=f"{labels.INSTANCE}={experiment}")
    unfinished = [job for job in objects.jobs(api, namespace, "status.successful=0") if not objects.has_ended(job)]
    refusals: list[Refusal] = []
    notes: list[str] = []
    actions = prune.prune_cronjobs(gone, unfinished, refusals)
    uids = {each["metadata"]["uid"] for each in gone}
    actions += [_job(job, refusals) for job in jobs if not uids & {o.get("uid") for o in job["metadata"]["ownerReferences"]}]
    kept = [each for each in found.cronjobs.values() if each not in gone]
    if actions:
        # What is removed may be on its way out, and needs no snapshot any more.
        going = {action.name for action in actions if action.kind == "Job"} | {
            name for action in actions for name in action.running
        }
        others = [job for job in unfinished if job["metadata"]["name"] not in going]
        actions += prune.prune_maps(found, kept, set(), lambda: others, notes)
    actions += _revisions(found.configmaps, namespace, experiment, purge, bool(gone))
    return SyncPlan(
        VERSION,
        api.access.server,
        api.access.context,
        (namespace,),
        (experiment,),
        tuple(actions),
        tuple(refusals),
        tuple(notes),
    )


def _job(job: Object, refusals: list[Refusal]) -> Action:
    metadata = job["metadata"]
    running = () if objects.has_ended(job) else (metadata["name"],)
    if running:
        refusals.append(Refusal(f"Job {metadata['name']} is running", KILL_RUNNING))
    named = metadata["labels"]
    return Action(
        PRUNE,
        "Job",
        metadata["namespace"],
        metadata["name"],
        named.get(labels.INSTANCE, ""),
        named.get(labels.TASK, ""),
        uid=metadata["uid"],
        running=running,
    )


def _revisions(maps: Mapping[str, Object], namespace: str, experiment: str, purge: bool, changed: bool) -> list[Action]:
    name = revisions_name(experiment)
    known = maps.get(name)
    if known is None:
        return []
    if purge:
        return [Action(PRUNE, "ConfigMap", namespace, name, experiment, uid=known["metadata"]["uid"])]
    if not changed:
        return []
    number = planner.next_revision(known)
    return [Action(RECORD, "ConfigMap", namespace, name, experiment, body={"number": number, "tasks": {}, "digest": "deleted"})]
