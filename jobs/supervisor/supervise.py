"""The supervisor: runs one step of a run as a child process, keeps its log, enforces its deadline, and publishes.

Standard library alone, Python 3.9: it is the entry point of every container and every local process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

from jobs import contract as c
from jobs.contract import ExitCode, RunKind, Status
from jobs.store.files import publish_bytes, to_document
from jobs.store.latest_predictions import update_latest
from jobs.store.log_files import last_lines
from jobs.store.ownership import REFUSED_ERRNOS
from jobs.store.process_identity import process_identity
from jobs.supervisor.framework_process import stop_process
from jobs.supervisor.heartbeat import PingAddress, StepPings, take_address
from jobs.supervisor.run_context import RunContext, StepError, now, read_context
from jobs.supervisor.secret_variables import read_secret_variables
from jobs.supervisor.steps import STEPS
from jobs.supervisor.wait_for_runs import wait_until_ended
from jobs.text import one_line

TAIL = 40
"""Lines of the log that a failed try records with its reason."""
TAIL_WIDTH = 1000
"""Characters of each of them."""


def main(argv: Sequence[str]) -> int:
    """Run one step; returns its exit status (``jobs.contract.ExitCode``)."""
    parser = argparse.ArgumentParser(
        prog="supervise",
        description="Run one step of a run under supervision. The run is described by the environment: "
        f"{c.ENV_RUN} (<experiment>-<task>-<unix minutes>[-rN]), {c.ENV_STORE}, {c.ENV_TASK} (JSON) or {c.ENV_TASK_FILE}, and "
        f"optionally {c.ENV_TRY}, {c.ENV_KIND}, {c.ENV_FOLDER}, {c.ENV_SNAPSHOT}, {c.ENV_PYTHON}, "
        f"{c.ENV_TIMEOUT}; await: {c.ENV_AWAIT}, else a scheduled ensemble waits for its members.",
    )
    parser.add_argument("step", choices=["await", "prepare", "train", "predict", "combine"])
    parser.add_argument(
        "--member",
        action="append",
        default=[],
        help="predict: whose model; several members have the same backend and environment",
    )
    options = parser.parse_args(argv)
    try:
        _take_secrets()
        address = take_address(os.environ)
        context = read_context(os.environ)
    except StepError as error:
        print(f"cronsemble: {error}", file=sys.stderr)
        _write_termination_message(str(error))
        return error.code
    # What the user's functions are given.
    os.environ[c.ENV_RUN] = str(context.run)
    return supervise(context, options.step, options.member, address)


def _take_secrets() -> None:
    """Put the variables from secrets into the environment, where they come on stdin; raises StepError."""
    if os.environ.pop(c.ENV_SECRETS, "") != c.SECRETS_FROM_STDIN:
        return
    try:
        os.environ.update(read_secret_variables(sys.stdin.buffer))
    except ValueError as error:
        # Never the line itself.
        raise StepError("the variables from secrets did not arrive on stdin") from error


def supervise(context: RunContext, step: str, members: Sequence[str] = (), address: PingAddress | None = None) -> int:
    """Run a step of the run in ``context``; returns its exit status. Every failure is recorded in the store and printed.

    ``address``: where a heartbeat's pings go, if anywhere.
    """
    # Whoever ignores it has its children's exit statuses thrown away, and hands that on.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_process(context))
    pings = StepPings(context, address)
    try:
        return _supervise(context, step, members, pings)
    finally:
        pings.finish()


def _supervise(context: RunContext, step: str, members: Sequence[str], pings: StepPings) -> int:
    try:
        if context.store.result(context.run) is not None:
            print("cronsemble: this run already has its result", flush=True)
            # The try that published it may have been killed before the rest was done.
            if step == "combine" and not context.is_store_read_only:
                if (path := context.store.repair_archive(context.store.read(context.run))) is not None:
                    print(f"cronsemble: archived {path}", flush=True)
                if problem := update_latest(context.store, context.run.experiment).problem:
                    print(f"cronsemble: {problem}", flush=True)
            pings.succeeded(step)
            return ExitCode.DONE
        if context.store.cancelled(context.run) is not None:
            print("cronsemble: this run was cancelled", file=sys.stderr, flush=True)
            return ExitCode.WRONG_INPUT
        if step == "await":
            if not _wait(context):
                # The try has not begun, so nothing is recorded.
                return ExitCode.INTERRUPTED if context.stopped.is_set() else ExitCode.TRY_LATER
            if c.ENV_AWAIT not in context.env:
                return ExitCode.DONE  # the next step says for whom it has waited
        _mark_start(context)
        pings.began(step)
        STEPS[step](context, members)
    except StepError as error:
        return _fail(context, step, error, pings)
    except OSError as error:
        # Another try would be the same user's.
        code = ExitCode.WRONG_INPUT if error.errno in REFUSED_ERRNOS else ExitCode.FAILED
        reason = f"{error.filename or context.store.root}: {error.strerror}{_refused_user(error)}"
        return _fail(context, step, StepError(reason, code), pings)
    pings.succeeded(step)
    return ExitCode.DONE


def _fail(context: RunContext, step: str, error: StepError, pings: StepPings) -> int:
    _end(context, step, error)
    pings.failed(step, error)
    return error.code


def _wait(context: RunContext) -> bool:
    """Wait for the runs that the environment names, or for a scheduled ensemble's members; False if the step ends before."""
    if c.ENV_AWAIT in context.env:
        return wait_until_ended(context)
    from jobs.supervisor.wait_for_members import wait_for_members  # late: only the keras3 runtime's Python has time zones

    return wait_for_members(context)


def _refused_user(error: OSError) -> str:
    """The user whom the file system refused, as part of a message; empty for another error."""
    if error.errno not in REFUSED_ERRNOS:
        return ""
    nobody = " (on NFS root is usually nobody: run as the user that owns the store)" if os.geteuid() == 0 else ""
    return f" for user {os.geteuid()}, group {os.getegid()}{nobody}"


def _mark_start(context: RunContext) -> None:
    """Make the try's folder with its start mark inside."""
    owner = context.env.get(c.ENV_OWNER)
    retries = context.env.get(c.ENV_RETRIES, "")
    mark = {
        "schema": c.SCHEMA,
        "run": str(context.run),
        "try": context.name,
        "retries": int(retries) if retries.isdigit() else None,
        "time": now(),
        "kind": context.env.get(c.ENV_KIND, RunKind.SCHEDULED),
        "snapshot": context.snapshot,
        "process": json.loads(owner) if owner else process_identity(),
    }
    context.store.begin_try(context.run, context.name, mark)


def _end(context: RunContext, step: str, error: StepError) -> None:
    """Record that the try failed, and why: in the store, on stderr and for the kubelet."""
    status = "" if error.status in (Status.FAILED, str(error)) else f"{error.status}: "
    prefix = "" if str(error).startswith((f"{step} ", f"{step}: ")) else f"{step}: "
    print(f"cronsemble: {prefix}{status}{error}", file=sys.stderr, flush=True)
    mark = {
        "schema": c.SCHEMA,
        "run_id": str(context.run),
        "try": context.name,
        "time": now(),
        "step": step,
        "status": error.status,
        "reason": str(error),
        "code": error.code,
        "tail": _tail(context),
        **error.facts,
    }
    _write_termination_message(f"{status}{error}")
    try:
        publish_bytes(context.folder / c.END, to_document(mark))
    except OSError as problem:
        if f": {problem.strerror}" not in str(error):  # else it is in the message above
            print(f"cronsemble: the reason could not be written to the store: {problem.strerror}", file=sys.stderr, flush=True)
        if context.env.get(c.ENV_OWNER):
            # The engine writes it as soon as it can.
            print(c.END_PREFIX + json.dumps(mark), file=sys.stderr, flush=True)


def _tail(context: RunContext) -> list[str]:
    """The last lines of the try's log; none where the store cannot be read either."""
    try:
        return [one_line(line) for line in last_lines(context.member_folder or context.folder, TAIL, TAIL_WIDTH)]
    except OSError:
        return []


def _write_termination_message(reason: str) -> None:
    """Write the reason where Kubernetes reads a container's termination message: the store may be what failed."""
    try:
        # The kubelet creates the file; outside a pod there is none, and none is created.
        handle = os.open(c.TERMINATION_LOG, os.O_WRONLY | os.O_TRUNC)
    except OSError:
        return
    with open(handle, "wb") as file:
        file.write(reason.encode()[: c.TERMINATION_LOG_SIZE])
