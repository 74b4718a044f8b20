"""Follows Jobs and their pods: one thread lists them again and again, others wait for a change of theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from scheduler.console import run_display
from scheduler.history.observed_runs import JobState, ObservedJob
from scheduler.kube import kinds, objects
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import ApiError, KubeError
from scheduler.kube.objects import Object
from scheduler.observe.run_status import JOB_NAME, job_status, started_containers

POLL_SECONDS = 1.0
"""Seconds between two lists."""
RETRY_SECONDS = 5.0
"""The same after one that failed."""
REPEAT_SECONDS = 10.0
"""Seconds after which a snapshot that has not changed is given again: the run may be stuck."""


@dataclass(frozen=True)
class JobSnapshot:
    """A Job, None once it is gone, and its pods, oldest first."""

    job: Object | None
    pods: tuple[Object, ...] = ()

    @property
    def status(self) -> ObservedJob | None:
        """What that says of the run, without events."""
        return job_status(self.job, self.pods) if self.job is not None else None

    @property
    def started_steps(self) -> list[str]:
        """The titles of the steps that have started, the latest last. One that ended between two snapshots is among them."""
        most = self.status.max_tries if self.status is not None else None
        return [
            _title(container, number, most) for number, pod in enumerate(self.pods, 1) for container in started_containers(pod)
        ]


class JobWatcher:
    """Lists the Jobs and pods of one selector until it is stopped; ``say`` prints a line for the user."""

    def __init__(self, api: KubeClient, namespace: str, selector: str, say: Callable[[str], None]) -> None:
        self._api, self._namespace, self._selector, self._say = api, namespace, selector, say
        self._snapshots: dict[str, JobSnapshot] = {}
        self._listed = -1.0  # when the latest list that was answered began, monotonic
        self._error: KubeError | None = None
        self._change = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Start the thread, unless it runs already."""
        with self._change:
            if self._thread.ident is None and not self._stop.is_set():
                self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wake those that wait."""
        self._stop.set()
        with self._change:
            self._change.notify_all()

    def next(self, name: str, since: float, last: JobSnapshot | None) -> JobSnapshot | None:
        """The snapshot of a Job once it differs from ``last``, or the same after some seconds.

        Only lists after ``since`` (monotonic) count. None when stopped. Raises the error that ended the thread.
        """
        repeat_at = time.monotonic() + REPEAT_SECONDS
        with self._change:
            while not self._stop.is_set():
                if self._error is not None:
                    raise self._error
                snapshot = self._snapshots.get(name, JobSnapshot(None))
                if self._listed > since and (snapshot != last or time.monotonic() > repeat_at):
                    return snapshot
                self._change.wait(REPEAT_SECONDS)
        return None

    def _follow(self) -> None:
        shown_error = ""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                snapshots = read_jobs(self._api, self._namespace, self._selector)
            except KubeError as error:
                if isinstance(error, ApiError) and error.status < 500:
                    with self._change:
                        self._error = error
                        self._change.notify_all()
                    return
                if str(error) != shown_error:
                    shown_error = str(error)
                    self._say(f"{shown_error}; the runs go on, and the cluster is asked again")
                self._stop.wait(RETRY_SECONDS)
                continue
            if shown_error:
                self._say("the cluster answers again")
                shown_error = ""
            with self._change:
                self._snapshots, self._listed = snapshots, began
                self._change.notify_all()
            self._stop.wait(POLL_SECONDS)


def read_jobs(api: KubeClient, namespace: str, selector: str) -> dict[str, JobSnapshot]:
    """The Jobs of a selector with their pods, by name."""
    jobs = objects.jobs(api, namespace, selector=selector)
    pods: dict[str, list[Object]] = {}
    for pod in list_pods(api, namespace, selector):
        pods.setdefault(pod["metadata"]["labels"].get(JOB_NAME, ""), []).append(pod)
    by_name = {str(job["metadata"]["name"]): job for job in jobs}
    return {name: JobSnapshot(job, tuple(pods.get(name, ()))) for name, job in by_name.items()}


def list_pods(api: KubeClient, namespace: str, selector: str) -> list[Object]:
    """The pods of a selector, oldest first."""
    pods = list(api.list(kinds.POD, namespace, selector))
    return sorted(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def step_title(job: ObservedJob) -> str:
    """Where a run is, for people: what it waits for, or the step that runs; and which try it is."""
    running = [(pod.container, n) for n, pod in enumerate(job.pods, 1) if pod.state == JobState.RUNNING and pod.container]
    if job.state == JobState.WAITING or not running:
        return job.reason or job.state
    return _title(*running[-1], job.max_tries)


def _title(container: str, number: int, most: int | None) -> str:
    """A step of a run's n-th try, for people: the container ``predict-jax`` is ``predict jax``."""
    name, dash, member = container.partition("-")
    return run_display.step_title(f"{name} {member}" if dash else name, number, most)
