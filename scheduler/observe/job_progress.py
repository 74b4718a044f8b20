"""Reports the progress of one run on a cluster to an observer: its steps, what keeps it from going on, its epochs."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from jobs import contract as c
from jobs.store import Store
from scheduler.console.run_display import RunObserver
from scheduler.errors import CronsembleError
from scheduler.history.observed_runs import JobState, ObservedJob
from scheduler.kube import kinds
from scheduler.kube.client import KubeClient
from scheduler.observe import cluster_state
from scheduler.observe.job_watcher import REPEAT_SECONDS, JobSnapshot, step_title

_NOTICE = re.compile(rb"cronsemble: (.+)")
_EPOCH = re.compile(rb"epoch (\d+)/(\d+): loss (\S+), accuracy (\S+)")


@dataclass
class ProgressReporter:
    """Reports one run to an observer from the snapshots of its Job; ``label`` is what the observer calls it."""

    api: KubeClient
    namespace: str
    store: Store
    observer: RunObserver
    label: str
    run: c.RunId
    _reported: set[str] = field(default_factory=set)
    _step: str = ""
    _step_since: float = 0.0  # monotonic
    _hindrance: str = ""
    _followed_pod: str = ""  # whose logs are read

    def report(self, snapshot: JobSnapshot) -> None:
        """Report what is new in a snapshot, whose Job must be there."""
        job = snapshot.status
        assert job is not None
        step = step_title(job)
        self.report_steps(snapshot, current=step)
        pod = next((pod for pod in reversed(job.pods) if pod.state == JobState.RUNNING), None)
        # Where the store is at hand, the epochs come from its files.
        folder = self.store.try_folder(self.run, pod.uid) if pod else None
        if folder is not None and not folder.exists():
            folder = None
        if step != self._step:
            self._begin(step)
            self.observer.stage(self.label, step, folder)
        if pod is not None and pod.container == "train" and folder is None and pod.name != self._followed_pod:
            self._followed_pod = pod.name
            threading.Thread(target=self.report_logs, args=(pod.name,), daemon=True).start()
        if job.state == JobState.WAITING and time.monotonic() - self._step_since > REPEAT_SECONDS:
            self._report_hindrance(snapshot)

    def report_steps(self, snapshot: JobSnapshot, current: str = "") -> None:
        """Report the steps that have started and were not reported yet: some are over between two snapshots."""
        for step in snapshot.started_steps:
            if step not in self._reported and step != current:
                self._begin(step)
                self.observer.stage(self.label, step)

    def _begin(self, step: str) -> None:
        self._step, self._step_since = step, time.monotonic()
        self._reported.add(step)

    def _report_hindrance(self, snapshot: JobSnapshot) -> None:
        """Report what keeps it from starting, by the cluster's events."""
        with suppress(CronsembleError):
            job = status_with_events(self.api, self.namespace, snapshot)
            if job is not None and job.reason not in (self._hindrance, self._step):
                self._hindrance = job.reason
                self.observer.say(f"{self.label}: {job.reason}")

    def report_logs(self, pod: str) -> None:
        """Report what a pod's log of its data says to know, and then its epochs until they end."""
        path = f"{kinds.POD.path(self.namespace, pod)}/log"
        with suppress(CronsembleError):
            for line in self.api.stream(path, {"container": "prepare"}, what="pods/log", is_log=True):
                if match := _NOTICE.fullmatch(line.strip()):
                    text = match[1].decode(errors="replace")
                    self.observer.event(self.label, {"event": "notice", "text": text, "shared": True})
        epoch_start = time.monotonic()
        with suppress(CronsembleError):  # the steps are reported all the same
            for line in self.api.stream(path, {"container": "train", "follow": "true"}, what="pods/log", is_log=True):
                match = _EPOCH.search(line)
                if match:
                    now = time.monotonic()
                    epoch, epochs, loss, accuracy = match.groups()
                    event = {"event": "epoch", "epoch": int(epoch), "epochs": int(epochs), "seconds": now - epoch_start}
                    self.observer.event(self.label, {**event, "val_loss": float(loss), "val_accuracy": float(accuracy)})
                    epoch_start = now


def status_with_events(api: KubeClient, namespace: str, snapshot: JobSnapshot) -> ObservedJob | None:
    """What the cluster shows of a run, with its events; None once its Job is gone."""
    jobs = cluster_state.observed_jobs(api, namespace, [snapshot.job] if snapshot.job else [], snapshot.pods)
    return jobs[0] if jobs else None
