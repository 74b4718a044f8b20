"""Jobs and their pods as they go: looked at again and again by one thread, and told as stages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.cluster import kinds, live
from scheduler.cluster.api import Api
from scheduler.cluster.failures import ClusterError, Forbidden, Refused
from scheduler.cluster.live import Object
from scheduler.cluster.observing import JOB_NAME, observe

LOOK = 1.0
"""Seconds between two looks at the cluster."""
AGAIN = 5.0
"""The same after one that failed."""
SAME = 10.0
"""Seconds after which what has not changed is told again: it may be stuck."""
_CANNOT_PULL = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")


@dataclass(frozen=True)
class Seen:
    """A Job, None once it is gone, and its pods, oldest first."""

    job: Object | None
    pods: tuple[Object, ...] = ()

    @property
    def pod(self) -> Object | None:
        return self.pods[-1] if self.pods else None


class Following:
    """Looks at the Jobs and pods of one selector until it is stopped."""

    def __init__(self, api: Api, namespace: str, selector: str, say: Callable[[str], None]) -> None:
        self._api, self._namespace, self._selector, self._say = api, namespace, selector, say
        self._seen: dict[str, Seen] = {}
        self._looked = -1.0  # when the latest look that was answered began
        self._failed: ClusterError | None = None
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

    def next(self, name: str, since: float, last: Seen | None) -> Seen | None:
        """What is seen of a Job once that is another thing than ``last``, or the same after some seconds.

        Only looks after ``since`` (monotonic) count. None when stopped. Raises the error that looking ended with.
        """
        patient = time.monotonic() + SAME
        with self._change:
            while not self._stop.is_set():
                if self._failed is not None:
                    raise self._failed
                found = self._seen.get(name, Seen(None))
                if self._looked > since and (found != last or time.monotonic() > patient):
                    return found
                self._change.wait(SAME)
        return None

    def _follow(self) -> None:
        said = ""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                seen = look(self._api, self._namespace, self._selector)
            except ClusterError as error:
                if isinstance(error, Refused) and error.status < 500:
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


def look(api: Api, namespace: str, selector: str) -> dict[str, Seen]:
    """The Jobs of a selector with their pods, by name."""
    jobs = live.jobs(api, namespace, selector=selector)
    pods: dict[str, list[Object]] = {}
    for pod in pods_of(api, namespace, selector):
        pods.setdefault(pod["metadata"]["labels"].get(JOB_NAME, ""), []).append(pod)
    return {name: Seen(job, tuple(pods.get(name, ()))) for job in jobs for name in [job["metadata"]["name"]]}


def pods_of(api: Api, namespace: str, selector: str) -> list[Object]:
    """The pods of a selector, oldest first."""
    found = [live.plain(item) for item in api.list(kinds.POD, namespace, selector, decoder=live.decoder())]
    return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def stage(seen: Seen) -> str:
    """Where a run is, for people: waiting for a node, pulling, the step at work, and which try it is."""
    pod = seen.pod
    if pod is None:
        suspended = bool(seen.job and seen.job["spec"].get("suspend"))
        return "waits in its queue" if suspended else "submitted"
    attempt = f" (try {len(seen.pods)})" if len(seen.pods) > 1 else ""
    status = pod["status"]
    if "nodeName" not in pod["spec"]:
        told: list[dict[str, Any]] = status.get("conditions") or []
        why = next((each for each in told if each.get("type") == "PodScheduled"), {})
        return f"waits for a node{attempt}" + (f": {why['message']}" if why.get("message") else "")
    begun = "starts"
    for each in containers(status):
        state = each.get("state") or {}
        if "terminated" in state:
            begun = step(each["name"])
        if "running" in state:
            return f"{step(each['name'])}{attempt}"
        reason = (state.get("waiting") or {}).get("reason", "")
        if reason in _CANNOT_PULL:
            said = (state["waiting"].get("message") or reason).strip()
            return f"cannot pull {each.get('image')}{attempt}: {said}"
        if reason not in ("", "PodInitializing", "ContainerCreating"):
            return f"{step(each['name'])} cannot start{attempt}: {state['waiting'].get('message') or reason}"
    if status.get("phase") == "Failed":
        return f"failed{attempt}, may be tried again"
    return f"{begun}{attempt}"


def step(container: str) -> str:
    """A container's step for people: ``predict-jax`` is ``predict jax``."""
    name, dash, member = container.partition("-")
    return f"{name} {member}" if dash else name


def containers(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The statuses of a pod's containers in the order of their turns."""
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def failure(seen: Seen) -> str:
    """Why a Job failed, by what the cluster tells of it: as the history tells it."""
    told = observe(seen.job, seen.pods) if seen.job is not None else None
    return (told and told.reason) or "its Job failed"


def trouble(api: Api, namespace: str, names: Iterable[str]) -> str:
    """The newest failure that the cluster tells of these objects; empty without one, or where events may not be seen."""
    found: list[dict[str, Any]] = []
    for name in names:
        try:
            items = api.list(kinds.EVENT, namespace, fields=f"involvedObject.name={name},type=Warning")
            found += [dict(each) for each in items if str(each.get("reason", "")).startswith(("Failed", "BackOff"))]
        except Forbidden:
            return ""
    newest = max(found, key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime") or ""), default=None)
    return f"{newest.get('reason')}: {newest.get('message')}" if newest else ""
