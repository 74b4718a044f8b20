"""The local engine: runs an experiment's tasks now, side by side within a CPU budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from cronjobs.tasks import Context, ensemble_task, train_task
from jobs import contract as c
from jobs.store import Run, Store, process_identity, publish_bytes, to_json
from scheduler.code import user_code
from scheduler.config import Experiment, Member
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.program import build_program
from scheduler.runtimes import Runtime, find_runtime

KILL_AFTER = 3.5
"""Seconds after which a process that was asked to stop is killed; children have 2 s of their own."""


class Watcher(Protocol):
    """What is told of a run's progress; called from several threads."""

    def say(self, text: str) -> None: ...
    def stage(self, task: str, stage: str, folder: Path | None = None) -> None: ...
    def done(self, task: str, run: Run) -> None: ...


class Budget:
    """A number of CPUs that tasks take from and give back; one that wants more than all gets all."""

    def __init__(self, cpus: int) -> None:
        self._all = self._free = cpus
        self._change = threading.Condition()

    def take(self, cpus: int, stop: threading.Event) -> int:
        cpus = min(cpus, self._all)
        with self._change:
            while self._free < cpus and not stop.is_set():
                self._change.wait(0.2)
            self._free -= cpus
        return cpus

    def give(self, cpus: int) -> None:
        with self._change:
            self._free += cpus
            self._change.notify_all()


@dataclass
class LocalEngine:
    """Runs the tasks of one experiment on this machine, in its own store."""

    experiment: Experiment
    store: Store
    watcher: Watcher
    cpus: int
    published: bool = False
    kind: str = "manual"
    stop: threading.Event = field(default_factory=threading.Event)
    _live: dict[subprocess.Popen[bytes], tuple[Runtime, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, members: Iterable[Member], with_ensemble: bool, now: datetime) -> list[Run]:
        """Run these members and then the ensemble in the slot of ``now``; returns the runs in that order."""
        self.store.root.mkdir(parents=True, exist_ok=True)
        self.store.heal_archive(self.experiment.name)
        program, code = build_program(), user_code(self.experiment)
        context = Context(
            self.experiment,
            self.store.put_snapshot("program", program),
            self.store.put_snapshot("code", code) if code else "",
            self.published,
        )
        slot = _Slot(self, context, int(now.timestamp() // 60), uuid.uuid4().hex[:12])
        runtimes = self._runtimes(members, with_ensemble)
        budget = Budget(self.cpus)
        chosen = list(members)
        with ThreadPoolExecutor(max(1, len(chosen))) as pool:
            # In the file's order: what the user wrote first starts first.
            futures = [pool.submit(slot.train, member, runtimes, budget) for member in chosen]
            done = [run for future in futures if (run := future.result()) is not None]
        if with_ensemble and not self.stop.is_set():
            done.append(slot.ensemble(runtimes))
        return done

    def _runtimes(self, members: Iterable[Member], with_ensemble: bool) -> dict[str, Runtime | RuntimeUnavailable]:
        names = {member.runtime for member in members} | {"keras3"}
        if with_ensemble:
            names |= {member.runtime for member in self.experiment.members.values()}
        found: dict[str, Runtime | RuntimeUnavailable] = {}
        for name in sorted(names):
            try:
                found[name] = find_runtime(self.experiment, name, self.watcher.say)
            except RuntimeUnavailable as error:
                found[name] = error
        return found

    def interrupt(self) -> None:
        """Stop every child, containers too, within 5 s."""
        self.stop.set()
        with self._lock:
            live = dict(self._live)
        for process in live:
            process.terminate()
        limit = time.monotonic() + KILL_AFTER
        for process, (runtime, name) in live.items():
            try:
                process.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                runtime.kill(name)
                process.kill()

    def start(self, runtime: Runtime, command: list[str], env: dict[str, str], name: str) -> tuple[int, str]:
        """Start a supervised step and wait for it; returns its exit status and the last line of its stderr."""
        with tempfile.TemporaryFile() as errors:
            code = self._start(runtime, command, env, name, errors)
            errors.seek(0)
            lines = errors.read()[-10_000:].decode(errors="replace").split("\n")
        return code, next((line for line in reversed(lines) if line.strip()), "")

    def _start(self, runtime: Runtime, command: list[str], env: dict[str, str], name: str, errors: IO[bytes]) -> int:
        with self._lock:
            if self.stop.is_set():
                return c.INTERRUPTED
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
            self._live[process] = (runtime, name)
        try:
            return process.wait()
        finally:
            with self._lock:
                del self._live[process]


def _stop_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@dataclass
class _Slot:
    """The runs of one slot: claims them, and takes each through its steps and tries."""

    engine: LocalEngine
    context: Context
    minute: int
    invocation: str
    _preparing: threading.Lock = field(default_factory=threading.Lock)

    def train(self, member: Member, runtimes: dict[str, Runtime | RuntimeUnavailable], budget: Budget) -> Run | None:
        """The run, or None if the engine was stopped before its turn came."""
        task = train_task(self.context, member)
        self.engine.watcher.stage(task["task"], "waiting")
        taken = budget.take(member.threads, self.engine.stop)
        try:
            if self.engine.stop.is_set():
                return None
            steps = [("keras3", ["prepare"]), (member.runtime, ["train"])]
            return self._tries(task, steps, runtimes, member.retries, member.deadline)
        finally:
            budget.give(taken)

    def ensemble(self, runtimes: dict[str, Runtime | RuntimeUnavailable]) -> Run:
        spec = self.engine.experiment.ensemble
        if spec is None:
            raise CronsembleError("this experiment declares no ensemble")
        task = ensemble_task(self.context, spec)
        steps = [("keras3", ["prepare"])]
        steps += [(each["runtime"], ["predict", "--member", each["member"]]) for each in task["members"]]
        steps.append(("keras3", ["combine"]))
        return self._tries(task, steps, runtimes, spec.retries, spec.deadline)

    def _tries(
        self,
        task: dict[str, Any],
        steps: list[tuple[str, list[str]]],
        runtimes: dict[str, Runtime | RuntimeUnavailable],
        retries: int,
        deadline: int,
    ) -> Run:
        store, watcher = self.engine.store, self.engine.watcher
        run = store.claim(task["experiment"], task["task"], self.minute)
        ends = time.monotonic() + deadline
        problem = ""
        for _ in range(retries + 1):
            try:
                code = self._try(run, task, steps, runtimes, ends)
            except OSError as error:  # a full disk, or a store that went away
                code, problem = c.FAILED, f"{error.filename or store.root}: {error.strerror}"
            if code in (c.DONE, c.WRONG_INPUT) or self.engine.stop.is_set() or time.monotonic() >= ends:
                break
        result = store.read(run)
        if problem and result.status in ("running", "died"):
            result = replace(result, status="failed", reason=problem)
        watcher.done(task["task"], result)
        return result

    def _try(
        self,
        run: c.RunId,
        task: dict[str, Any],
        steps: list[tuple[str, list[str]]],
        runtimes: dict[str, Runtime | RuntimeUnavailable],
        ends: float,
    ) -> int:
        engine, store = self.engine, self.engine.store
        name = uuid.uuid4().hex[:12]
        folder = store.try_folder(run, name)
        for runtime_name, step in steps:
            engine.watcher.stage(task["task"], " ".join(step).replace("--member ", ""), folder)
            runtime = runtimes[runtime_name]
            if isinstance(runtime, RuntimeUnavailable):
                if step[0] == "predict":
                    continue
                self._refuse(run, folder, name, str(runtime))
                return c.WRONG_INPUT
            container = f"cronsemble-{name}-{step[-1]}"
            env = self._env(run, task, name, max(1.0, ends - time.monotonic()))
            program = store.snapshot("program", self.context.program)
            command, env = runtime.command(program, store.root, engine.experiment.folder, step, env, container)
            if step[0] == "prepare":
                # One at a time: the first pins the data, the others find it.
                with self._preparing:
                    code, said = engine.start(runtime, command, env, container)
            else:
                code, said = engine.start(runtime, command, env, container)
            if code != c.DONE:
                self._end(run, folder, name, step[0], code, said)
                return code
        return c.DONE

    def _env(self, run: c.RunId, task: dict[str, Any], name: str, left: float) -> dict[str, str]:
        return {
            c.ENV_RUN: str(run),
            c.ENV_TRY: name,
            c.ENV_TASK: json.dumps(task),
            c.ENV_KIND: self.engine.kind,
            c.ENV_INVOCATION: self.invocation,
            c.ENV_OWNER: json.dumps(process_identity()),
            c.ENV_TIMEOUT: f"{left:.0f}",
        }

    def _refuse(self, run: c.RunId, folder: Path, name: str, reason: str) -> None:
        self._begin(run, name)
        publish_bytes(
            folder / c.END,
            to_json({"schema": c.SCHEMA, "time": _now(), "status": "failed", "reason": reason}),
        )

    def _end(self, run: c.RunId, folder: Path, name: str, step: str, code: int, said: str) -> None:
        """Say what the supervisor could not, if it was killed or never began."""
        if self.engine.store.result(run) is not None or (folder / c.END).exists():
            return
        stopped = self.engine.stop.is_set()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._begin(run, name)
        mark = {
            "schema": c.SCHEMA,
            "time": _now(),
            "step": step,
            "status": "interrupted" if stopped else "failed",
            "reason": "interrupted" if stopped else f"{step} could not be supervised ({how}): {said}",
        }
        publish_bytes(folder / c.END, to_json(mark))

    def _begin(self, run: c.RunId, name: str) -> None:
        mark = {"schema": c.SCHEMA, "run": str(run), "try": name, "time": _now(), "kind": self.engine.kind}
        self.engine.store.begin_try(run, name, {**mark, "process": process_identity()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
