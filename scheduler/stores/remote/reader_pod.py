"""The reader pod: created when a store is first read, waited for (with the reason when it does not start), and removed."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

from cronjobs.experiment import Experiment
from cronjobs.objects import labels
from cronjobs.objects.pods import STORE
from cronjobs.objects.reader_pod import ALIVE, CONTAINER, IDLE, reader_pod, serving
from cronjobs.objects.volumes import ObjectsError
from scheduler.identity import current_user
from scheduler.kube import kinds
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import Forbidden, KubeError, NotFound
from scheduler.kube.exec import ExecStream
from scheduler.signals import raise_if_stopped
from scheduler.snapshots.program import build_program
from scheduler.stores.remote.client import StoreClient

START_TIMEOUT = 180.0
"""Seconds that the pod may take to start: a node may have to fetch the image first."""
SCHEDULING_TIMEOUT = 30.0
"""Seconds in which a node must be found for it."""
NODE_TIMEOUT = 15.0
"""Seconds in which a node's kubelet must take it: one that works writes so at once, whatever it has to fetch."""
REMOVAL_TIMEOUT = 5.0
"""Seconds in which its removal must be answered: else it ends by itself."""
QUIET_PERIOD = 3.0
"""Seconds between two times that it is said what the pod waits for."""
_PERMANENT = (
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
)
"""Reasons of a waiting container that do not go away."""

Say = Callable[[str], None]


class PodUnavailable(KubeError):
    """The pod does not start now, and may another time: no node is free for it, or the node does not answer."""


class ReaderPod:
    """The reader pod of an experiment's store, started by the first ``open``."""

    def __init__(self, api: KubeClient, experiment: Experiment, say: Say) -> None:
        self._api, self._experiment, self._say = api, experiment, say
        self._namespace = experiment.cluster.namespace
        self._pod: dict[str, Any] | None = None
        self._program = build_program()
        self.idle_timeout = _parse_seconds("CRONSEMBLE_READER_IDLE", IDLE)
        """Seconds without a message after which the pod ends."""
        # Where nodes are made when they are needed, it takes minutes until there is one.
        self._timeouts = [
            _parse_seconds("CRONSEMBLE_READER_START", seconds) for seconds in (START_TIMEOUT, SCHEDULING_TIMEOUT, NODE_TIMEOUT)
        ]
        self.seconds: dict[str, float] = {}
        """What the latest ``open`` took: ``pod`` to run, ``session`` until the program answered."""

    def open(self) -> StoreClient:
        """A connection to the program beside the store; raises KubeError, which says why there is none."""
        self._began = time.monotonic()
        if self._pod is not None and self._is_running():
            return self._connect(str(self._pod["metadata"]["name"]))
        return self._start()

    def _connect(self, name: str) -> StoreClient:
        ready = time.monotonic()
        command = serving("serve-store", STORE, ALIVE)
        client = StoreClient(ExecStream(self._api, self._namespace, name, CONTAINER, command), f"pod {name}", self._program)
        self.seconds = {"pod": ready - self._began, "session": time.monotonic() - ready}
        return client

    def close(self) -> None:
        """Remove the pod, and those of others that have ended or never started."""
        pod, self._pod = self._pod, None
        if pod is None:
            return
        # Not for long, also where nobody answers any more: Ctrl-C comes here too.
        with KubeClient(self._api.access, REMOVAL_TIMEOUT, REMOVAL_TIMEOUT) as api:
            if self._remove(pod, api):
                self._remove_abandoned(api)

    def _is_running(self) -> bool:
        assert self._pod is not None
        try:
            pod = self._api.get(kinds.POD, self._namespace, self._pod["metadata"]["name"])
        except NotFound:
            return False
        if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
            return True
        self._remove(pod, self._api)
        return False

    def _start(self) -> StoreClient:
        name = f"cronsemble-reader-{secrets.token_hex(4)}"
        self._say(f"starting the reader pod {name}…")
        try:
            body = reader_pod(self._experiment, name, current_user(), self.idle_timeout)
        except ObjectsError as error:
            raise KubeError(f"{self._experiment.path}: {error}") from error
        try:
            self._pod = self._api.create(kinds.POD, self._namespace, body)
        except NotFound as error:
            raise KubeError(f"namespace {self._namespace}: not found: is it the right cluster, and has sync made it?") from error
        try:
            return self._wait(name)
        except BaseException:
            self.close()
            raise

    def _wait(self, name: str) -> StoreClient:
        """The first connection that succeeds: the kubelet runs a container for a second before its status says so."""
        start_timeout, scheduling_timeout, node_timeout = self._timeouts
        began, bound = time.monotonic(), inf
        quiet_until = began + QUIET_PERIOD
        pause, pull_error, reported = 0.05, "", ""
        while True:
            raise_if_stopped()
            pod = self._api.get(kinds.POD, self._namespace, name)
            status = pod["status"]
            container: dict[str, Any] = next(iter(status.get("containerStatuses") or []), {})
            waiting = (container.get("state") or {}).get("waiting") or {}
            is_running = "running" in (container.get("state") or {})
            if "nodeName" in pod["spec"]:
                bound = min(bound, time.monotonic())
                try:
                    return self._connect(name)
                except Forbidden:
                    raise
                except KubeError:
                    if is_running:
                        raise
            if waiting.get("reason") == "ErrImagePull":
                pull_error = str(waiting.get("message") or "")
            if waiting.get("reason") in _PERMANENT:
                raise self._failed(name, f"{waiting['reason']}: {pull_error or waiting.get('message') or ''}")
            if status.get("phase") in ("Failed", "Succeeded"):
                raise self._failed(name, _exit_reason(status, container))
            reason = _scheduling_problem(status)
            # One that is not bound yet may still be; the scheduler's words for that end in "not found" too.
            if re.search(r'persistentvolumeclaim "[^"]*" not found', reason):
                raise self._failed(name, reason)
            now = time.monotonic()
            if now > quiet_until:
                reason = reason or self._latest_warning(name) or str(waiting.get("reason") or "")
                if bound < now and not _is_taken(status):
                    reason = f"node {pod['spec']['nodeName']} has not taken it: does its kubelet run?"
                if reason and reason != reported:
                    self._say(f"the reader pod {name} is waiting: {reason}")
                    reported = reason
                quiet_until = now + QUIET_PERIOD
            if now > bound + node_timeout and not _is_taken(status):
                node = pod["spec"]["nodeName"]
                raise self._unavailable(name, f"node {node} did not take it in {node_timeout:.0f} s: does its kubelet run?")
            if now > (began + scheduling_timeout if bound == inf else bound + start_timeout):
                reason = reason or self._latest_warning(name) or "no reason is known"
                seconds = scheduling_timeout if bound == inf else now - began
                raise self._unavailable(name, f"it did not start in {seconds:.0f} s: {reason}")
            time.sleep(pause)
            pause = min(pause * 1.2, 0.5)

    def _failed(self, name: str, reason: str) -> KubeError:
        return KubeError(self._failure(name, reason))

    def _unavailable(self, name: str, reason: str) -> PodUnavailable:
        return PodUnavailable(self._failure(name, reason))

    def _failure(self, name: str, reason: str) -> str:
        return f"the reader pod {name} in namespace {self._namespace} cannot start: {' '.join(reason.split())[:600]}"

    def _latest_warning(self, name: str) -> str:
        """The newest warning event of the pod, as far as we may read events."""
        try:
            events = list(self._api.list(kinds.EVENT, self._namespace, fields=f"involvedObject.name={name},type=Warning"))
        except KubeError:
            return ""
        newest = max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), default=None)
        return "" if newest is None else f"{newest.get('reason')}: {newest.get('message')}"

    def _remove(self, pod: dict[str, Any], api: KubeClient) -> bool:
        """Whether it is gone, or soon will be."""
        metadata = pod["metadata"]
        try:
            api.delete(kinds.POD, self._namespace, metadata["name"], metadata["uid"])
        except NotFound:
            pass
        except KubeError as error:
            self._say(f"the reader pod {metadata['name']} ends by itself in {self.idle_timeout:.0f} s: {error}")
            return False
        return True

    def _remove_abandoned(self, api: KubeClient) -> None:
        """Without the permission to list pods they stay until somebody else removes them."""
        try:
            pods = list(api.list(kinds.POD, self._namespace, f"{labels.SELECTOR},{labels.COMPONENT}={labels.READER}"))
            oldest_start = api.now() - timedelta(minutes=10)
        except (Forbidden, KubeError):
            return
        for pod in pods:
            phase = pod["status"].get("phase")
            created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).astimezone(UTC)
            if phase in ("Succeeded", "Failed") or (phase == "Pending" and created < oldest_start):
                self._remove(pod, api)


def _scheduling_problem(status: dict[str, Any]) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "")
    return ""


def _exit_reason(status: dict[str, Any], container: dict[str, Any]) -> str:
    terminated = (container.get("state") or {}).get("terminated") or {}
    if terminated:
        return f"it ended at once with {terminated.get('exitCode')}: {terminated.get('reason')} {terminated.get('message') or ''}"
    return f"{status.get('reason') or status.get('phase')}: {status.get('message') or ''}"


def _is_taken(status: dict[str, Any]) -> bool:
    """Whether a kubelet has written anything of the pod."""
    return bool(status.get("startTime") or status.get("containerStatuses"))


def _parse_seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    try:
        return max(float(text or default), 1.0)
    except ValueError as error:
        raise KubeError(f"{variable}={text}: type a number of seconds, e.g. 60") from error
