"""One run under `serve`: a thread that claims its slot and takes it through its steps and tries."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from cronjobs.experiment import Experiment, Task
from jobs import contract as c
from jobs.contract import RunKind, slot_text
from jobs.store import LocalStore, Run, Store
from jobs.store.files import to_json
from jobs.store.open_runs import run_origin, seconds_until_try
from jobs.store.tries import failed_tries
from scheduler.engines.local import LocalEngine
from scheduler.engines.member_wait import wait_for_members
from scheduler.engines.run_spec import runtimes_needed, task_spec
from scheduler.runtimes.runtime import find_runtimes
from scheduler.server.claim_order import ClaimOrder
from scheduler.server.heartbeat import PingingObserver, RunPings, ServedHeartbeat
from scheduler.server.journal import ExperimentJournal
from scheduler.server.metrics import Metrics
from scheduler.times import format_time


@dataclass(frozen=True)
class RunEnded:
    """What a run's thread reports to the loop. Without a run, the slot has one already, or ``trouble`` kept it from starting.

    ``is_open``: the run could not go on yet, for its next try could not be claimed.
    """

    task: str
    minute: int
    run: Run | None
    trouble: str = ""
    is_open: bool = False


class RunHost(Protocol):
    """What a run's thread needs of the experiment that it belongs to."""

    name: str
    experiment: Experiment
    store: LocalStore
    engine: LocalEngine
    journal: ExperimentJournal
    metrics: Metrics
    claims: ClaimOrder
    heartbeat: ServedHeartbeat
    observer: PingingObserver
    identity: dict[str, Any]
    """This process."""

    @property
    def folder(self) -> Path:
        """Where relative data paths begin."""

    def report(self, ended: RunEnded) -> None:
        """Have the loop know that a thread has ended; called by that thread."""


class RunThread(threading.Thread):
    """Claims one slot's run and takes it to its end.

    ``replaced`` are the threads of the task's earlier runs that this one ends; ``resumed`` is a run that goes on, as it was
    when that was decided: only its next try is claimed. ``run_id`` is the run, once there is one.
    """

    def __init__(
        self,
        host: RunHost,
        task: str,
        settings: Task,
        resolved: dict[str, Any],
        snapshot: dict[str, str],
        minute: int,
        replaced: tuple[RunThread, ...],
        resumed: Run | None,
    ) -> None:
        super().__init__(name=f"{task} {minute}", daemon=True)
        self.host, self.task, self.settings, self.resolved = host, task, settings, resolved
        self.snapshot, self.minute, self.replaced, self.resumed = snapshot, minute, replaced, resumed
        self.run_id = None if resumed is None else resumed.id
        self._stop_reason = ""
        self._has_claim = False
        self._pings: RunPings | None = None

    def stop_run(self, reason: str) -> None:
        """End its run, now or as soon as it has one."""
        self._stop_reason = reason
        if self.run_id is not None:
            self.host.engine.stop_run(self.run_id, reason)

    def run(self) -> None:
        """Until the run has ended; what went wrong is reported and ends no other run."""
        host = self.host
        result, trouble, is_open = None, "", False
        try:
            result = self._make_run()
        except Exception as error:  # no disk, no memory, or a bug: that is how its try ends
            trouble = str(host.engine.describe_failure(error)["reason"])
            if self.run_id is not None:
                host.journal.write("trouble", f"{self.run_id}: {trouble}", task=self.task, run=str(self.run_id))
            if self.resumed is not None and not self._has_claim:
                result, is_open = self.resumed, True
            elif self.run_id is not None:
                host.engine.record_failure(self.run_id, RunKind.SCHEDULED, self.settings.retries, error)
                result = host.engine.read_end(self.run_id)
                host.journal.done(self.task, result)
        if self.run_id is not None:
            host.observer.pings.pop(self.run_id, None)
        host.report(RunEnded(self.task, self.minute, result, trouble if self.run_id is None else "", is_open))
        if self._pings is not None:
            # Last: nothing waits for a server of its.
            self._pings.ended(None if is_open else result)

    def _make_run(self) -> Run | None:
        """The run, ended; None if the slot has its run already. Raises OSError if the store cannot be written."""
        host = self.host
        with host.claims.claim():
            for thread in self.replaced:
                thread.stop_run(f"replaced by the run of {slot_text(self.minute)} (concurrency: replace)")
            is_claimed = self._claim_try(self.resumed) if self.resumed is not None else self._claim()
        host.claims.wait_for_others()
        if is_claimed and self.run_id is not None:
            self._pings = host.heartbeat.pings(host.experiment, self.run_id, self.settings.env)
            if self._pings is not None:
                host.observer.pings[self.run_id] = self._pings
                self._pings.began()
        if self.resumed is not None:
            return self._resume(self.resumed) if is_claimed else host.store.read(self.resumed.id)
        if not is_claimed or self.run_id is None:
            return None
        resolved = self.resolved
        with suppress(OSError):  # the prepare step keeps it too
            host.store.put_snapshot("task", to_json(resolved))
        if self._stop_reason:
            host.engine.stop_run(self.run_id, self._stop_reason)
        runtimes = find_runtimes(host.experiment, runtimes_needed(resolved), host.journal.say)
        spec = task_spec(resolved, self.settings, host.folder, runtimes, self.minute, RunKind.SCHEDULED)
        wait_for_members(host.engine, self.run_id, resolved, spec.kind, host.journal)
        return host.engine.run(spec, self.run_id)

    def _claim_try(self, run: Run) -> bool:
        """Claim the next try of a run that goes on; False if another process has claimed it."""
        host = self.host
        mark = {"kind": RunKind.SCHEDULED, "time": format_time(time.time(), milliseconds=True), "process": host.identity}
        self._has_claim = host.store.claim_try(run.id, run.last_claim + 1, mark)
        if not self._has_claim:
            host.journal.write("had", f"{run.id}: another process makes its next try", task=self.task, run=str(run.id))
        return self._has_claim

    def _resume(self, run: Run) -> Run | None:
        """The run that goes on, whose next try is claimed, ended."""
        host, number = self.host, run.last_claim + 1
        # As it was begun.
        resolved = host.store.task_configuration({"snapshot": _snapshot(host.store, run)}) or self.resolved
        runtimes = find_runtimes(host.experiment, runtimes_needed(resolved), host.journal.say)
        spec = task_spec(resolved, self.settings, host.folder, runtimes, self.minute, RunKind.SCHEDULED)
        wait_for_members(host.engine, run.id, resolved, spec.kind, host.journal)
        # Its deadline is that of what it does after its wait.
        began = max(run_origin(run).time, c.parse_time(host.store.wait_of(run.id).get("ended")) or 0.0)
        left = max(1, int(began + self.settings.deadline - time.time()))
        spec = replace(spec, deadline=left, retries=spec.retries if run.retries is None else run.retries)
        delay = seconds_until_try(run, host.engine.back_off(max(1, failed_tries(run.tries))), time.time())
        return host.engine.run(spec, run.id, number, delay)

    def _claim(self) -> bool:
        """Claim the slot's first attempt, or the next after manual ones; False if the slot has its run already."""
        host = self.host
        mark = {
            "kind": RunKind.SCHEDULED,
            "time": format_time(time.time(), milliseconds=True),
            "process": host.identity,
            "snapshot": self.snapshot,
        }
        attempt = 1
        while True:
            run = c.RunId(self.minute, attempt, host.name, self.task)
            if host.store.claim_attempt(run, mark):
                delay = time.time() - self.minute * 60
                host.metrics.claim_lag.labels(host.name).observe(delay)
                host.journal.write("begun", f"{run} started, {delay:.1f} s after its minute", task=self.task, run=str(run))
                self.run_id = run
                return True
            existing = host.store.read(run)
            if existing.next_claim.get("process") == mark["process"] and existing.last_claim == 1:
                # An earlier attempt to claim it succeeded, and then raised: no other thread of this process has this slot.
                self.run_id = run
                return True
            if run_origin(existing).kind != RunKind.MANUAL:
                host.journal.write("had", f"{run} exists already and is not run twice", task=self.task, run=str(run))
                return False
            attempt += 1


def _snapshot(store: Store, run: Run) -> dict[str, Any]:
    start_marks = [attempt["start"] for attempt in reversed(run.tries)]
    snapshots = [mark["snapshot"] for mark in (*start_marks, store.claim_of(run.id) or {}) if mark.get("snapshot")]
    return dict(next(iter(snapshots), {}))
