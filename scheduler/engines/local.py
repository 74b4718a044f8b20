"""The local engine: takes runs through their steps and tries on this machine, within a CPU budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar

from cronjobs.experiment import Experiment
from cronjobs.revisions.revisions import MANUAL
from cronjobs.tasks import ExperimentContext
from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store import LocalStore, Run, snapshot_digests
from jobs.store.files import publish_bytes, to_json
from jobs.store.process_identity import process_identity
from scheduler.console.run_display import RunObserver
from scheduler.engines import local_revisions
from scheduler.engines.run_spec import RunSpec
from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes import recorded
from scheduler.runtimes.runtime import Runtime, find_runtimes
from scheduler.times import format_time

KILL_AFTER = 3.5
"""Seconds after which a process that was asked to stop is killed; children have 2 s of their own."""


class CpuBudget:
    """A number of CPUs that tasks take from and give back; one that wants more than all gets all."""

    def __init__(self, cpus: int) -> None:
        self._all = self._free = cpus
        self._change = threading.Condition()

    @contextmanager
    def taken(self, cpus: int, stopped: Callable[[], bool]) -> Iterator[None]:
        """Waits until the CPUs are free or ``stopped``, and has them within the block."""
        cpus = min(cpus, self._all)
        with self._change:
            self._change.wait_for(lambda: self._free >= cpus or stopped())
            self._free -= cpus
        try:
            yield
        finally:
            with self._change:
                self._free += cpus
                self._change.notify_all()

    def wake(self) -> None:
        """Have those that wait look again whether they are stopped."""
        with self._change:
            self._change.notify_all()


@dataclass
class LocalEngine:
    """Makes runs in one store. Runs may be carried out by several threads at once.

    ``back_off`` gives the seconds between a failed try, counted from 1, and the next.
    """

    outlives: ClassVar[bool] = False
    store: LocalStore
    observer: RunObserver
    budget: CpuBudget
    back_off: Callable[[int], float] = lambda _: 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _ending: dict[c.RunId, str] = field(default_factory=dict)  # runs that are to stop, and why
    _live: dict[subprocess.Popen[bytes], tuple[Runtime, str, c.RunId]] = field(default_factory=dict)
    _tries: dict[c.RunId, Path] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pause: threading.Condition = field(default_factory=threading.Condition)
    _preparing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def store_snapshot(self, kind: str, data: bytes) -> str:
        return self.store.put_snapshot(kind, data)

    def record_start(self, context: ExperimentContext, now: datetime) -> None:
        self.store.repair_archives(context.experiment.name)
        local_revisions.record_revision(self.store, context, MANUAL, now)

    def runtimes(self, experiment: Experiment, names: Iterable[str]) -> dict[str, Runtime | RuntimeUnavailable]:
        return find_runtimes(experiment, names, self.observer.say)

    def problems(self, run: Run) -> tuple[list[str], list[str]]:
        return recorded.environment_problems(run)

    def runtime_of(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        return recorded.recorded_runtime(run, task, self.observer.say)

    def fallback_runtime(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        return Runtime("host", python=sys.executable)

    def claim(self, run: c.RunId, kind: str) -> bool:
        mark = {"kind": kind, "time": _current_time(), "process": process_identity()}
        return self.store.claim_attempt(run, mark)

    def run(self, order: RunSpec, claimed: c.RunId | None = None) -> Run | None:
        """Make the run, in the slot's next free attempt unless one was claimed; None if stopped before its turn came.

        A claimed run may have had tries: those that failed count as such, those that were interrupted do not.
        """
        run, task = claimed, str(order.task["task"])
        problem = ""
        failed = 0 if run is None else sum(_counts(each) for each in self.store.read(run).tries)
        ends = time.monotonic() + order.deadline
        while True:
            self.observer.stage(order.label, "waiting")
            with self.budget.taken(order.threads, partial(self._is_over, run)):
                if self._is_over(run):
                    break
                if run is not None and self.store.cancelled(run) is not None:
                    break
                if run is None:
                    run = self.store.claim(order.task["experiment"], task, order.minute)
                    ends = time.monotonic() + order.deadline
                try:
                    code = self._try(order, run, ends)
                except OSError as error:  # a full disk, or a store that went away
                    code, problem = ExitCode.FAILED, f"{error.filename or self.store.root}: {error.strerror}"
            failed += 1
            over = failed > order.retries or time.monotonic() >= ends
            if (
                code in (ExitCode.DONE, ExitCode.WRONG_INPUT)
                or over
                or self._is_over(run)
                or self.store.cancelled(run) is not None
            ):
                break
            self._rest(run, min(self.back_off(failed), max(0.0, ends - time.monotonic())))
        if run is None:
            return None
        is_over = self._is_over(run)
        with self._lock:
            began = self._tries.pop(run, None)
            reason = self._ending.pop(run, "interrupted")
        if began is None and is_over:
            # Its turn never came: it is told as a try that ended before its first step.
            name = uuid.uuid4().hex[:12]
            self._begin(order, run, name)
            self._end(self.store.try_folder(run, name), {"status": Status.INTERRUPTED, "reason": reason})
        result = self.store.read(run)
        if problem and result.status in (Status.RUNNING, Status.DIED):
            result = replace(result, status=Status.FAILED, reason=problem)
        self.observer.done(order.label, result)
        return result

    def stop_run(self, run: c.RunId, reason: str) -> None:
        """Stop a run and have its try say why, unless it ends well first."""
        with self._lock:
            self._ending[run] = reason
            folder = self._tries.get(run)
        if folder is not None and folder.exists():
            try:
                self._end(folder, {"status": Status.INTERRUPTED, "reason": reason})
            except OSError as error:
                self.observer.say(f"{run}: why it is stopped could not be written down: {error.strerror}")
        self.interrupt(run)

    def interrupt(self, run: c.RunId | None = None) -> None:
        """Stop every child of a run, or all children and the engine; containers too, within 5 s."""
        with self._lock:
            if run is None:
                self._stop.set()
            else:
                self._ending.setdefault(run, "interrupted")
            live = {process: known for process, known in self._live.items() if run in (None, known[2])}
        self.budget.wake()
        with self._pause:
            self._pause.notify_all()
        for process in live:
            process.terminate()
        limit = time.monotonic() + KILL_AFTER
        for process, (runtime, name, _) in live.items():
            try:
                process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                runtime.kill(name)
                process.kill()

    def _is_over(self, run: c.RunId | None) -> bool:
        return self._stop.is_set() or run in self._ending

    def _rest(self, run: c.RunId, seconds: float) -> None:
        with self._pause:
            self._pause.wait_for(lambda: self._is_over(run), seconds)

    def _try(self, order: RunSpec, run: c.RunId, ends: float) -> int:
        store = self.store
        name = uuid.uuid4().hex[:12]
        folder = store.try_folder(run, name)
        self._begin(order, run, name)
        with self._lock:
            self._tries[run] = folder
        for step in order.steps:
            self.observer.stage(order.label, " ".join(step.argv).replace("--member ", ""), folder)
            runtime = step.runtime
            if isinstance(runtime, RuntimeUnavailable):
                if step.argv[0] == "predict":
                    continue
                self._end(folder, {"step": step.argv[0], "status": Status.FAILED, "reason": str(runtime)})
                return ExitCode.WRONG_INPUT
            container = f"cronsemble-{name}-{step.argv[-1]}"
            env = self._env(order, run, name, max(1.0, ends - time.monotonic()))
            program = store.snapshot_path("program", order.task["snapshot"]["program"])
            command, env = runtime.command(program, store.root, order.folder, list(step.argv), env, container)
            if step.argv[0] == "prepare":
                # One at a time: the first pins the data, the others find it.
                with self._preparing:
                    code, said = self._start(runtime, command, env, container, run)
            else:
                code, said = self._start(runtime, command, env, container, run)
            if code != ExitCode.DONE:
                self._explain(run, folder, step.argv[0], code, said)
                return code
        return ExitCode.DONE

    def _start(self, runtime: Runtime, command: list[str], env: dict[str, str], name: str, run: c.RunId) -> tuple[int, str]:
        """Start a supervised step and wait for it; its exit status and the last line of its stderr."""
        with tempfile.TemporaryFile() as errors:
            code = self._process(runtime, command, env, name, run, errors)
            errors.seek(0)
            lines = errors.read()[-10_000:].decode(errors="replace").split("\n")
        return code, next((line for line in reversed(lines) if line.strip()), "")

    def _process(
        self, runtime: Runtime, command: list[str], env: dict[str, str], name: str, run: c.RunId, errors: IO[bytes]
    ) -> int:
        with self._lock:
            if self._is_over(run):
                return ExitCode.INTERRUPTED
            process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # A terminal's Ctrl-C reaches the whole foreground group: ours to pass on, once.
                start_new_session=True,
                preexec_fn=_stop_with_parent,
            )
            self._live[process] = (runtime, name, run)
        try:
            return process.wait()
        finally:
            with self._lock:
                del self._live[process]

    def _env(self, order: RunSpec, run: c.RunId, name: str, left: float) -> dict[str, str]:
        return {
            c.ENV_RUN: str(run),
            c.ENV_TRY: name,
            c.ENV_TASK: json.dumps(order.task),
            c.ENV_KIND: order.kind,
            c.ENV_INVOCATION: order.invocation,
            c.ENV_OWNER: json.dumps(process_identity()),
            c.ENV_TIMEOUT: f"{left:.0f}",
            **order.env,
        }

    def _begin(self, order: RunSpec, run: c.RunId, name: str) -> None:
        mark = {"schema": c.SCHEMA, "run": str(run), "try": name, "time": _current_time(), "kind": order.kind}
        own = order.steps[-1].runtime
        runtime = {"image": own.image, "python": own.python} if isinstance(own, Runtime) else None
        mark |= {"snapshot": snapshot_digests(order.task), "runtime": runtime, "process": process_identity()}
        self.store.begin_try(run, name, mark)

    def _explain(self, run: c.RunId, folder: Path, step: str, code: int, said: str) -> None:
        """Say what the supervisor could not, if it was killed or never began."""
        if self.store.result(run) is not None or (folder / c.END).exists():
            return
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        reason = f"{step} could not be supervised ({how})" + (f": {said}" if said else "")
        told = {"step": step, "status": Status.FAILED, "reason": reason}
        if self._is_over(run):
            told |= {"status": Status.INTERRUPTED, "reason": "interrupted"}
        self._end(folder, told)

    def _end(self, folder: Path, told: dict[str, Any]) -> None:
        publish_bytes(folder / c.END, to_json({"schema": c.SCHEMA, "time": _current_time(), **told}))


def _counts(told: dict[str, Any]) -> bool:
    """Whether a try counts as failed: as on a cluster, one that was interrupted or swept away does not."""
    return bool(told["end"]) and told["end"].get("status") == Status.FAILED


def _stop_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _current_time() -> str:
    return format_time(time.time(), milliseconds=True)


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
