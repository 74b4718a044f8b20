"""The local engine: takes runs through their steps and tries on this machine, within a budget of CPUs."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar

from cronjobs.experiment import Experiment, RuntimeSettings
from cronjobs.tasks import ExperimentContext, step_variables, tasks_of
from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.revisions import MANUAL
from jobs.store import LocalStore, Run, snapshot_digests
from jobs.store.files import publish_bytes, read_json, replace_file, to_document, to_json
from jobs.store.latest_predictions import update_latest
from jobs.store.ownership import REFUSED_ERRNOS, share_tree
from jobs.store.process_identity import process_identity
from jobs.store.regular_files import Unreadable
from jobs.store.tries import failed_tries, max_tries
from jobs.supervisor.process_tree import end_with_parent
from jobs.temporary import remove_leftovers
from jobs.text import one_line
from scheduler.console.run_display import RunObserver, describe_retry, step_title
from scheduler.engines import container_output, local_revisions
from scheduler.engines.leftovers import end_containers_of_try, end_leftovers, end_try
from scheduler.engines.predictions import PredictStep, append_member_logs, log_limit, predict_steps
from scheduler.engines.processes import end_processes_of_try
from scheduler.engines.run_spec import RunSpec, Step, step_secrets
from scheduler.engines.try_ends import TryEnd, TryEnds, describe_os_error, parse_end
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
        self._waiting: list[list[int]] = []  # how many CPUs each waits for, in a list that is its own, the first first

    @contextmanager
    def take(self, cpus: int, stopped: Callable[[], bool], share: CpuShare | None = None) -> Iterator[None]:
        """Wait until so many CPUs are free, or ``stopped``, and have them within the block; who waits longest is first.

        ``share``: what a run has of the budget already, for one of its steps at a time: it is used first, whatever its size, so
        that a run never waits for others with all of its steps.
        """
        cpus = min(cpus, self._total)
        own = [cpus]
        with self._change:
            self._waiting.append(own)
            self._change.wait_for(lambda: (share is not None and share.is_free) or self._is_turn_of(own) or stopped())
            # The list itself: others may wait for as many.
            self._waiting = [waiting for waiting in self._waiting if waiting is not own]
            uses_share = share is not None and share.is_free
            if share is not None and uses_share:
                share.is_free = False
            else:
                self._free -= cpus
            self._change.notify_all()
        try:
            yield
        finally:
            with self._change:
                if share is not None and uses_share:
                    share.is_free = True
                else:
                    self._free += cpus
                self._change.notify_all()

    def _is_turn_of(self, own: list[int]) -> bool:
        """Whether its CPUs are free, and no other that waits longer could have them."""
        return next((waiting is own for waiting in self._waiting if waiting[0] <= self._free), False)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def wake(self) -> None:
        """Have those that wait ask again whether they are stopped."""
        with self._change:
            self._change.notify_all()


@dataclass
class CpuShare:
    """The CPUs that a run has taken, and whether none of its steps uses them."""

    is_free: bool = True


@dataclass
class _StepEnd:
    """How a step's process ended: its exit status, and the last lines of its stderr.

    ``reason``: why it was not started, or cannot count as done; ``left_running``: why what it has left could not be ended.
    """

    code: int
    errors: list[str] = field(default_factory=list)
    reason: str = ""
    left_running: str = ""


@dataclass
class _Attempt:
    """A run in the making: the number of its last claim, whether a try has it yet, and the name and step of the try under way.

    ``is_lost``: another process has claimed the next try.
    """

    run: c.RunId | None
    number: int
    is_unused: bool = True
    try_name: str = ""
    step: str = ""
    is_lost: bool = False


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
    _changes: int = 0  # how often runs have ended, and slots were lost
    _prepare_lock: threading.Lock = field(default_factory=threading.Lock)
    _cleared: set[ContainerEngine] = field(default_factory=set)  # of what earlier processes had left
    _leftovers_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.ends = TryEnds(self.store)
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
        update_latest(self.store, context.experiment.name)
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
        return recorded.recorded_runtime(self.store, run, task, self.observer.say)

    def fallback_runtime(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """This interpreter."""
        return Runtime("host", python=sys.executable)

    def claim(self, run: c.RunId, kind: str) -> bool:
        """Claim exactly this attempt in the store; False if it is taken. Raises OSError."""
        mark = {"kind": kind, "time": _current_time(), "process": process_identity()}
        return self.store.claim_attempt(run, mark)

    def run(self, spec: RunSpec, claimed: c.RunId | None = None, number: int = 1, delay: float = 0.0) -> Run | None:
        """Make the run, in the slot's next free attempt unless one was claimed; None if stopped before it was started.

        A claimed run may have had tries: those that failed count as such, those that were interrupted do not. ``number`` is
        the claim (:mod:`jobs.store.try_claims`) by which the caller has its next try, which begins in ``delay`` seconds.
        Whatever goes wrong once it is claimed is how the run ends; before, this raises OSError.
        """
        attempt = _Attempt(claimed, number)
        try:
            self._make_tries(spec, attempt, delay)
        except Exception as error:  # the store cannot be read, or a bug: its end is recorded, and others go on
            if attempt.run is None:
                raise
            self._record_failure(spec, attempt, error)
        run = attempt.run
        if run is None:
            return None
        if attempt.is_lost:
            self.observer.say(f"{run}: another process makes its next try")
        else:
            self._record_stop(spec, attempt)
        with self._lock:
            self._current_tries.pop(run, None)
            self._stop_reasons.pop(run, None)
        result = self.read_end(run)
        self.announce_change()
        if not attempt.is_lost:
            self.observer.done(spec.label, result)
        if result.status == Status.FAILED and (hint := absent_variable_hint(result.reason, os.environ)):
            self.observer.say(f"{spec.label}: {hint}")
        return result

    def read_end(self, run: c.RunId) -> Run:
        """What became of a run that this engine has made, also where the store does not have it yet, or cannot be read."""
        unwritten = self.ends.unwritten(run)
        try:
            result = self.store.read(run)
        except OSError as error:
            result = Run(run, self.store.run_folder(run), Status.UNKNOWN, describe_os_error(error, self.store.root))
        if unwritten and result.status != Status.SUCCEEDED:
            end = unwritten[-1].end
            result = replace(result, status=end["status"], reason=end["reason"])
        return result

    def _make_tries(self, spec: RunSpec, attempt: _Attempt, delay: float) -> None:
        deadline = time.monotonic() + spec.deadline
        failed = 0 if attempt.run is None else failed_tries(self.store.read(attempt.run).tries)
        if attempt.run is not None and delay:
            self._wait_for_retry(attempt.run, delay)
        while True:
            self.observer.stage(spec.label, "waiting")
            with self.budget.take(spec.threads, partial(self._is_stopped, attempt.run)):
                if self._is_stopped(attempt.run):
                    return
                if attempt.run is not None and self.store.cancelled(attempt.run) is not None:
                    return
                if attempt.run is None:
                    attempt.run = self.store.claim(spec.task["experiment"], str(spec.task["task"]), spec.minute)
                    deadline = time.monotonic() + spec.deadline
                run = attempt.run
                try:
                    code = self._make_try(spec, attempt, deadline)
                except Exception as error:  # a full disk, a store that went away, no more processes; or a bug
                    code = self._record_failure(spec, attempt, error)
            if attempt.is_lost:
                return
            failed += 1
            was_last = failed > spec.retries or time.monotonic() >= deadline
            if code in (ExitCode.DONE, ExitCode.WRONG_INPUT) or was_last or self._is_stopped(run):
                return
            if self.store.cancelled(run) is not None:
                return
            seconds = min(self.back_off(failed), max(0.0, deadline - time.monotonic()))
            failed_run = self.read_end(run)
            self.observer.retry(spec.label, failed_run, describe_retry(failed_run, failed_run.reason, seconds))
            self._wait_for_retry(run, seconds)

    def record_failure(self, run: c.RunId, kind: str, retries: int, error: Exception) -> None:
        """Record that a claimed run failed before any step of it could be described."""
        attempt = _Attempt(run, self.read_end(run).last_claim)
        mark = {"schema": c.SCHEMA, "run": str(run), "retries": retries, "kind": kind, "runtime": None}
        self._record_try_end(attempt, mark, self.describe_failure(error))

    def describe_failure(self, error: Exception) -> dict[str, Any]:
        """How a try ends by what was raised here."""
        if isinstance(error, OSError):
            # Another try would be the same user's, or have the same command line.
            is_permanent = error.errno in (*REFUSED_ERRNOS, errno.E2BIG)
            code = ExitCode.WRONG_INPUT if is_permanent else ExitCode.FAILED
            return {"reason": describe_os_error(error, self.store.root), "code": code}
        lines = [one_line(line) for line in "".join(traceback.format_exception(error)).splitlines()]
        reason = f"{type(error).__name__}: {one_line(str(error))} (a bug in cronsemble)"
        return {"reason": reason, "code": ExitCode.FAILED, "tail": lines[-40:]}

    def _record_failure(self, spec: RunSpec, attempt: _Attempt, error: Exception) -> int:
        """Record that a try failed by what was raised, unless its end is recorded; the exit code that it stands for."""
        end = self.describe_failure(error)
        if attempt.run is not None and self._is_stopped(attempt.run):
            end |= self._stop_end(attempt.run)
        self._record_try_end(attempt, self._start_mark(spec, attempt), end)
        return int(end["code"])

    def _record_stop(self, spec: RunSpec, attempt: _Attempt) -> None:
        """Record as a try of its own that a run was stopped before its first try, or for good before its next one."""
        run = attempt.run
        assert run is not None
        with self._lock:
            has_begun = run in self._current_tries
        if not self._is_stopped(run) or (has_begun and run not in self._stop_reasons):
            return
        if not has_begun or self.read_end(run).has_tries_left():
            end = {"status": Status.INTERRUPTED, **self._stop_end(run)}
            self._record_try_end(_Attempt(run, attempt.number), self._start_mark(spec, attempt), end)

    def _record_try_end(self, attempt: _Attempt, start: Mapping[str, Any], end: Mapping[str, Any]) -> None:
        """Record how a try ended, which may not have begun; what the store cannot take now is written later."""
        assert attempt.run is not None
        name = attempt.try_name or uuid.uuid4().hex[:12]
        now = _current_time()
        start = {"claim": attempt.number, "time": now, "process": process_identity(), **start, "try": name}
        end = {"schema": c.SCHEMA, "time": now, "status": Status.FAILED, **end}
        problem = self.ends.record(TryEnd(attempt.run, name, start, end))
        if problem:
            self.observer.say(f"{attempt.run}: its end cannot be written yet: {problem}")

    def stop_run(self, run: c.RunId, reason: str) -> None:
        """Stop a run for good and have its try record why, unless it succeeds first."""
        with self._lock:
            self._stop_reasons[run] = reason
            folder = self._current_tries.get(run)
        if folder is not None and folder.exists():
            with suppress(OSError):  # its thread records it too
                self._publish_end(folder, {"status": Status.INTERRUPTED, **self._stop_end(run)})
        self.interrupt(run)

    def _stop_end(self, run: c.RunId) -> dict[str, Any]:
        """How a run ends that was stopped: by `stop_run` for good, else with its engine."""
        reason = self._stop_reasons.get(run)
        end = {"status": Status.INTERRUPTED, "reason": reason or "interrupted"}
        return end if reason is None else {**end, "final": True}

    def interrupt(self, run: c.RunId | None = None) -> None:
        """Stop every child of a run, or all children and the engine; containers too, within 5 s."""
        with self._lock:
            if run is None:
                self._stop.set()
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

    def is_stopped(self, run: c.RunId) -> bool:
        """Whether this run is to stop, or the engine."""
        return self._is_stopped(run)

    def pause(self, run: c.RunId, seconds: float) -> bool:
        """Wait so long at most, until the run is to stop or there may be something new; whether there is."""
        with self._retry_wait:
            known = self._changes
            self._retry_wait.wait_for(lambda: self._is_stopped(run) or self._changes != known, seconds)
            return self._changes != known

    def announce_change(self) -> None:
        """Have those that wait for other runs look again: a run has ended, or a slot will have none."""
        with self._retry_wait:
            self._changes += 1
            self._retry_wait.notify_all()

    def _wait_for_retry(self, run: c.RunId, seconds: float) -> None:
        with self._retry_wait:
            self._retry_wait.wait_for(lambda: self._is_stopped(run), seconds)

    def _make_try(self, spec: RunSpec, attempt: _Attempt, deadline: float) -> int:
        """Claim a run's next try, and take it through its steps until ``deadline`` by the monotonic clock; the exit code."""
        store, run = self.store, attempt.run
        assert run is not None
        # What the store could not take before has its place before this try.
        self.ends.write()
        attempt.try_name = attempt.step = ""
        if not attempt.is_unused:
            mark = {"kind": spec.kind, "time": _current_time(), "process": process_identity()}
            attempt.is_lost = not store.claim_try(run, attempt.number + 1, mark)
            if attempt.is_lost:
                return ExitCode.INTERRUPTED
            attempt.number += 1
        name, attempt.is_unused = uuid.uuid4().hex[:12], False
        attempt.try_name = name
        folder = store.try_folder(run, name)
        if engine := _container_engine(spec):
            self._end_leftovers(engine)
        store.begin_try(run, name, self._start_mark(spec, attempt, deadline))
        # Steps read it where it is too long for a variable.
        store.put_snapshot("task", to_json(dict(spec.task)))
        with self._lock:
            self._current_tries[run] = folder
            user_code = self._code.get(str(spec.task["snapshot"]["code"]))
        if user_code:
            store.put_snapshot("code", user_code)
        tries = store.read(run).tries
        number, most = len(tries), max_tries(tries, spec.retries)
        for earlier in tries[:-1]:
            if not earlier["start"].get("containers"):
                continue
            problem = end_try(earlier["start"], earlier["name"])
            container_output.remove_all_but_files(store.run_folder(run))
            if problem:
                # None begins beside another.
                reason = f"the container of its try {earlier['name']} could not be ended: {problem}"
                return self._fail_try(spec, attempt, reason, ExitCode.FAILED)
        predictions = [step for step in spec.steps if step.argv[0] == "predict"]
        for step in spec.steps:
            attempt.step = step.argv[0]
            if attempt.step == "predict":
                if step is not predictions[0]:
                    continue  # its turn was with the first
                code = self._predict(spec, attempt, predictions, deadline, (number, most))
            elif isinstance(step.runtime, RuntimeUnavailable):
                return self._fail_try(spec, attempt, str(step.runtime), ExitCode.WRONG_INPUT)
            else:
                self.observer.stage(spec.label, step_title(" ".join(step.argv), number, most), folder)
                code = self._finish_step(spec, attempt, folder, self._make_step(spec, attempt, step.argv, step.runtime, deadline))
            if code != ExitCode.DONE:
                return code
        return ExitCode.DONE

    def _predict(
        self, spec: RunSpec, attempt: _Attempt, steps: Sequence[Step], deadline: float, number: tuple[int, int | None]
    ) -> int:
        """Take a try through its predict steps, side by side within the budget; the exit code of the first that did not end well.

        ``number``: which try it is, and of how many.
        """
        assert attempt.run is not None
        folder, share, failed = self.store.try_folder(attempt.run, attempt.try_name), CpuShare(), threading.Event()
        logs = threading.Lock()
        try:
            program = program_copy(self.store, str(spec.task["snapshot"]["program"]))
        except (Unreadable, FileNotFoundError) as error:
            return self._fail_try(spec, attempt, _unreadable_program(error), ExitCode.WRONG_INPUT)
        for wave in predict_steps(spec.task, steps, program):
            # Another step's process is not ended with this one's: its member would be left out by the next try.
            members = [member for step in wave for member in step.members]
            self.observer.stage(spec.label, step_title(f"predict {', '.join(members)}", *number), folder)

            def make(step: PredictStep, is_alone: bool) -> _StepEnd:
                def is_over() -> bool:
                    return failed.is_set() or self._is_stopped(attempt.run)

                with self.budget.take(step.threads, is_over, share):
                    if is_over():
                        return _StepEnd(ExitCode.DONE if failed.is_set() else ExitCode.INTERRUPTED)
                    end = self._make_step(spec, attempt, step.argv, step.runtime, deadline, is_alone)
                if end.code != ExitCode.DONE or end.reason:
                    failed.set()
                    self.budget.wake()
                if not is_alone and step.runtime.engine is None:
                    with logs:
                        append_member_logs(folder, step.members, log_limit(spec.task))
                return end

            with ThreadPoolExecutor(len(wave)) as pool:
                ends = list(pool.map(partial(make, is_alone=len(wave) == 1), wave))
            if len(wave) > 1 and wave[0].runtime.engine is not None:
                container_output.remove_all_but_files(self.store.run_folder(attempt.run))
                append_member_logs(folder, members, log_limit(spec.task))
            for end in ends:
                code = self._finish_step(spec, attempt, folder, end)
                if code != ExitCode.DONE:
                    return code
        return ExitCode.DONE

    def _make_step(
        self,
        spec: RunSpec,
        attempt: _Attempt,
        argv: tuple[str, ...],
        runtime: Runtime,
        deadline: float,
        is_alone: bool = True,
    ) -> _StepEnd:
        """Start a step of a try, beside others unless it ``is_alone``, and wait for its end, at most until ``deadline``."""
        store, run, name = self.store, attempt.run, attempt.try_name
        assert run is not None
        env = self._env(spec, argv, attempt, step_timeout(deadline, time.monotonic()))
        container = container_name(name, argv[-1])
        step_id = "" if is_alone else container
        if not is_alone:
            env |= {c.ENV_STEP: step_id, c.ENV_MEMBER_LOGS: "1"}
        try:
            program = program_copy(store, str(spec.task["snapshot"]["program"]))
        except (Unreadable, FileNotFoundError) as error:
            return _StepEnd(ExitCode.WRONG_INPUT, reason=_unreadable_program(error))
        secrets = step_secrets(spec.task, argv)
        if runtime.engine is not None:
            container_output.make_mounted_folders(store)
        run_folder = store.run_folder(run)
        command = runtime.command(program, store.root, run_folder, spec.folder, list(argv), env, secrets, container)
        # One prepares at a time: the first pins the data, the others read it.
        with self._prepare_lock if argv[0] == "prepare" else nullcontext():
            end = self._run_step(runtime, command, run, name, deadline, step_id)
            if runtime.engine is not None and is_alone:
                container_output.remove_all_but_files(run_folder)
                if end.code == ExitCode.DONE:
                    folder = store.try_folder(run, name)
                    end.reason = container_output.publish_output(store, spec.task, run, folder, env, argv[0])
        return end

    def _finish_step(self, spec: RunSpec, attempt: _Attempt, folder: Path, end: _StepEnd) -> int:
        """Record how a step ended, unless it ended well or has recorded it; the exit code that it stands for."""
        assert attempt.run is not None
        if end.reason:
            return self._fail_try(spec, attempt, end.reason, end.code or ExitCode.FAILED)
        if end.code != ExitCode.DONE:
            self._record_unsupervised_end(spec, attempt, folder, end.code, end.errors)
            if end.left_running:
                self._record_left_running(attempt.run, folder, end.left_running)
        return end.code

    def _run_step(
        self, runtime: Runtime, command: StepCommand, run: c.RunId, try_name: str, deadline: float, step_id: str
    ) -> _StepEnd:
        """Start a supervised step and wait for it, in a container at most until ``deadline`` and what its end takes.

        ``step_id``: which of the steps it is that its try has side by side; empty if it has one.
        """
        if self._is_stopped(run):
            return _StepEnd(ExitCode.INTERRUPTED)
        # In memory: secrets are written to no disk, and that of temporary files may be full.
        with open(os.memfd_create("stderr"), "w+b") as errors, open(os.memfd_create("stdin"), "w+b") as stdin:
            stdin.write(command.stdin)
            stdin.seek(0)
            patience = None if runtime.engine is None else max(0.0, deadline - time.monotonic()) + OVERDUE
            try:
                code = self._run_process(command, run, stdin, errors, patience)
                errors.seek(max(0, errors.seek(0, os.SEEK_END) - c.LARGEST_END))
                lines = errors.read().decode(errors="replace").split("\n")
            except subprocess.TimeoutExpired:
                code, lines = -signal.SIGKILL, ["its container did not end at its deadline"]
        problem = ""
        if runtime.engine is not None and code != ExitCode.DONE:
            # Of its engine's client alone is known that it has ended.
            problem = end_containers_of_try(runtime.engine, try_name, step_id)
        elif code < 0:
            # It could not end its own processes any more.
            end_processes_of_try(try_name, step_id)
        return _StepEnd(code, lines, left_running=problem)

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
            try:
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
            except OSError as error:
                # It may name the interpreter, and a reader would look for the fault there.
                raise OSError(error.errno, error.strerror, "the step's process cannot be started") from error
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

    def _env(self, spec: RunSpec, argv: Sequence[str], attempt: _Attempt, timeout: str) -> dict[str, str]:
        task = json.dumps(spec.task)
        task_file = self.store.snapshot_path("task", snapshot_digests(spec.task)["task"]).relative_to(self.store.root)
        return {
            c.ENV_RUN: str(attempt.run),
            c.ENV_TRY: attempt.try_name,
            **({c.ENV_TASK: task} if len(task) <= c.LARGEST_VARIABLE else {c.ENV_TASK_FILE: str(task_file)}),
            c.ENV_KIND: spec.kind,
            c.ENV_INVOCATION: spec.invocation,
            c.ENV_OWNER: json.dumps(process_identity()),
            c.ENV_TIMEOUT: timeout,
            c.ENV_RETRIES: str(spec.retries),
            **step_variables(spec.env, argv),
        }

    def _start_mark(self, spec: RunSpec, attempt: _Attempt, deadline: float | None = None) -> dict[str, Any]:
        """The mark of a try's start; ``deadline``, by the monotonic clock, is that of all tries."""
        last = spec.steps[-1].runtime
        until = None if deadline is None else format_time(time.time() + deadline - time.monotonic())
        engine = _container_engine(spec)
        return {
            "schema": c.SCHEMA,
            "run": str(attempt.run),
            "try": attempt.try_name,
            "claim": attempt.number,
            "retries": spec.retries,
            "time": _current_time(),
            **({} if until is None else {"until": until}),
            "kind": spec.kind,
            # Whoever ends what is left of this try needs to know whom to ask.
            **({} if engine is None else {"containers": engine.name}),
            "snapshot": snapshot_digests(spec.task),
            "runtime": {"image": last.image, "python": last.python} if isinstance(last, Runtime) else None,
            "process": process_identity(),
        }

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

    def _fail_try(self, spec: RunSpec, attempt: _Attempt, reason: str, code: int) -> int:
        """Record that a try failed before its step was started; returns ``code``."""
        end = {"step": attempt.step or spec.steps[0].argv[0], "reason": reason, "code": code}
        self._record_try_end(attempt, self._start_mark(spec, attempt), end)
        return code

    def _record_unsupervised_end(self, spec: RunSpec, attempt: _Attempt, folder: Path, code: int, errors: Sequence[str]) -> None:
        """Record what the supervisor could not: it was killed or never started, or the store did not take its mark."""
        run = attempt.run
        assert run is not None
        if self.store.result(run) is not None or (folder / c.END).exists():
            return
        with suppress(OSError):
            share_tree(folder)
        end = parse_end(errors)
        if not end:
            cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            last_line = next((line for line in reversed(errors) if line.strip()), "")
            reason = f"{attempt.step} could not be supervised ({cause})" + (f": {one_line(last_line)}" if last_line else "")
            end = {"step": attempt.step, "reason": reason}
        if self._is_stopped(run):
            end |= self._stop_end(run)
        self._record_try_end(attempt, self._start_mark(spec, attempt), end)

    def _record_left_running(self, run: c.RunId, folder: Path, problem: str) -> None:
        """Add to a try's end that a container of it could not be ended."""
        end = read_json(folder / c.END)
        if self.store.result(run) is None and end is not None:
            reason = "; ".join(filter(None, [str(end.get("reason", "")), f"its container could not be ended: {problem}"]))
            replace_file(folder / c.END, to_document({**end, "reason": reason}))

    def _publish_end(self, folder: Path, end: dict[str, Any]) -> None:
        publish_bytes(
            folder / c.END,
            to_document(
                {
                    "schema": c.SCHEMA,
                    "run_id": folder.parent.name,
                    "try": folder.name[len(c.TRY_PREFIX) :],
                    "time": _current_time(),
                    **end,
                }
            ),
        )


def _container_engine(spec: RunSpec) -> ContainerEngine | None:
    """The engine of those steps of a run that run in images; None if none does."""
    runtimes = (step.runtime for step in spec.steps)
    return next((runtime.engine for runtime in runtimes if isinstance(runtime, Runtime) and runtime.engine), None)


def _unreadable_program(error: OSError) -> str:
    return f"its program {error.filename} cannot be run: {error.strerror}"


def _current_time() -> str:
    return format_time(time.time(), milliseconds=True)


def step_timeout(deadline: float, now: float) -> str:
    """The seconds that a step may take, at least one, as its supervisor reads them; both arguments by the monotonic clock.

    Never less than what is left: a step that ended before the deadline of its tries would be tried again.
    """
    return f"{max(1.0, math.ceil((deadline - now) * 1000) / 1000):.3f}"


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
