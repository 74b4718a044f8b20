"""`cancel` on a cluster: deletes the Jobs of running runs, waits until their pods have ended, and records by whom."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

from cronjobs.experiment import Experiment
from cronjobs.objects import labels
from jobs.contract import RunKind
from scheduler.console.messages import print_line
from scheduler.engines.cancel import cancellation
from scheduler.engines.jobs import delete_job
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube import due_slots, kinds, objects, permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import Forbidden
from scheduler.kube.objects import Object
from scheduler.observe.job_runs import runs_of_jobs
from scheduler.observe.job_watcher import POLL_SECONDS
from scheduler.observe.run_status import is_by_hand
from scheduler.stores import find_run
from scheduler.stores.workspace import Workspace
from scheduler.times import is_time

PATIENCE = 90.0
"""Seconds within which a Job's pods are gone: each has 30 to stop in."""


def cancel_cluster_runs(workspace: Workspace, targets: Sequence[str]) -> ExitStatus:
    """End running runs on a cluster; an error if any has not ended in time, or its cancellation could not be recorded.

    Raises CronsembleError for a name of no running run, KubeError.
    """
    experiment = workspace.require_experiment("--cluster")
    namespace = experiment.cluster.namespace
    with KubeClient(workspace.target.access()) as api, permissions.explain_denials(api, [namespace], needed=permissions.CANCEL):
        jobs = objects.jobs(api, namespace, selector=f"{labels.INSTANCE}={experiment.name}")
        code = ExitStatus.DONE
        chosen = [job for target in targets for job in _named_jobs(workspace, jobs, target, api.now().timestamp())]
        chosen = list({job["metadata"]["name"]: job for job in chosen}.values())
        for line in _released_slots(api, experiment, chosen):
            print_line(line)
        runs = runs_of_jobs(jobs, workspace.store)
        for job in chosen:
            name = str(job["metadata"]["name"])
            delete_job(api, namespace, job)
            run = runs.get(job["metadata"]["uid"])
            if run is None:
                continue
            kind = RunKind.MANUAL if is_by_hand(job) else job["metadata"]["labels"].get(labels.KIND, RunKind.SCHEDULED)
            try:
                workspace.store.cancel(run, cancellation(str(kind)))
            except OSError as error:
                print_line(f"{name}: that it was cancelled could not be recorded in the store: {error.strerror}", sys.stderr)
                code = ExitStatus.ERROR
        for job in chosen:
            name = str(job["metadata"]["name"])
            if _is_gone(api, namespace, experiment.name, job):
                print_line(f"{name}: cancelled")
            else:
                print_line(f"{name}: its pods got SIGTERM, but are still there after {PATIENCE:.0f} s", sys.stderr)
                code = ExitStatus.ERROR
    return code


def _released_slots(api: KubeClient, experiment: Experiment, jobs: list[Object]) -> Iterator[str]:
    """The slots that have waited for the end of these Jobs (concurrency: forbid) and start then, a line each.

    None where the user may not list CronJobs.
    """
    owners = {owner.get("uid") for job in jobs for owner in job["metadata"]["ownerReferences"]}
    if not owners:
        return
    selector = f"{labels.SELECTOR},{labels.INSTANCE}={experiment.name}"
    try:
        cronjobs = objects.by_name(
            api.list(kinds.CRONJOB, experiment.cluster.namespace, selector, decoder=objects.DECODER)
        ).values()
    except Forbidden:
        return
    ending = {job["metadata"]["name"] for job in jobs}
    for cronjob in cronjobs:
        spec, active = cronjob["spec"], {job["name"] for job in cronjob["status"].get("active") or ()}
        if cronjob["metadata"]["uid"] in owners and spec.get("concurrencyPolicy") == "Forbid" and active <= ending:
            slot = due_slots.missed_slot(cronjob, spec, api.now())
            if slot is not None:
                text = due_slots.release_text(slot, spec.get("startingDeadlineSeconds"))
                yield f"{cronjob['metadata']['name']}: when its running Job has ended, {text}"


def _named_jobs(workspace: Workspace, jobs: list[Object], target: str, now: float) -> list[Object]:
    """The running Jobs that a run's name, a part of it, a task, a date or a time names; raises CronsembleError if none."""
    running = [job for job in jobs if objects.has_ended(job) is None]
    exact = [job for job in running if target in (job["metadata"]["name"], job["metadata"]["labels"].get(labels.TASK))]
    if exact:
        return exact
    timezone = workspace.require_experiment("--cluster").timezone
    known = runs_of_jobs(running, workspace.store)
    runs = [(job, known.get(job["metadata"]["uid"])) for job in running]
    similar = [job for job, run in runs if run is not None and find_run.is_meant(run, target, timezone, now)]
    if similar and is_time(target):
        return similar
    match = find_run.only_match(target, similar, [str(job["metadata"]["name"]) for job in similar])
    if match is not None:
        return [match]
    if is_time(target):
        raise CronsembleError(f"{target}: no run of then is running on the cluster")
    if target in {job["metadata"]["labels"].get(labels.TASK) for job in jobs} or target in workspace.store.tasks(workspace.name):
        raise CronsembleError(f"{target}: no run of it is running on the cluster")
    run = find_run.find_run(workspace.store, workspace.name, target, timezone=timezone)
    reason = f": {run.reason}" if run.reason else ""
    raise CronsembleError(f"{run.id}: it has no running Job; its status is {run.status}{reason}")


def _is_gone(api: KubeClient, namespace: str, experiment: str, job: Object) -> bool:
    uid, deadline = job["metadata"]["uid"], time.monotonic() + PATIENCE
    selector = f"{labels.INSTANCE}={experiment}"
    while any(other["metadata"]["uid"] == uid for other in objects.jobs(api, namespace, selector=selector)):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
