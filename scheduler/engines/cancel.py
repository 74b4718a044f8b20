"""`cancel`: ends runs at work, on this machine or on a cluster, and has their history say by whom."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from jobs.store.process_identity import is_alive
from scheduler.engines import processes
from scheduler.errors import CronsembleError
from scheduler.identity import current_user
from scheduler.stores import find_run
from scheduler.stores.workspace import Workspace
from scheduler.times import format_time


def cancellation(kind: str | None = None) -> dict[str, Any]:
    """What is written down of a cancellation."""
    now = format_time(time.time(), milliseconds=True)
    told = {"schema": c.SCHEMA, "reason": f"cancelled by {current_user()}", "by": current_user(), "time": now}
    return {**told, "kind": kind} if kind else told


def cancel_local_runs(workspace: Workspace, targets: Sequence[str]) -> int:
    """End runs that a process of this machine makes; 1 if any could not be ended."""
    store, code = workspace.store, 0
    for run in _wanted(store, workspace.name, targets):
        problem = _cancel(store, run)
        if problem:
            print(f"{run.id}: {problem}", file=sys.stderr)
            code = 1
        else:
            print(f"{run.id}: cancelled")
    return code


def _wanted(store: Store, experiment: str, targets: Sequence[str]) -> list[Run]:
    """The runs that are named, and those at work of the tasks that are; raises CronsembleError if a name says neither."""
    found: dict[c.RunId, Run] = {}
    known = store.tasks(experiment)
    for target in targets:
        if target in known:
            own = running_runs(store, experiment, target)
            if not own:
                raise CronsembleError(f"{target}: no run of it is at work")
            found |= {run.id: run for run in own}
        else:
            run = find_run.find_run(store, experiment, target)
            found[run.id] = run
    return list(found.values())


def running_runs(store: Store, experiment: str, task: str) -> list[Run]:
    """The runs of a task that say they are at work."""
    return [run for run in store.runs(experiment, task) if run.status == Status.RUNNING]


def _cancel(store: Store, run: Run) -> str:
    """What keeps a run from being ended here; empty if it has ended."""
    if run.status != Status.RUNNING:
        return f"it has ended already: {run.status}" + (f": {run.reason}" if run.reason else "")
    owner = owner_of(run)
    alive = is_alive(dict(owner))
    if alive is None:
        return f"it is made on {owner.get('host', 'another machine')}: cancel it there, or with --cluster if that is a pod"
    if not alive:
        return "the process that made it is gone"
    # First the mark: between two steps, or in the queue for CPUs, there is nothing to stop, and nothing more begins.
    store.cancel(run.id, cancellation())
    if not processes.stop_processes(run.id, owner):
        return f"its processes have not stopped within {processes.PATIENCE:.0f} s: {processes.processes_of_run(run.id, owner)}"
    return ""


def owner_of(run: Run) -> Mapping[str, Any]:
    """The process that makes a run: by its newest try, else by its claim."""
    told = run.tries[-1]["start"] if run.tries else run.claim
    return dict(told.get("process") or {})
