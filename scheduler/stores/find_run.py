"""Finds runs by an id, a part of one, or a date or time, and the folders of their files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from jobs import contract as c
from jobs.contract import RunId, Status
from jobs.store import Run, Store
from jobs.store.jobs_by_hand import claims
from scheduler.errors import UnknownRun
from scheduler.stores.run_snapshot import timezone_of
from scheduler.times import is_time, parse_slots

T = TypeVar("T")

_FARTHEST_ZONE = 24 * 60
"""Minutes; no zone's clocks are so far from UTC."""


def find_run(store: Store, experiment: str, name: str) -> Run:
    """The run of that id, or the only one whose id holds ``name``, or whose slot has this date or time.

    Or that of a Job of this name, which somebody made by hand.
    Raises UnknownRun, and CronsembleError for a date or time that there is not.
    """
    tasks = store.tasks(experiment)
    if is_time(name):
        matches = sorted(run for task in tasks for run in runs_at(store, experiment, task, name))
    else:
        for task in tasks:
            run = c.parse_run_id(name, experiment, task)
            if run is not None and os.path.lexists(store.run_folder(run)):
                return store.read(run)
        matches = [run for task in tasks for run in store.run_ids(experiment, task, skip_unreadable=True) if name in str(run)]
        # A Job that somebody made by hand has a name of its own.
        matches = matches or [run for task in tasks for run in claims(store, experiment, task, name)]
    match = only_match(name, matches, [str(run) for run in matches])
    if match is None:
        check_time(store, experiment, name)
        raise UnknownRun(f"{name}: no such run in {store.files.display_path(store.root)}: `cronsemble history` lists them")
    return store.read(match)


def runs_at(store: Store, experiment: str, task: str, what: str) -> Iterator[RunId]:
    """A task's runs whose slots have a date or time, or lie in FROM..TO, newest first; without a zone in that of each run.

    Raises CronsembleError for a date or time that there is not, also where there are no runs.
    """
    now = time.time()
    in_utc = parse_slots(what, "UTC", now, "")
    low, high = in_utc[0].first - _FARTHEST_ZONE, in_utc[-1].last + _FARTHEST_ZONE
    # Only these need their configuration read.
    near = (run for run in store.run_ids(experiment, task, skip_unreadable=True) if low <= run.minute <= high)
    return (run for run in near if is_meant(run, what, timezone_of(store, store.read(run)), now))


def check_time(store: Store, experiment: str, text: str) -> None:
    """Raise CronsembleError for a time that clocks never show in the zone of the newest run; for a run's name nothing."""
    newest = [next(store.run_ids(experiment, task, skip_unreadable=True), None) for task in store.tasks(experiment)]
    run = max((run for run in newest if run is not None), default=None)
    if is_time(text) and run is not None:
        parse_slots(text, timezone_of(store, store.read(run)), time.time(), "")


def is_meant(run: RunId, text: str, timezone: str, now: float) -> bool:
    """Whether a text means a run: a part of its id, or its slot's date or time, which without a zone are in ``timezone``."""
    if not is_time(text):
        return text in str(run)
    return any(period.first <= run.minute <= period.last for period in parse_slots(text, timezone, now, ""))


def only_match(name: str, matches: Sequence[T], ids: Sequence[str]) -> T | None:
    """The only one of the runs that ``name`` means; None if there is none, UnknownRun with their ``ids`` if there are several."""
    if len(matches) <= 1:
        return matches[0] if matches else None
    shown = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
    if is_time(name):
        raise UnknownRun(f"{name}: there are {len(ids)} runs of then ({shown}): type one of their ids")
    raise UnknownRun(f"{name}: {len(ids)} runs have this in their id ({shown}): type more of it")


def folders_with_files(run: Run) -> list[str]:
    """The folders that hold a run's files: its result, else its tries."""
    if run.status == Status.SUCCEEDED:
        return [c.RESULT]
    return [c.TRY_PREFIX + attempt["name"] for attempt in run.tries]
