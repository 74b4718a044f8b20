"""How one run on a cluster goes, told to a watcher: its stages, what keeps it from going on, its epochs."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from jobs import contract as c
from jobs.store import Store
from scheduler.console.run_display import RunDisplay
from scheduler.errors import CronsembleError
from scheduler.history.observed_runs import WAITING, ObservedJob
from scheduler.history.slots import RUNNING
from scheduler.kube import kinds
from scheduler.kube.client import KubeClient
from scheduler.observe import cluster_state
from scheduler.observe.job_watcher import SAME, JobSnapshot, stage

_EPOCH = re.compile(rb"epoch (\d+)/(\d+): loss (\S+), accuracy (\S+)")


@dataclass
class ProgressReporter:
    """Tells a watcher how one run goes: its stages, what keeps it from going on, its epochs."""

    api: KubeClient
    namespace: str
    store: Store
    watcher: RunDisplay
    label: str
    run: c.RunId
    _told: set[str] = field(default_factory=set)
    _stage: str = ""
    _since: float = 0.0
    _trouble: str = ""
    _pod: str = ""  # whose log is read for epochs

    def report(self, found: JobSnapshot) -> None:
        """What is new of it."""
        seen = found.seen
        assert seen is not None
        text = stage(seen)
        self.passed(found, besides=text)
        at_work = next((each for each in reversed(seen.tries) if each.state == RUNNING), None)
        # Where the store is at hand, the epochs come from its files.
        folder = self.store.try_folder(self.run, at_work.name) if at_work else None
        if folder is not None and not folder.exists():
            folder = None
        if text != self._stage:
            self._now(text)
            self.watcher.stage(self.label, text, folder)
        if at_work is not None and at_work.container == "train" and folder is None and at_work.pod != self._pod:
            self._pod = at_work.pod
            threading.Thread(target=self._epochs, args=(self._pod,), daemon=True).start()
        if seen.state == WAITING and time.monotonic() - self._since > SAME:
            self._warn(found)

    def passed(self, found: JobSnapshot, besides: str = "") -> None:
        """The steps that have begun and were not told yet: some are over between two looks."""
        for text in found.steps:
            if text not in self._told and text != besides:
                self._now(text)
                self.watcher.stage(self.label, text)

    def _now(self, text: str) -> None:
        self._stage, self._since = text, time.monotonic()
        self._told.add(text)

    def _warn(self, found: JobSnapshot) -> None:
        """What keeps it from beginning, by the cluster's events."""
        with suppress(CronsembleError):
            told = observed_once(self.api, self.namespace, found)
            if told is not None and told.reason not in (self._trouble, self._stage):
                self._trouble = told.reason
                self.watcher.say(f"{self.label}: {told.reason}")

    def _epochs(self, pod: str) -> None:
        path = f"{kinds.POD.path(self.namespace, pod)}/log"
        began = time.monotonic()
        with suppress(CronsembleError):  # the stages go on without
            for line in self.api.stream(path, {"container": "train", "follow": "true"}, what="pods/log"):
                found = _EPOCH.search(line)
                if found:
                    now = time.monotonic()
                    epoch, epochs, loss, accuracy = found.groups()
                    event = {"event": "epoch", "epoch": int(epoch), "epochs": int(epochs), "seconds": now - began}
                    self.watcher.event(self.label, {**event, "val_loss": float(loss), "val_accuracy": float(accuracy)})
                    began = now


def observed_once(api: KubeClient, namespace: str, found: JobSnapshot) -> ObservedJob | None:
    """What the cluster tells of a run, with its events; None once its Job is gone."""
    told = cluster_state.observed_jobs(api, namespace, [found.job] if found.job else [], found.pods)
    return told[0] if told else None
