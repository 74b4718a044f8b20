"""The making of one run under `serve`: a thread that claims the slot and takes its run to the end."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any

from cronjobs.experiment import Task
from jobs import contract as c
from jobs.contract import RunKind
from jobs.store import Run, Store, snapshot_digests
from jobs.store.files import to_json
from jobs.store.process_identity import process_identity
from scheduler.engines.run_spec import runtimes_needed, task_spec
from scheduler.runtimes.runtime import find_runtimes

if TYPE_CHECKING:
    from scheduler.server.experiment import ServedExperiment


@dataclass(frozen=True)
class RunEnded:
    """What a run's thread tells the loop; without a run, the slot could not be begun, for ``trouble`` or because it has one."""

    task: str
    minute: int
    run: Run | None
    trouble: str = ""


class RunThread(threading.Thread):
    """Claims one slot's run and takes it to its end."""

    def __init__(
        self,
        served: ServedExperiment,
        task: str,
        spec: Task,
        resolved: dict[str, Any],
        minute: int,
        replaced: tuple[RunThread, ...],
        resumed: c.RunId | None,
    ) -> None:
        super().__init__(name=f"{task} {minute}", daemon=True)
        self.served, self.task, self.spec, self.resolved = served, task, spec, resolved
        self.minute, self.replaced, self.run_id = minute, replaced, resumed
        self._gives_way = ""

    def give_way(self, reason: str) -> None:
        """End its run, now or as soon as it has one."""
        self._gives_way = reason
        if self.run_id is not None:
            self.served.engine.end(self.run_id, reason)

    def run(self) -> None:
        served = self.served
        result, trouble, resumed = None, "", self.run_id is not None
        try:
            for each in self.replaced:
                each.give_way(f"replaced by the run of {slot_name(self.minute)} (concurrency: replace)")
            resolved = self._resolved() if resumed else self.resolved
            if self.run_id is None:
                self.run_id = self._claim(resolved)
                with suppress(OSError):  # the prepare step keeps it too
                    served.store.put_snapshot("task", to_json(resolved))
            if self.run_id is not None and self._gives_way:
                served.engine.end(self.run_id, self._gives_way)
            if self.run_id is not None:
                runtimes = find_runtimes(served.experiment, runtimes_needed(resolved), served.journal.say)
                order = task_spec(resolved, self.spec, served.folder, runtimes, self.minute, "scheduled")
                if resumed:
                    order = replace(order, deadline=self._left())
                result = served.engine.run(order, self.run_id)
        except OSError as error:
            trouble = f"{error.filename or served.store.root}: {error.strerror}"
        except Exception as error:  # a fault of ours must not end the other runs, and must be seen
            trouble = f"{type(error).__name__}: {error}"
        if trouble and self.run_id is not None:
            served.journal.write("trouble", f"{self.run_id}: {trouble}", task=self.task, run=str(self.run_id))
        served.tell(served, RunEnded(self.task, self.minute, result, trouble if self.run_id is None else ""))

    def _resolved(self) -> dict[str, Any]:
        """The task of a run that goes on, as it was begun."""
        store = self.served.store
        assert self.run_id is not None
        return store.task_configuration({"snapshot": _snapshot(store, store.read(self.run_id))}) or self.resolved

    def _left(self) -> int:
        """Seconds that are left of the deadline of a run that goes on."""
        assert self.run_id is not None
        begun = runs_begun_by(self.served.store, self.served.store.read(self.run_id))[1]
        return max(1, int(begun + self.spec.deadline - datetime.now(UTC).timestamp()))

    def _claim(self, resolved: dict[str, Any]) -> c.RunId | None:
        """The slot's first attempt, or the next after manual ones; None if the slot has its run already."""
        served = self.served
        mark = {"kind": RunKind.SCHEDULED, "time": iso(datetime.now(UTC).timestamp()), "process": process_identity()}
        attempt = 1
        while True:
            run = c.RunId(self.minute, attempt, served.name, self.task)
            if served.store.claim_attempt(run, {**mark, "snapshot": snapshot_digests(resolved)}):
                late = datetime.now(UTC).timestamp() - self.minute * 60
                served.metrics.lag.labels(served.name).observe(late)
                served.journal.write("begun", f"{run} begun, {late:.1f} s after its minute", task=self.task, run=str(run))
                return run
            if runs_begun_by(served.store, served.store.read(run))[0] != "manual":
                served.journal.write("had", f"{run} is there already: nothing is run twice", task=self.task, run=str(run))
                return None
            attempt += 1


def runs_begun_by(store: Store, run: Run) -> tuple[str, float, dict[str, Any]]:
    """A run's kind, when it was begun, and by which process: by its first try, else by its claim."""
    marks = [each["start"] for each in run.tries]
    mark = store.claim_of(run.id) or next(iter(marks), {})
    kind = str(run.record.get("kind") or mark.get("kind") or "scheduled")
    try:
        begun = datetime.fromisoformat(str(mark.get("time"))).timestamp()
    except ValueError:
        begun = -inf
    return kind, begun, dict((marks[-1] if marks else mark).get("process") or {})


def _snapshot(store: Store, run: Run) -> dict[str, Any]:
    marks = [each["start"] for each in reversed(run.tries)]
    return dict(
        next((mark["snapshot"] for mark in marks if "snapshot" in mark), (store.claim_of(run.id) or {}).get("snapshot", {}))
    )


def slot_name(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%MZ")


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
