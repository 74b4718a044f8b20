"""Jobs and their pods as they go: looked at again and again by one thread, and told as stages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scheduler.history.observed_runs import WAITING, ObservedJob
from scheduler.history.slots import RUNNING
from scheduler.kube import kinds, objects
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import ApiError, KubeError
from scheduler.observe.run_status import JOB_NAME, has_begun, job_status

Object = dict[str, Any]

LOOK = 1.0
"""Seconds between two looks at the cluster."""
AGAIN = 5.0
"""The same after one that failed."""
SAME = 10.0
"""Seconds after which what has not changed is told again: it may be stuck."""


@dataclass(frozen=True)
class JobSnapshot:
    """A Job, None once it is gone, and its pods, oldest first."""

    job: Object | None
    pods: tuple[Object, ...] = ()

    @property
    def seen(self) -> ObservedJob | None:
        """What that says of the run."""
        return job_status(self.job, self.pods) if self.job is not None else None

    @property
    def steps(self) -> list[str]:
        """The steps that have begun, for people, the latest last. One that ended between two looks is among them."""
        return [_nth(container, number) for number, pod in enumerate(self.pods, 1) for container in has_begun(pod)]


class JobWatcher:
    """Looks at the Jobs and pods of one selector until it is stopped."""

    def __init__(self, api: KubeClient, namespace: str, selector: str, say: Callable[[str], None]) -> None:
        self._api, self._namespace, self._selector, self._say = api, namespace, selector, say
        self._seen: dict[str, JobSnapshot] = {}
        self._looked = -1.0  # when the latest look that was answered began
        self._failed: KubeError | None = None
        self._change = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Begin to look, unless that is so already."""
        with self._change:
            if self._thread.ident is None and not self._stop.is_set():
                self._thread.start()

    def stop(self) -> None:
        """Look no more, and wake those that wait."""
        self._stop.set()
        with self._change:
            self._change.notify_all()

    def next(self, name: str, since: float, last: JobSnapshot | None) -> JobSnapshot | None:
        """What is seen of a Job once that is another thing than ``last``, or the same after some seconds.

        Only looks after ``since`` (monotonic) count. None when stopped. Raises the error that looking ended with.
        """
        patient = time.monotonic() + SAME
        with self._change:
            while not self._stop.is_set():
                if self._failed is not None:
                    raise self._failed
                found = self._seen.get(name, JobSnapshot(None))
                if self._looked > since and (found != last or time.monotonic() > patient):
                    return found
                self._change.wait(SAME)
        return None

    def _follow(self) -> None:
        said = ""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                seen = read_jobs(self._api, self._namespace, self._selector)
            except KubeError as error:
                if isinstance(error, ApiError) and error.status < 500:
                    with self._change:
                        self._failed = error
                        self._change.notify_all()
                    return
                if str(error) != said:
                    said = str(error)
                    self._say(f"{said}; what runs there goes on, and is looked at again")
                self._stop.wait(AGAIN)
                continue
            if said:
                self._say("the cluster answers again")
                said = ""
            with self._change:
                self._seen, self._looked = seen, began
                self._change.notify_all()
            self._stop.wait(LOOK)


def read_jobs(api: KubeClient, namespace: str, selector: str) -> dict[str, JobSnapshot]:
    """The Jobs of a selector with their pods, by name."""
    jobs = objects.jobs(api, namespace, selector=selector)
    pods: dict[str, list[Object]] = {}
    for pod in pods_of(api, namespace, selector):
        pods.setdefault(pod["metadata"]["labels"].get(JOB_NAME, ""), []).append(pod)
    names = [(str(job["metadata"]["name"]), job) for job in jobs]
    return {name: JobSnapshot(job, tuple(pods.get(name, ()))) for name, job in names}


def pods_of(api: KubeClient, namespace: str, selector: str) -> list[Object]:
    """The pods of a selector, oldest first."""
    found = list(api.list(kinds.POD, namespace, selector))
    return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def stage(seen: ObservedJob) -> str:
    """Where a run is, for people: what it waits for, or the step at work; and which try it is."""
    at_work = [(each, n) for n, each in enumerate(seen.tries, 1) if each.state == RUNNING and each.container]
    if seen.state == WAITING or not at_work:
        return seen.reason or seen.state
    latest, number = at_work[-1]
    return _nth(latest.container, number)


def _nth(container: str, number: int) -> str:
    """A step of a run's n-th try, for people."""
    return f"{step(container)} (try {number})" if number > 1 else step(container)


def step(container: str) -> str:
    """A container's step for people: ``predict-jax`` is ``predict jax``."""
    name, dash, member = container.partition("-")
    return f"{name} {member}" if dash else name
