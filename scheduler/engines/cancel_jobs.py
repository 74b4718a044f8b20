"""`cancel` on a cluster: the Job goes, its pods are told to stop, and the store says by whom."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from cronjobs.objects import labels
from jobs import contract as c
from scheduler.engines import jobs as submit
from scheduler.engines.cancel import cancellation
from scheduler.errors import CronsembleError
from scheduler.kube import objects, permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.objects import Object
from scheduler.observe.job_watcher import POLL_SECONDS
from scheduler.stores import find_run
from scheduler.stores.workspace import Workspace

PATIENCE = 90.0
"""Seconds within which a Job's pods are gone: each has 30 to stop in."""


def cancel_cluster_runs(workspace: Workspace, targets: Sequence[str]) -> int:
    """End runs at work on a cluster; 1 if any has not ended in time or could not be written down."""
    experiment = workspace.require_experiment("--cluster")
    namespace = experiment.cluster.namespace
    with KubeClient(workspace.target.access()) as api, permissions.explain_denials(api, [namespace], needed=permissions.CANCEL):
        jobs = objects.jobs(api, namespace, selector=f"{labels.INSTANCE}={experiment.name}")
        code = 0
        chosen = [job for wanted in targets for job in _chosen(workspace, jobs, wanted)]
        asked = []
        for job in {each["metadata"]["name"]: each for each in chosen}.values():
            name = str(job["metadata"]["name"])
            submit.delete_job(api, namespace, job)
            asked.append(job)
            run = c.any_run_id(name, experiment.name)
            if run is None:
                continue
            try:
                workspace.store.cancel(run, cancellation(job["metadata"]["labels"].get(labels.KIND, "scheduled")))
            except OSError as error:
                print(f"{name}: that it was cancelled could not be kept in the store: {error.strerror}", file=sys.stderr)
                code = 1
        for job in asked:
            name = str(job["metadata"]["name"])
            if _is_gone(api, namespace, experiment.name, job):
                print(f"{name}: cancelled")
            else:
                print(f"{name}: told to stop, but its pods are still there after {PATIENCE:.0f} s", file=sys.stderr)
                code = 1
    return code


def _chosen(workspace: Workspace, jobs: list[Object], wanted: str) -> list[Object]:
    """The Jobs at work that a run's name, a part of it, or a task names; raises CronsembleError if none."""
    open_jobs = [job for job in jobs if objects.has_ended(job) is None]
    found = [job for job in open_jobs if wanted in (job["metadata"]["name"], job["metadata"]["labels"].get(labels.TASK))]
    if found:
        return found
    some = [job for job in open_jobs if wanted in job["metadata"]["name"]]
    if len(some) == 1:
        return some
    if some:
        names = ", ".join(job["metadata"]["name"] for job in some[:3]) + (", …" if len(some) > 3 else "")
        raise CronsembleError(f"{wanted}: {len(some)} runs at work have this in their name ({names}): give more of it")
    if wanted in {job["metadata"]["labels"].get(labels.TASK) for job in jobs} or wanted in workspace.store.tasks(workspace.name):
        raise CronsembleError(f"{wanted}: no run of it is at work on the cluster")
    run = find_run.find_run(workspace.store, workspace.name, wanted)
    raise CronsembleError(f"{run.id}: it has no Job at work; it {run.status}" + (f": {run.reason}" if run.reason else ""))


def _is_gone(api: KubeClient, namespace: str, experiment: str, job: Object) -> bool:
    metadata, ends = job["metadata"], time.monotonic() + PATIENCE
    while any(
        each["metadata"]["uid"] == metadata["uid"]
        for each in objects.jobs(api, namespace, selector=f"{labels.INSTANCE}={experiment}")
    ):
        if time.monotonic() > ends:
            return False
        time.sleep(POLL_SECONDS)
    return True
