"""`logs --follow` on a cluster: the output of the containers of a run's pods, in the order in which they run, across tries."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from cronjobs.objects import labels
from jobs.contract import Status
from scheduler.console.log_output import LogOutput
from scheduler.console.messages import print_line
from scheduler.exit_status import ExitStatus
from scheduler.history.observed_runs import JobState
from scheduler.kube import kinds, objects, permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import ApiError, NotFound, Unreachable
from scheduler.kube.objects import Object
from scheduler.observe import stored_logs
from scheduler.observe.job_runs import runs_of_jobs
from scheduler.observe.job_watcher import POLL_SECONDS, JobSnapshot, list_pods
from scheduler.observe.remaining_retries import step_statuses
from scheduler.observe.run_status import JOB_NAME
from scheduler.stores.find_run import find_run, is_latest, is_meant, only_match
from scheduler.stores.workspace import Workspace
from scheduler.times import is_time

MAX_INTERRUPTIONS = 10
"""Broken connections in a row after which a log is given up."""


def follow(workspace: Workspace, name: str | None, tail: int | None = None, task: str | None = None) -> ExitStatus:
    """Print a run's output until it ends; then 0 if it succeeded, else 1. Without pods, the output that the store holds.

    The run is the one that ``name`` means, of ``task`` if one is given; without a name the newest.

    With ``tail``, only so many of the last lines that there are, of the newest container that has started, and all that follow.
    """
    experiment = workspace.require_experiment("--cluster")
    namespace = experiment.cluster.namespace
    with KubeClient(workspace.target.access()) as api, permissions.explain_denials(api, [namespace], needed=permissions.LOGS):
        jobs = objects.jobs(api, namespace, selector=f"{labels.INSTANCE}={experiment.name}")
        job = _find_job(jobs, workspace, name, task, api.now().timestamp())
        if job is None:
            return stored_logs.print_logs(workspace, name, follow=True, tail=tail, task=task)
        job_name = str(job["metadata"]["name"])
        if name is None or is_latest(name):
            print_line(f"{job_name}:", sys.stderr)
        snapshot = _print_until_end(api, namespace, job_name, tail)
    workspace.store.files.update(experiment.name)
    # A Job that was made by hand claims its run when it starts.
    (run,) = runs_of_jobs([job], workspace.store).values()
    result = workspace.store.read(run)
    if result.status == Status.RUNNING:
        status = snapshot.status
        if status is not None and status.state == JobState.FAILED:
            result = replace(result, status=Status.FAILED, reason=status.reason)
        elif snapshot.job is None:
            result = replace(result, status=Status.INTERRUPTED, reason="its Job was removed")
    return stored_logs.print_end(result, True)


def _find_job(jobs: list[Object], workspace: Workspace, name: str | None, task: str | None, now: float) -> Object | None:
    """The Job that is named, or the newest, a running one first; None if only the store may know the run."""
    runs = runs_of_jobs(jobs, workspace.store)
    run_jobs = [(job, runs[job["metadata"]["uid"]]) for job in jobs if job["metadata"]["uid"] in runs]
    run_jobs = [(job, run) for job, run in run_jobs if task in (None, run.task)]
    if name is None or is_latest(name):
        own_jobs = [job for job, _ in run_jobs]
        return max(own_jobs, key=lambda job: (objects.has_ended(job) is None, job["metadata"]["creationTimestamp"]), default=None)
    exact = [job for job, run in run_jobs if name in (str(run), job["metadata"]["name"])]
    timezone = workspace.require_experiment("--cluster").timezone
    matching = exact or [job for job, run in run_jobs if is_meant(run, name, timezone, now)]
    if is_time(name) and matching:
        job_runs = [run for _, run in run_jobs]
        chosen = find_run(workspace.store, workspace.name, name, task, jobs=job_runs, timezone=timezone)
        return next((job for job, run in run_jobs if run == chosen.id), None)
    return only_match(name, matching, [str(job["metadata"]["name"]) for job in matching])


def _print_until_end(api: KubeClient, namespace: str, name: str, tail: int | None) -> JobSnapshot:
    """Print the logs of a Job's pods until it has ended; its last snapshot."""
    printed: set[tuple[str, str]] = set()
    is_first = True
    shown_reason = ""
    while True:
        snapshot = _read_job(api, namespace, name)
        is_new = False
        started = _started_containers(snapshot)
        if is_first and tail is not None:
            printed.update(started[:-1])
        last_lines = {started[-1]: tail} if is_first and started else {}
        is_first = False
        for number, pod in enumerate(snapshot.pods):
            for container in step_statuses(pod):
                key = (str(pod["metadata"]["uid"]), str(container["name"]))
                if key not in printed and key in started:
                    if number and str(pod["metadata"]["uid"]) not in {uid for uid, _ in printed}:
                        _print_divider(snapshot, number)
                    _print_container(api, namespace, pod, str(container["name"]), last_lines.get(key))
                    printed.add(key)
                    is_new = True
        if snapshot.job is None or (objects.has_ended(snapshot.job) and not is_new):
            return snapshot
        status = snapshot.status
        if status is not None and status.state == JobState.WAITING and status.reason != shown_reason:
            shown_reason = status.reason
            print_line(f"{name}: {shown_reason}", sys.stderr)
        if not is_new:
            time.sleep(POLL_SECONDS)


def _started_containers(snapshot: JobSnapshot) -> list[tuple[str, str]]:
    """The containers that have started, as their pod's UID and their name, in the order in which they run."""
    return [
        (str(pod["metadata"]["uid"]), str(container["name"]))
        for pod in snapshot.pods
        for container in step_statuses(pod)
        if {"running", "terminated"} & (container.get("state") or {}).keys()
    ]


def _read_job(api: KubeClient, namespace: str, name: str) -> JobSnapshot:
    try:
        job = api.get(kinds.JOB, namespace, name)
    except NotFound:
        job = None
    return JobSnapshot(job, tuple(list_pods(api, namespace, f"{JOB_NAME}={name}")))


def _print_divider(snapshot: JobSnapshot, number: int) -> None:
    """Print what stands before the output of the pod after the first ``number`` ones."""
    job = snapshot.status
    if job is not None and number < len(job.pods):
        previous = job.pods[number - 1]
        ended = f"{previous.state}: {previous.reason}" if previous.reason else str(previous.state)
        print_line(stored_logs.dividing_line(number + 1, job.max_tries, ended))


def _print_container(api: KubeClient, namespace: str, pod: Object, container: str, last_lines: int | None) -> None:
    out = LogOutput()
    for line in read_log(api, namespace, str(pod["metadata"]["name"]), container, last_lines):
        out.write(line + b"\n")
        out.flush()
    out.end_line()


def read_log(api: KubeClient, namespace: str, pod: str, container: str, last_lines: int | None = None) -> Iterator[bytes]:
    """The lines of a container's output until it ends; after a broken connection it goes on behind the last line.

    With ``last_lines``, only so many of those that are there already, and all that follow.
    """
    path = f"{kinds.POD.path(namespace, pod)}/log"
    last, count = ("", b""), 0  # the time of the last line, and how many lines had it
    attempts_left = MAX_INTERRUPTIONS
    while True:
        query = {"container": container, "follow": "true", "timestamps": "true"}
        if count:
            query["sinceTime"] = last[0] + "Z"  # it is no more exact than a second
        elif last_lines is not None:
            query["tailLines"] = str(last_lines)
        repeated, is_behind = 0, count > 0
        try:
            for line in api.stream(path, query, what=f"pods/log/{pod}", where=f" in namespace {namespace}", is_log=True):
                attempts_left = MAX_INTERRUPTIONS
                time_of_line = _time(line)
                if is_behind and (time_of_line < last or (time_of_line == last and repeated < count)):
                    repeated += time_of_line == last
                    continue
                is_behind = False
                if time_of_line >= last:  # what two streams say at once may come in another order
                    count = count + 1 if time_of_line == last else 1
                    last = time_of_line
                yield line.partition(b" ")[2].rstrip(b"\r\n")
            return
        except Unreachable:
            attempts_left -= 1
            if attempts_left == 0:
                raise
        except NotFound:
            return
        except ApiError as error:
            # Between its pod's start and its own.
            if "waiting to start" not in str(error):
                raise
        time.sleep(POLL_SECONDS)


def _time(line: bytes) -> tuple[str, bytes]:
    """A line's timestamp, as it is ordered: ``2026-11-23T18:09:00``, and the nanoseconds, whose last zeros may be missing."""
    stamp = line.partition(b" ")[0]
    return stamp[:19].decode(errors="replace"), stamp[19:].strip(b".Z\r\n").ljust(9, b"0")
