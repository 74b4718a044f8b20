"""A program of this zipapp in the framework's interpreter: its environment, log, deadline and end. Python 3.9."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store.checksums import copy_checked
from jobs.store.log_files import BLOCK
from jobs.store.ownership import share_tree, unshared_owner
from jobs.store.regular_files import DamagedContent
from jobs.supervisor.child_process import ChildEnd, ChildProcess, start_program
from jobs.supervisor.end_reason import exit_notice, machine_memory_kills, memory_kills, read_report, step_error
from jobs.supervisor.environment import child_environment
from jobs.supervisor.fork_server import ForkServer
from jobs.supervisor.run_context import RunContext, StepError, notice
from jobs.temporary import TemporaryFolder, folder_of_process

_PASSING = (errno.EAGAIN, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ETXTBSY)
"""Errors of a start that the machine's state is to blame for, and no other machine or time need have."""


def run_child(
    context: RunContext,
    program: str,
    arguments: Sequence[str],
    env: Mapping[str, str],
    timeout: float | None = None,
    spec: Mapping[str, Any] | None = None,
    server: ForkServer | None = None,
) -> None:
    """Run a program of this zipapp in the framework's interpreter, its output copied to the log.

    ``env``: the step's own variables; ``spec``: the member of an ensemble whose ``env`` and ``secrets`` it gets, instead of
    the task's; ``timeout``: seconds, besides those of the environment; ``server``: of which a prediction may be a fork. Raises
    StepError unless the program ends with 0.
    """
    limit = context.env.get(c.ENV_TIMEOUT)
    timeout = min(filter(None, (timeout, float(limit) if limit else None)), default=None)
    interpreter = context.env.get(c.ENV_PYTHON) or sys.executable
    if zipfile.is_zipfile(sys.argv[0]):
        command = [interpreter, "-s", "-W", "ignore", sys.argv[0]]
    else:
        # Started from the sources: `python -m jobs`.
        command = [interpreter, "-s", "-W", "ignore", "-m", "jobs"]
        env = {**env, "PYTHONPATH": str(Path(__file__).parents[2])}
    if context.stopped.is_set():
        raise StepError("interrupted", ExitCode.INTERRUPTED, Status.INTERRUPTED)
    kills_before, machine_kills_before = memory_kills(), machine_memory_kills()
    environment = child_environment(context, env, context.task if spec is None else spec)
    with context.open_log() as log:
        try:
            began, forked = time.monotonic(), None
            if server is not None:
                forked = server.start([*command, "fork-server"], arguments, environment, timeout or float("inf"))
                for begin in range(0, len(server.output) if forked else 0, BLOCK):  # as if it had imported the backend itself
                    log.write(server.output[begin : begin + BLOCK])
            if forked is None:
                began = time.monotonic()
            started = forked or start_program([*command, program, *arguments], environment)
            child = ChildProcess(started, log)
        except OSError as error:
            reason = f"the interpreter {interpreter} cannot be started: {error.strerror}"
            raise StepError(reason, ExitCode.FAILED if error.errno in _PASSING else ExitCode.WRONG_INPUT) from error
        context.child = child
        if context.stopped.is_set():  # by a signal that came before there was a child to stop
            child.stop()
        end = child.wait(None if timeout is None else max(0.0, timeout - (time.monotonic() - began)))
        context.child = None
        last_line = log.last_line
        for line in read_report(end.report)[1].splitlines():
            log.write(f"{line}\n".encode())
    _report_left_behind(context, end)
    _share_output(context)
    if context.stopped.is_set():
        raise StepError("interrupted", ExitCode.INTERRUPTED, Status.INTERRUPTED, exit_code=end.code)
    if end.is_late and not end.is_done:
        raise StepError(f"{program}: not done within its deadline of {round(timeout or 0, 1):g} s", exit_code=end.code)
    code_folder = arguments[arguments.index("--code") + 1] if "--code" in arguments else ""
    kills, machine_kills = memory_kills() - kills_before, machine_memory_kills() - machine_kills_before
    failure = step_error(program, end, code_folder, last_line, kills, machine_kills)
    if failure is not None:
        raise failure
    if exit_notice(end):
        notice(context, exit_notice(end))


def _report_left_behind(context: RunContext, end: ChildEnd) -> None:
    """Say which processes the program had left behind."""
    for processes, one, several in (
        (end.ended, "was still running and has been ended", "were still running and have been ended"),
        (end.surviving, "could not be ended", "could not be ended"),
    ):
        if len(processes) == 1:
            notice(context, f"left behind by this step: {processes[0][:100]} {one}")
        elif processes:
            notice(context, f"left behind by this step: {processes[0][:100]} and {len(processes) - 1} more {several}")


def _share_output(context: RunContext) -> None:
    """Give what the child made to the owner of the store: other steps may run as that user, in a container."""
    share_tree(context.folder)
    if context.is_store_read_only:  # in a container, which runs as the store's owner
        return
    owner = unshared_owner(context.folder, context.store.root)
    if owner is not None:
        notice(
            context,
            f"{context.folder} belongs to user {os.geteuid()}, and the store to user {owner}, for whom this file system "
            "changes no owner: steps that run as that user, as in a container, may fail; run as that user",
        )


def stop_process(context: RunContext) -> None:
    """Mark the run as interrupted, and end the processes of the step that is running, if there is one; for signal handlers."""
    context.stopped.set()
    if context.child is not None:
        context.child.stop()


NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}
"""Of a process for which no GPU is asked: one that happens to be there would change the bits."""


def framework_env(spec: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables that we set for a task's or member's framework: backend, threads, GPUs."""
    threads = str(spec["threads"])
    return {
        **{name: threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")},
        "PYTHONIOENCODING": "utf-8",
        "KERAS_BACKEND": spec["backend"],
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **({} if spec.get("gpus") else NO_GPU),
    }


def warm_theano(context: RunContext, backend: str | None = None) -> None:
    """Give Theano a private copy of the image's compiled modules: it needs a writable folder."""
    warm = context.env.get(c.ENV_THEANO_WARM)
    if not warm or (backend or context.task.get("backend")) != "theano" or _warmed:
        return
    # Never one that is there already: it holds compiled code, and others can write to the temporary folder.
    target = folder_of_process("theano") / "compiledir"
    shutil.copytree(warm, target)
    flags = [os.environ["THEANO_FLAGS"]] if os.environ.get("THEANO_FLAGS") else []
    os.environ["THEANO_FLAGS"] = ",".join([*flags, f"base_compiledir={target}"])
    _warmed.append(target)


_warmed: list[Path] = []
"""Theano's folder of compiled modules, once this process has one."""


class UserCode:
    """The user's code, unpacked in a temporary folder for as long as a child process needs it; the folder is empty without any.

    Entering it raises StepError for a snapshot that is missing or damaged.
    """

    def __init__(self, context: RunContext, digest: str) -> None:
        self.context = context
        self.digest = digest
        self.scratch: TemporaryFolder | None = None

    def __enter__(self) -> str:
        self.scratch = TemporaryFolder("code")
        if self.digest:
            path = self.context.store.snapshot_path("code", self.digest)
            # It is about to be run: only the bytes that were recorded are, whatever takes their name while they are read.
            try:
                copy = self.scratch.path / ".code.zip"
                copy_checked(path, self.digest, copy)
                with zipfile.ZipFile(copy) as archive:
                    archive.extractall(self.scratch.path)
                copy.unlink()
            except (OSError, zipfile.BadZipFile) as error:
                self.scratch.remove()
                problem = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else f"is no zip: {error}"
                if isinstance(error, DamagedContent):
                    problem = "is damaged: the file's sha256 differs from its name"
                raise StepError(f"its code {path} {problem}", ExitCode.WRONG_INPUT) from error
        return str(self.scratch.path)

    def __exit__(self, *_: object) -> None:
        if self.scratch is not None:
            self.scratch.remove()
