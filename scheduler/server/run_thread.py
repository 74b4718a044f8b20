"""One run under `serve`: a thread that claims its slot and takes it through its steps and tries."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Protocol

from cronjobs.experiment import Experiment, Task
from jobs import contract as c
from jobs.contract import RunKind, slot_text
from jobs.store import LocalStore, Run, Store, snapshot_digests
from jobs.store.files import to_json
from jobs.store.process_identity import process_identity
from scheduler.engines.local import LocalEngine
from scheduler.engines.run_spec import runtimes_needed, task_spec
from scheduler.runtimes.runtime import find_runtimes
from scheduler.server.journal import ExperimentJournal
from scheduler.server.metrics import Metrics
from scheduler.times import format_time


@dataclass(frozen=True)
class RunEnded:
    """What a run's thread reports to the loop. Without a run, the slot has one already, or ``trouble`` kept it from starting."""

    task: str
    minute: int
    run: Run | None
    trouble: str = ""


class RunHost(Protocol):
    """What a run's thread needs of the experiment that it belongs to."""

    name: str
    experiment: Experiment
    store: LocalStore
    engine: LocalEngine
    journal: ExperimentJournal
    metrics: Metrics

    @property
    def folder(self) -> Path:
        """Where relative data paths begin."""

    def report(self, ended: RunEnded) -> None:
        """Have the loop know that a thread has ended; called by that thread."""


class RunThread(threading.Thread):
    """Claims one slot's run and takes it to its end.

    ``replaced`` are the threads of the task's earlier runs that this one ends; ``resumed`` is a run that goes on, which is
    not claimed again. ``run_id`` is the run, once there is one.
    """

    def __init__(
        self,
        host: RunHost,
        task: str,
        settings: Task,
        resolved: dict[str, Any],
        minute: int,
        replaced: tuple[RunThread, ...],
        resumed: c.RunId | None,
    ) -> None:
        super().__init__(name=f"{task} {minute}", daemon=True)
        self.host, self.task, self.settings, self.resolved = host, task, settings, resolved
        self.minute, self.replaced, self.run_id = minute, replaced, resumed
        self._stop_reason = ""

    def stop_run(self, reason: str) -> None:
        """End its run, now or as soon as it has one."""
        self._stop_reason = reason
        if self.run_id is not None:
            self.host.engine.stop_run(self.run_id, reason)

    def run(self) -> None:
        """Until the run has ended; what went wrong is reported and ends no other run."""
        host = self.host
        result, trouble = None, ""
        try:
            result = self._make_run()
        except OSError as error:
            trouble = f"{error.filename or host.store.root}: {error.strerror}"
        except Exception as error:  # a bug must be reported
            trouble = f"{type(error).__name__}: {error}"
        if trouble and self.run_id is not None:
            host.journal.write("trouble", f"{self.run_id}: {trouble}", task=self.task, run=str(self.run_id))
        host.report(RunEnded(self.task, self.minute, result, trouble if self.run_id is None else ""))

    def _make_run(self) -> Run | None:
        """The run, ended; None if the slot has its run already. Raises OSError if the store cannot be written."""
        host, is_resumed = self.host, self.run_id is not None
        for thread in self.replaced:
            thread.stop_run(f"replaced by the run of {slot_text(self.minute)} (concurrency: replace)")
        resolved = self._resolved_when_begun() if is_resumed else self.resolved
        if self.run_id is None:
            self.run_id = self._claim(resolved)
            with suppress(OSError):  # the prepare step keeps it too
                host.store.put_snapshot("task", to_json(resolved))
        if self.run_id is None:
            return None
        if self._stop_reason:
            host.engine.stop_run(self.run_id, self._stop_reason)
        runtimes = find_runtimes(host.experiment, runtimes_needed(resolved), host.journal.say)
        spec = task_spec(resolved, self.settings, host.folder, runtimes, self.minute, RunKind.SCHEDULED)
        if is_resumed:
            spec = replace(spec, deadline=self._seconds_left())
        return host.engine.run(spec, self.run_id)

    def _resolved_when_begun(self) -> dict[str, Any]:
        """The task of a run that goes on, as it was begun."""
        store = self.host.store
        assert self.run_id is not None
        return store.task_configuration({"snapshot": _snapshot(store, store.read(self.run_id))}) or self.resolved

    def _seconds_left(self) -> int:
        """The seconds that are left of the deadline of a run that goes on."""
        assert self.run_id is not None
        origin = run_origin(self.host.store, self.host.store.read(self.run_id))
        return max(1, int(origin.time + self.settings.deadline - time.time()))

    def _claim(self, resolved: dict[str, Any]) -> c.RunId | None:
        """The slot's first attempt, or the next after manual ones; None if the slot has its run already."""
        host = self.host
        mark = {
            "kind": RunKind.SCHEDULED,
            "time": format_time(time.time(), milliseconds=True),
            "process": process_identity(),
            "snapshot": snapshot_digests(resolved),
        }
        attempt = 1
        while True:
            run = c.RunId(self.minute, attempt, host.name, self.task)
            if host.store.claim_attempt(run, mark):
                delay = time.time() - self.minute * 60
                host.metrics.claim_lag.labels(host.name).observe(delay)
                host.journal.write("begun", f"{run} started, {delay:.1f} s after its minute", task=self.task, run=str(run))
                return run
            if run_origin(host.store, host.store.read(run)).kind != RunKind.MANUAL:
                host.journal.write("had", f"{run} exists already and is not run twice", task=self.task, run=str(run))
                return None
            attempt += 1


@dataclass(frozen=True)
class RunOrigin:
    """A run's kind, when it was begun in seconds since 1970 (-inf: unknown), and the process that makes it."""

    kind: str
    time: float
    process: dict[str, Any]


def run_origin(store: Store, run: Run) -> RunOrigin:
    """Where a run comes from: by its claim, else by its first try; the process is that of the newest try."""
    start_marks = [attempt["start"] for attempt in run.tries]
    mark = store.claim_of(run.id) or next(iter(start_marks), {})
    kind = str(run.record.get("kind") or mark.get("kind") or RunKind.SCHEDULED)
    begun = c.parse_time(mark.get("time"))
    return RunOrigin(
        kind, -inf if begun is None else begun, dict((start_marks[-1] if start_marks else mark).get("process") or {})
    )


def _snapshot(store: Store, run: Run) -> dict[str, Any]:
    start_marks = [attempt["start"] for attempt in reversed(run.tries)]
    snapshots = [mark["snapshot"] for mark in (*start_marks, store.claim_of(run.id) or {}) if mark.get("snapshot")]
    return dict(next(iter(snapshots), {}))
