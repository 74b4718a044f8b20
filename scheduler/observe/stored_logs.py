"""`logs`: what a run's processes said, as the store kept it, or as they say it."""

from __future__ import annotations

import os
import sys
import time

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.errors import UnknownRun
from scheduler.stores import find_run
from scheduler.stores.workspace import Workspace

LOOK = 0.3
"""Seconds between two looks at a log that grows."""


def find(store: Store, experiment: str, name: str | None) -> Run:
    """The run of that name, or the newest: one at work, else that of the newest slot; raises UnknownRun."""
    if name is not None:
        return find_run.find_run(store, experiment, name)
    newest = [next(store.run_ids(experiment, task), None) for task in store.tasks(experiment)]
    found = [store.read(run) for run in newest if run is not None]
    if not found:
        raise UnknownRun(f"no runs of {experiment} yet; next: cronsemble run")
    return max(found, key=lambda run: (run.status == Status.RUNNING, run.id.minute, run.id.attempt, begun(run)))


def begun(run: Run) -> str:
    """When a run's first try began, as it wrote it."""
    return str(run.record.get("started") or next((each["start"].get("time", "") for each in run.tries), ""))


def print_logs(workspace: Workspace, name: str | None, follow: bool) -> int:
    """Print a run's log; with ``follow`` what comes to it until the run ends: then 0 if it succeeded, else 1."""
    store = workspace.store
    run = find(store, workspace.name, name)
    if name is None:
        print(f"{run.id}:", file=sys.stderr)
    shown: dict[str, int] = {}
    while True:
        # First what it is, then what it said: all of an ended run is printed.
        run = store.read(run.id)
        store.download(run.id, f"*/{c.LOG}")
        for folder in find_run.file_folders(run):
            # A try that is published takes its log along.
            key = str(run.record.get("try")) if folder == c.RESULT else folder.removeprefix(c.TRY_PREFIX)
            shown[key] = _print_from(run.folder / folder / c.LOG, shown.get(key, 0))
        if not follow or run.status != Status.RUNNING or store.files.is_offline:
            break
        time.sleep(LOOK)
    if store.files.is_offline and not any(shown.values()):
        print(f"{run.id}: its log was not looked at before, and is not here", file=sys.stderr)
    return end(run, follow)


def end(run: Run, follow: bool) -> int:
    """Say how a run ended; the exit status."""
    sys.stdout.flush()
    if run.reason:
        print(f"{run.status}: {run.reason}")
    return 0 if not follow or run.status == Status.SUCCEEDED else 1


def _print_from(path: os.PathLike[str], at: int) -> int:
    """Print a file from there on; where it ends now."""
    try:
        with open(path, "rb") as file:
            file.seek(at)
            data = file.read()
    except FileNotFoundError:
        return at
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return at + len(data)
