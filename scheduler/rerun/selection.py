"""What `rerun` is asked for: a date, a slot or a run, and the original runs that this names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.errors import CronsembleError
from scheduler.stores import find_run

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SLOT = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}):?(\d{2})(Z|[+-]\d{2}:\d{2})?")


def parse(what: str) -> date | datetime | str:
    """A date, an instant (to the minute, in UTC), or else a run's name; raises CronsembleError."""
    slot = _SLOT.fullmatch(what)
    try:
        if _DATE.fullmatch(what):
            return date.fromisoformat(what)
        if slot and slot[3]:
            return datetime.fromisoformat(f"{slot[1]}:{slot[2]}{slot[3]}").astimezone(UTC)
    except ValueError as error:
        raise CronsembleError(f"{what}: no such day or time ({error}): type it like 2026-11-20 or 2026-11-20T06:00Z") from error
    if slot:
        raise CronsembleError(
            f"{what}: in which zone? Slots are named in UTC: type {slot[1]}:{slot[2]}Z, or an offset, e.g. +01:00"
        )
    return what


def originals(store: Store, experiment: str, what: str, task: str | None) -> list[Run]:
    """The runs that ``what`` names, oldest first: each ensemble run of a date or slot, or ``task``'s runs.

    Where no ensemble run is, the trainings are meant. A date is the experiment's, in the zone that each run was made
    with. What was itself repeated or made with another configuration is left out unless named as a run; of a slot
    where nothing succeeded the newest attempt is meant. Raises CronsembleError if nothing is found.
    """
    wanted = parse(what)
    if isinstance(wanted, str):
        return [find_run.find_run(store, experiment, wanted)]
    tasks = store.tasks(experiment)
    if task is not None and task not in tasks:
        raise CronsembleError(f"--task {task}: no runs of it; there are {', '.join(tasks) or 'none'}")
    chosen = [task] if task else [c.ENSEMBLE_TASK]
    found = _chosen(store, experiment, chosen, wanted)
    if not found and task is None:
        found = _chosen(store, experiment, [name for name in tasks if name != c.ENSEMBLE_TASK], wanted)
    if not found:
        dates = sorted({run.slot.date() for name in tasks for run in store.run_ids(experiment, name)})
        near = f"; there are runs from {dates[0]} to {dates[-1]}: `cronsemble history` lists them" if dates else ""
        raise CronsembleError(f"{what}: no run of {f'{experiment} {task}' if task else experiment} then{near}")
    return sorted(found, key=lambda run: run.id)


def _chosen(store: Store, experiment: str, tasks: list[str], wanted: date | datetime) -> list[Run]:
    found: list[Run] = []
    for task in tasks:
        slots: dict[int, list[Run]] = {}
        for run in _near(store, experiment, task, wanted):
            slots.setdefault(run.minute, []).append(store.read(run))
        for runs in slots.values():
            found += _originals(runs)
    return found


def _near(store: Store, experiment: str, task: str, wanted: date | datetime) -> Iterator[c.RunId]:
    """The attempts at that instant, or whose slots have that date."""
    if isinstance(wanted, datetime):
        yield from (run for run in store.run_ids(experiment, task) if run.slot == wanted)
        return
    day = datetime(wanted.year, wanted.month, wanted.day, tzinfo=UTC)
    for run in store.run_ids(experiment, task):
        # No zone is more than a day off; only these need their configuration read.
        if abs(run.slot - day) <= timedelta(days=2) and local_date(store, run) == wanted:
            yield run


def _originals(runs: list[Run]) -> list[Run]:
    kinds = {run.id: _kind(run) for run in runs}
    own = [run for run in runs if kinds[run.id] != "rerun" and not run.record.get("other_configuration")]
    succeeded = [run for run in own if run.status == Status.SUCCEEDED]
    return succeeded or sorted((run for run in own if run.status != Status.RUNNING), key=lambda run: run.id)[-1:]


def _kind(run: Run) -> str:
    return str(run.record.get("kind") or next((each["start"].get("kind") for each in run.tries), ""))


def snapshot(run: Run) -> dict[str, str]:
    """The hashes that a run was made from: by its record, else by its newest start mark; empty if it had none."""
    told = run.record.get("snapshot") or next((each["start"].get("snapshot") for each in reversed(run.tries)), None)
    return dict(told or {})


def task_of(store: Store, run: Run) -> dict[str, Any]:
    """The resolved configuration that a run was made with, from the store's snapshots; empty if that is gone."""
    return store.task_configuration({"snapshot": snapshot(run)})


def local_date(store: Store, run: c.RunId) -> date:
    """The date of a run's slot in its experiment's zone, as its own configuration had it; UTC if that is gone."""
    zone = str(task_of(store, store.read(run)).get("timezone", "UTC"))
    try:
        return run.slot.astimezone(ZoneInfo(zone)).date()
    except (ZoneInfoNotFoundError, ValueError):
        return run.slot.date()
