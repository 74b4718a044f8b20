"""The local engine: takes runs through their steps and tries on this machine, within a budget of CPUs."""

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar

from cronjobs.experiment import Experiment, RuntimeSettings
from cronjobs.revisions.revisions import MANUAL
from cronjobs.tasks import ExperimentContext, tasks_of
from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store import LocalStore, Run, snapshot_digests
from jobs.store.files import publish_bytes, read_json, replace_file, to_json
from jobs.store.ownership import REFUSED_ERRNOS, share_tree
from jobs.store.process_identity import process_identity
from jobs.store.regular_files import Unreadable
from jobs.store.tries import failed_tries, max_tries
from jobs.supervisor.process_tree import end_with_parent
from jobs.temporary import remove_leftovers
from jobs.text import one_line
from scheduler.console.run_display import RunObserver, describe_retry, step_title
from scheduler.engines import local_revisions
from scheduler.engines.leftovers import end_containers_of_try, end_leftovers, end_try
from scheduler.engines.processes import end_processes_of_try
from scheduler.engines.run_spec import RunSpec, step_secrets
from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes import recorded
from scheduler.runtimes.containers import ContainerEngine, EngineError, NoContainerEngine, container_name, find_engine
from scheduler.runtimes.environment import absent_variable_hint, ignored_variables
from scheduler.runtimes.runtime import Runtime, StepCommand, find_runtimes
from scheduler.snapshots.program_copy import keep_program, program_copy
from scheduler.times import check_clock, format_time

KILL_AFTER = 3.5
"""Seconds after which a process that was asked to stop is killed; children have 2 s of their own."""
OVERDUE = 90.0
"""Seconds after its deadline in which a container's supervisor has ended by itself, a step whose work was done included."""
KEPT_CODE = 8
"""How many snapshots of the user's code an engine keeps in memory."""


class CpuBudget:
    """A number of CPUs that runs share; one that needs more than all of them gets all."""

    def __init__(self, cpus: int) -> None:
        self._total = self._free = cpus
        self._change = threading.Condition()

    @contextmanager
    def take(self, cpus: int, stopped: Callable[[], bool]) -> Iterator[None]:
        """Wait until so many CPUs are free, or ``stopped``, and have them within the block."""
        cpus = min(cpus, self._total)
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
        """Have those that wait ask again whether they are stopped."""
        with self._change:
            self._change.notify_all()


@dataclass
class LocalEngine:
    """Makes runs in one store; several threads may make runs at once.

    ``back_off`` gives the seconds between a failed try, counted from 1, and the next.
    """

    outlives: ClassVar[bool] = False
    store: LocalStore
    observer: RunObserver
    budget: CpuBudget
    back_off: Callable[[int], float] = lambda _: 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _stop_reasons: dict[c.RunId, str] = field(default_factory=dict)  # runs that are to stop, and why
    _processes: dict[subprocess.Popen[bytes], c.RunId] = field(default_factory=dict)
    _current_tries: dict[c.RunId, Path] = field(default_factory=dict)
    _code: dict[str, bytes] = field(default_factory=dict)  # the user's code that was stored last, by its SHA-256
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _retry_wait: threading.Condition = field(default_factory=threading.Condition)
    _prepare_lock: threading.Lock = field(default_factory=threading.Lock)
    _cleared: set[ContainerEngine] = field(default_factory=set)  # of what earlier processes had left
    _leftovers_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        remove_leftovers()

    @property
    def stopped(self) -> bool:
        """Whether it was interrupted."""
        return self._stop.is_set()

    def now(self) -> datetime:
        """The time by this machine's clock; raises CronsembleError where that was never set."""
        now = datetime.now(UTC)
        check_clock(now.timestamp())
        return now

    def store_snapshot(self, kind: str, data: bytes) -> str:
        """Keep a part of a snapshot in the store, and here, to replace what is damaged there; returns its SHA-256."""
        digest = self.store.put_snapshot(kind, data)
        if kind == "program":
            keep_program(data)
        else:
            self._code[digest] = data
            for oldest in list(self._code)[:-KEPT_CODE]:
                del self._code[oldest]
        return digest

    def record_start(self, context: ExperimentContext, now: datetime) -> None:
        """Record the revision that is about to be run, and repair the archive."""
        self.store.repair_archives(context.experiment.name)
        local_revisions.record_revision(self.store, context, MANUAL, now)

    def runtimes(self, experiment: Experiment, names: Iterable[str]) -> dict[str, Runtime | RuntimeUnavailable]:
        """By name the interpreter or image, made if need be, or why it cannot be had."""
        declared = {name for _, task in tasks_of(experiment) for name in task.env}
        if ignored := ignored_variables(os.environ, declared):
            self.observer.say(ignored)
        return find_runtimes(experiment, names, self.observer.say)

    def problems(self, run: Run) -> tuple[list[str], list[str]]:
        """Why the interpreter or image that a run was made in cannot be had; and in what it may differ."""
        return recorded.environment_problems(run)

    def runtime_of(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """The interpreter or image that a run was made in."""
        return recorded.recorded_runtime(run, task, self.observer.say)

    def fallback_runtime(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """This interpreter."""
        return Runtime("host", python=sys.executable)

    def claim(self, run: c.RunId, kind: str) -> bool:
        """Claim exactly this attempt in the store; False if it is taken. Raises OSError."""
        mark = {"kind": kind, "time": _current_time(), "process": process_identity()}
        return self.store.claim_attempt(run, mark)

    def run(self, spec: RunSpec, claimed: c.RunId | None = None) -> Run | None:
        """Make the run, in the slot's next free attempt unless one was claimed; None if stopped before it was started.

        A claimed run may have had tries: those that failed count as such, those that were interrupted do not.
        """
        run, task = claimed, str(spec.task["task"])
        problem = ""
        failed = 0 if run is None else failed_tries(self.store.read(run).tries)
        deadline = time.monotonic() + spec.deadline
        while True:
            self.observer.stage(spec.label, "waiting")
            with self.budget.take(spec.threads, partial(self._is_stopped, run)):
                if self._is_stopped(run):
                    break
                if run is not None and self.store.cancelled(run) is not None:
                    break
                if run is None:
                    run = self.store.claim(spec.task["experiment"], task, spec.minute)
                    deadline = time.monotonic() + spec.deadline
                problem = ""
                try:
                    code = self._make_try(spec, run, deadline)
                except OSError as error:  # a full disk, or a store that went away
                    code, problem = ExitCode.FAILED, f"{error.filename or self.store.root}: {error.strerror}"
                    if error.errno in REFUSED_ERRNOS:
                        code = ExitCode.WRONG_INPUT
            failed += 1
            was_last = failed > spec.retries or time.monotonic() >= deadline
            if (
                code in (ExitCode.DONE, ExitCode.WRONG_INPUT)
                or was_last
                or self._is_stopped(run)
                or self.store.cancelled(run) is not None
            ):
                break
            seconds = min(self.back_off(failed), max(0.0, deadline - time.monotonic()))
            failed_run = self.store.read(run)
            self.observer.retry(spec.label, failed_run, describe_retry(failed_run, problem or failed_run.reason, seconds))
            self._wait_for_retry(run, seconds)
        if run is None:
            return None
        is_stopped = self._is_stopped(run)
        with self._lock:
            last_try = self._current_tries.pop(run, None)
            reason = self._stop_reasons.pop(run, "interrupted")
        if last_try is None and is_stopped:
            # It was never started: that is recorded as a try that ended before its first step.
            name = uuid.uuid4().hex[:12]
            self._begin_try(spec, run, name)
            self._publish_end(self.store.try_folder(run, name), {"status": Status.INTERRUPTED, "reason": reason})
        result = self.store.read(run)
        if problem and result.status in (Status.RUNNING, Status.DIED):
            result = replace(result, status=Status.FAILED, reason=problem)
        self.observer.done(spec.label, result)
        if result.status == Status.FAILED and (hint := absent_variable_hint(result.reason, os.environ)):
            self.observer.say(f"{spec.label}: {hint}")
        return result

    def stop_run(self, run: c.RunId, reason: str) -> None:
        """Stop a run and have its try record why, unless it succeeds first."""
        with self._lock:
            self._stop_reasons[run] = reason
            folder = self._current_tries.get(run)
        if folder is not None and folder.exists():
            try:
                self._publish_end(folder, {"status": Status.INTERRUPTED, "reason": reason})
            except OSError as error:
                self.observer.say(f"{run}: why it is stopped could not be recorded: {error.strerror}")
        self.interrupt(run)

    def interrupt(self, run: c.RunId | None = None) -> None:
        """Stop every child of a run, or all children and the engine; containers too, within 5 s."""
        with self._lock:
            if run is None:
                self._stop.set()
            else:
                self._stop_reasons.setdefault(run, "interrupted")
            processes = [process for process, its_run in self._processes.items() if run in (None, its_run)]
        self.budget.wake()
        with self._retry_wait:
            self._retry_wait.notify_all()
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + KILL_AFTER
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                # Whoever waits for it ends the container.
                process.kill()

    def _is_stopped(self, run: c.RunId | None) -> bool:
        return self._stop.is_set() or run in self._stop_reasons

    def _wait_for_retry(self, run: c.RunId, seconds: float) -> None:
        with self._retry_wait:
            self._retry_wait.wait_for(lambda: self._is_stopped(run), seconds)

    def _make_try(self, spec: RunSpec, run: c.RunId, deadline: float) -> int:
        """Take a run through its steps once, until ``deadline`` by the monotonic clock; the exit code."""
        store = self.store
        name = uuid.uuid4().hex[:12]
        folder = store.try_folder(run, name)
        if engine := _container_engine(spec):
            self._end_leftovers(engine)
        self._begin_try(spec, run, name)
        with self._lock:
            self._current_tries[run] = folder
            user_code = self._code.get(str(spec.task["snapshot"]["code"]))
        if user_code:
            store.put_snapshot("code", user_code)
        tries = store.read(run).tries
        number, most = len(tries), max_tries(tries, spec.retries)
        for earlier in tries[:-1]:
            if earlier["start"].get("containers") and (problem := end_try(earlier["start"], earlier["name"])):
                # None begins beside another.
                reason = f"the container of its try {earlier['name']} could not be ended: {problem}"
                self._publish_end(folder, {"step": spec.steps[0].argv[0], "status": Status.FAILED, "reason": reason})
                return ExitCode.FAILED
        for step in spec.steps:
            self.observer.stage(spec.label, step_title(" ".join(step.argv[::2]), number, most), folder)
            runtime = step.runtime
            if isinstance(runtime, RuntimeUnavailable):
                if step.argv[0] == "predict":
                    continue
                self._publish_end(folder, {"step": step.argv[0], "status": Status.FAILED, "reason": str(runtime)})
                return ExitCode.WRONG_INPUT
            env = self._env(spec, run, name, max(1.0, deadline - time.monotonic()))
            try:
                program = program_copy(store, str(spec.task["snapshot"]["program"]))
            except (Unreadable, FileNotFoundError) as error:
                reason = f"its program {error.filename} cannot be run: {error.strerror}"
                self._publish_end(folder, {"step": step.argv[0], "status": Status.FAILED, "reason": reason})
                return ExitCode.WRONG_INPUT
            secrets = step_secrets(spec.task, step.argv)
            container = container_name(name, step.argv[-1])
            command = runtime.command(program, store.root, spec.folder, list(step.argv), env, secrets, container)
            if step.argv[0] == "prepare":
                # One at a time: the first pins the data, the others read it.
                with self._prepare_lock:
                    code, last_line, problem = self._run_step(runtime, command, run, name, deadline)
            else:
                code, last_line, problem = self._run_step(runtime, command, run, name, deadline)
            if code != ExitCode.DONE:
                self._record_unsupervised_end(run, folder, step.argv[0], code, last_line)
                if problem:
                    self._record_left_running(run, folder, problem)
                return code
        return ExitCode.DONE

    def _run_step(
        self, runtime: Runtime, command: StepCommand, run: c.RunId, try_name: str, deadline: float
    ) -> tuple[int, str, str]:
        """Start a supervised step and wait for it, in a container at most until ``deadline`` and what its end takes.

        Its exit status, the last line of its stderr, and why what it has left running could not be ended, if it could not.
        """
        if self._is_stopped(run):
            return ExitCode.INTERRUPTED, "", ""
        # In memory: secrets are written to no disk.
        with tempfile.TemporaryFile() as errors, os.fdopen(os.memfd_create("stdin"), "w+b") as stdin:
            stdin.write(command.stdin)
            stdin.seek(0)
            patience = None if runtime.engine is None else max(0.0, deadline - time.monotonic()) + OVERDUE
            try:
                code = self._run_process(command, run, stdin, errors, patience)
                errors.seek(max(0, errors.seek(0, os.SEEK_END) - 10_000))
                lines = errors.read().decode(errors="replace").split("\n")
            except subprocess.TimeoutExpired:
                code, lines = -signal.SIGKILL, ["its container did not end at its deadline"]
        problem = ""
        if runtime.engine is not None and code != ExitCode.DONE:
            # Of its engine's client alone is known that it has ended.
            problem = end_containers_of_try(runtime.engine, try_name)
        elif code < 0:
            # It could not end its own processes any more.
            end_processes_of_try(try_name)
        return code, next((line for line in reversed(lines) if line.strip()), ""), problem

    def _run_process(
        self, command: StepCommand, run: c.RunId, stdin: IO[bytes], errors: IO[bytes], patience: float | None
    ) -> int:
        """Start a process and wait for it; its exit status.

        It is killed after ``patience`` seconds: then raises subprocess.TimeoutExpired.
        """
        parent = os.getpid()
        with self._lock:
            if self._is_stopped(run):
                return ExitCode.INTERRUPTED
            process = subprocess.Popen(
                command.argv,
                env=command.env,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # A terminal's Ctrl-C reaches the whole foreground group: ours to pass on, once.
                start_new_session=True,
                preexec_fn=lambda: end_with_parent(signal.SIGTERM, parent),
            )
            self._processes[process] = run
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            with self._lock:
                del self._processes[process]

    def _env(self, spec: RunSpec, run: c.RunId, name: str, seconds_left: float) -> dict[str, str]:
        return {
            c.ENV_RUN: str(run),
            c.ENV_TRY: name,
            c.ENV_TASK: json.dumps(spec.task),
            c.ENV_KIND: spec.kind,
            c.ENV_INVOCATION: spec.invocation,
            c.ENV_OWNER: json.dumps(process_identity()),
            c.ENV_TIMEOUT: f"{seconds_left:.0f}",
            c.ENV_RETRIES: str(spec.retries),
            **spec.env,
        }

    def _begin_try(self, spec: RunSpec, run: c.RunId, name: str) -> None:
        mark = {"schema": c.SCHEMA, "run": str(run), "try": name, "retries": spec.retries, "time": _current_time()}
        mark["kind"] = spec.kind
        last = spec.steps[-1].runtime
        runtime = {"image": last.image, "python": last.python} if isinstance(last, Runtime) else None
        if engine := _container_engine(spec):
            # Whoever ends what is left of this try needs to know whom to ask.
            mark["containers"] = engine.name
        mark |= {"snapshot": snapshot_digests(spec.task), "runtime": runtime, "process": process_identity()}
        self.store.begin_try(run, name, mark)

    def end_leftovers(self, runtimes: Iterable[RuntimeSettings]) -> None:
        """End the containers of this store's tries whose makers are dead, where steps run in images."""
        if any(settings.image is not None for settings in runtimes):
            with suppress(NoContainerEngine):
                self._end_leftovers(find_engine())

    def _end_leftovers(self, engine: ContainerEngine) -> None:
        with self._leftovers_lock:
            if engine in self._cleared:
                return
            try:
                problems = end_leftovers(engine, self.store.root)
                self._cleared.add(engine)
            except EngineError as error:
                problems = [f"whether a container of an earlier process still runs is not known: {error}"]
        for problem in problems:
            self.observer.say(problem)

    def _record_unsupervised_end(self, run: c.RunId, folder: Path, step: str, code: int, last_line: str) -> None:
        """Record what the supervisor could not, if it was killed or never started."""
        if self.store.result(run) is not None or (folder / c.END).exists():
            return
        with suppress(OSError):
            share_tree(folder)
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        reason = f"{step} could not be supervised ({cause})" + (f": {one_line(last_line)}" if last_line else "")
        end = {"step": step, "status": Status.FAILED, "reason": reason}
        if self._is_stopped(run):
            end |= {"status": Status.INTERRUPTED, "reason": "interrupted"}
        self._publish_end(folder, end)

    def _record_left_running(self, run: c.RunId, folder: Path, problem: str) -> None:
        """Add to a try's end that a container of it could not be ended."""
        if self.store.result(run) is not None:
            return
        end = read_json(folder / c.END) or {"schema": c.SCHEMA, "status": Status.FAILED, "reason": "", "time": _current_time()}
        reason = "; ".join(filter(None, [str(end.get("reason", "")), f"its container could not be ended: {problem}"]))
        replace_file(folder / c.END, to_json({**end, "reason": reason}))

    def _publish_end(self, folder: Path, end: dict[str, Any]) -> None:
        publish_bytes(folder / c.END, to_json({"schema": c.SCHEMA, "time": _current_time(), **end}))


def _container_engine(spec: RunSpec) -> ContainerEngine | None:
    """The engine of those steps of a run that run in images; None if none does."""
    runtimes = (step.runtime for step in spec.steps)
    return next((runtime.engine for runtime in runtimes if isinstance(runtime, Runtime) and runtime.engine), None)


def _current_time() -> str:
    return format_time(time.time(), milliseconds=True)


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
