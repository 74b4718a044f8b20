"""`logs --follow` on a cluster: what the containers of a run's pods say, in the order of their turns, across tries."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from cronjobs.objects import labels
from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run
from scheduler.errors import UnknownRun
from scheduler.history.observed_runs import WAITING
from scheduler.history.slots import FAILED
from scheduler.kube import kinds, objects, permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import ApiError, NotFound, Unreachable
from scheduler.kube.objects import Object
from scheduler.observe import stored_logs
from scheduler.observe.job_watcher import LOOK, JobSnapshot, pods_of
from scheduler.observe.run_status import JOB_NAME
from scheduler.stores.workspace import Workspace

BREAKS = 10
"""Broken connections in a row after which a log is given up."""


def follow(workspace: Workspace, name: str | None) -> int:
    """Print what a run says until it ends; then 0 if it succeeded, else 1. Without pods, what the store kept."""
    experiment = workspace.require_experiment("--cluster")
    namespace = experiment.cluster.namespace
    with KubeClient(workspace.target.access()) as api, permissions.explain_denials(api, [namespace], needed=permissions.LOGS):
        job = _find(objects.jobs(api, namespace, selector=f"{labels.INSTANCE}={experiment.name}"), workspace, name)
        if job is None:
            return stored_logs.print_logs(workspace, name, follow=True)
        run = c.any_run_id(str(job["metadata"]["name"]), experiment.name)
        assert run is not None
        if name is None:
            print(f"{run}:", file=sys.stderr)
        seen = _print_all(api, namespace, str(run))
    workspace.store.files.update(experiment.name)
    result = workspace.store.read(run)
    if result.status == Status.RUNNING:
        told = seen.seen
        if told is not None and told.state == FAILED:
            result = Run(run, result.folder, FAILED, told.reason)
        elif seen.job is None:
            result = Run(run, result.folder, "interrupted", "its Job was removed")
    return stored_logs.end(result, True)


def _find(jobs: list[Object], workspace: Workspace, name: str | None) -> Object | None:
    """The Job that is named, or the newest, one at work first; None if the store alone may know."""
    own = [job for job in jobs if c.any_run_id(job["metadata"]["name"], workspace.name) is not None]
    if name is None:
        return max(own, key=lambda job: (objects.has_ended(job) is None, job["metadata"]["creationTimestamp"]), default=None)
    exact = [job for job in own if job["metadata"]["name"] == name]
    some = exact or [job for job in own if name in job["metadata"]["name"]]
    if len(some) > 1:
        names = ", ".join(str(job["metadata"]["name"]) for job in some[:3])
        raise UnknownRun(f"{name}: {len(some)} runs have this in their id ({names}): give more of it")
    return some[0] if some else None


def _print_all(api: KubeClient, namespace: str, name: str) -> JobSnapshot:
    """Print the logs of a Job's pods until it has ended; what was seen of it last."""
    done: set[tuple[str, str]] = set()
    said = ""
    while True:
        seen = _look(api, namespace, name)
        fresh = False
        for pod in seen.pods:
            for each in _containers(pod["status"]):
                key, state = (str(pod["metadata"]["uid"]), str(each["name"])), each.get("state") or {}
                if key not in done and ("running" in state or "terminated" in state):
                    _print_container(api, namespace, pod, str(each["name"]))
                    done.add(key)
                    fresh = True
        if seen.job is None or (objects.has_ended(seen.job) and not fresh):
            return seen
        told = seen.seen
        if told is not None and told.state == WAITING and told.reason != said:
            said = told.reason
            print(f"{name}: {said}", file=sys.stderr)
        if not fresh:
            time.sleep(LOOK)


def _look(api: KubeClient, namespace: str, name: str) -> JobSnapshot:
    try:
        job = api.get(kinds.JOB, namespace, name)
    except NotFound:
        job = None
    return JobSnapshot(job, tuple(pods_of(api, namespace, f"{JOB_NAME}={name}")))


def _containers(status: Object) -> list[Object]:
    """The statuses of a pod's containers in the order of their turns."""
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _print_container(api: KubeClient, namespace: str, pod: Object, container: str) -> None:
    for line in lines(api, namespace, str(pod["metadata"]["name"]), container):
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


def lines(api: KubeClient, namespace: str, pod: str, container: str) -> Iterator[bytes]:
    """What a container has said and says until it ends; after a broken connection it goes on behind the last line."""
    path = f"{kinds.POD.path(namespace, pod)}/log"
    recent: list[bytes] = []  # those of the latest second, for that is how exactly one can ask to go on
    patience = BREAKS
    while True:
        query = {"container": container, "follow": "true", "timestamps": "true"}
        if recent:
            query["sinceTime"] = _second(recent[-1]).decode() + "Z"
        known = list(recent)
        try:
            for line in api.stream(path, query, what=f"pods/log/{pod}", where=f" in namespace {namespace}"):
                patience = BREAKS
                if known and line == known[0]:
                    del known[0]
                    continue
                recent = [line] if not recent or _second(recent[-1]) != _second(line) else [*recent, line]
                yield line.partition(b" ")[2].rstrip(b"\r\n")
            return
        except Unreachable:
            patience -= 1
            if patience == 0:
                raise
        except NotFound:
            return
        except ApiError as error:
            # Between its pod's start and its own.
            if "waiting to start" not in str(error):
                raise
        time.sleep(LOOK)


def _second(line: bytes) -> bytes:
    """The second that a line's timestamp begins with: ``2026-11-23T18:09:00``."""
    return line[:19]
