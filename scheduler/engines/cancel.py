"""`cancel` on this machine: ends running runs, and records by whom."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jobs import contract as c
from jobs.contract import RunKind, Status
from jobs.store import Run, Store
from jobs.store.process_identity import is_alive
from scheduler.engines import processes
from scheduler.engines.leftovers import end_try
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.identity import current_user
from scheduler.stores import find_run
from scheduler.stores.workspace import Workspace
from scheduler.times import format_time, is_time


def cancellation(kind: str | None = None) -> dict[str, Any]:
    """What is recorded of a cancellation; ``kind`` is that of a run that may have left nothing in the store."""
    now = format_time(time.time(), milliseconds=True)
    mark = {"schema": c.SCHEMA, "reason": f"cancelled by {current_user()}", "by": current_user(), "time": now}
    return {**mark, "kind": kind} if kind else mark


def cancel_local_runs(workspace: Workspace, targets: Sequence[str]) -> ExitStatus:
    """End the runs that are named, or those running of the tasks, dates and times that are; an error if any could not be ended.

    Raises CronsembleError for a name of none, and for a task, date or time of which nothing is running.
    """
    store, code = workspace.store, ExitStatus.DONE
    for run in _named_runs(store, workspace.name, targets, workspace.timezone):
        problem = _cancel(store, run)
        if problem:
            print(f"{run.id}: {problem}", file=sys.stderr)
            code = ExitStatus.ERROR
        else:
            print(f"{run.id}: cancelled")
    return code


def _named_runs(store: Store, experiment: str, targets: Sequence[str], timezone: str) -> list[Run]:
    runs: dict[c.RunId, Run] = {}
    known_tasks = store.tasks(experiment)
    for target in targets:
        if target in known_tasks:
            running = running_runs(store, experiment, target)
            if not running:
                raise CronsembleError(f"{target}: no run of it is running")
            runs |= {run.id: run for run in running}
        elif is_time(target):
            of_then = [
                store.read(run) for task in known_tasks for run in find_run.runs_at(store, experiment, task, target, timezone)
            ]
            running = [run for run in of_then if _goes_on(run)]
            if not running:
                raise CronsembleError(f"{target}: no run of then is running")
            runs |= {run.id: run for run in running}
        else:
            run = find_run.find_run(store, experiment, target, timezone=timezone)
            runs[run.id] = run
    return list(runs.values())


def running_runs(store: Store, experiment: str, task: str) -> list[Run]:
    """The runs of a task that are running or wait for their next try, as far as the store can tell."""
    return [run for run in store.runs(experiment, task, skip_unreadable=True) if _goes_on(run)]


def _goes_on(run: Run) -> bool:
    return run.status == Status.RUNNING or _waits_for_try(run)


def _waits_for_try(run: Run) -> bool:
    """Whether a run whose last try has ended gets another: by the process that makes it, or, of a schedule, by any `serve`."""
    until = c.parse_time(run.tries[-1]["start"].get("until")) if run.tries else None
    has_engine = run.kind == RunKind.SCHEDULED or is_alive(dict(owner_of(run))) is True
    return until is not None and time.time() < until and run.has_tries_left() and has_engine


def _cancel(store: Store, run: Run) -> str:
    """End a run; what keeps it from being ended, or empty."""
    if _waits_for_try(run):
        # Whoever would begin the next try looks for this first.
        store.cancel(run.id, cancellation())
        return ""
    if run.status != Status.RUNNING:
        return f"it has ended already: {run.status}" + (f": {run.reason}" if run.reason else "")
    owner = owner_of(run)
    alive = is_alive(dict(owner))
    if alive is None:
        return f"it runs on {owner.get('host', 'another machine')}: cancel it there, or with --cluster if that is a pod"
    if not alive:
        return "the process that made it is gone"
    # First the mark: between two steps, or while it waits for CPUs, there is no process to stop, and none starts any more.
    store.cancel(run.id, cancellation())
    has_stopped = processes.stop_processes(run.id, owner)
    problems = [end_try(attempt["start"], attempt["name"]) for attempt in store.read(run.id).tries]
    if not has_stopped:
        pids = ", ".join(str(process.pid) for process in processes.processes_of_run(run.id, owner))
        return f"its processes do not end, though they were killed: {pids}"
    return "; ".join(f"it could not be ended: {problem}" for problem in problems if problem)


def owner_of(run: Run) -> Mapping[str, Any]:
    """The process that makes a run: by the claim of its next try, else by its newest try or its claim."""
    mark = run.next_claim or (run.tries[-1]["start"] if run.tries else run.claim)
    return dict(mark.get("process") or {})
