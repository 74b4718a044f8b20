"""Which original runs a user means by a date, a time, a period or a run's name."""

from __future__ import annotations

from itertools import groupby

from jobs import contract as c
from jobs.contract import RunKind, Status
from jobs.store import Run, Store
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.stores import find_run
from scheduler.stores.find_run import runs_at
from scheduler.times import is_time


def originals(store: Store, experiment: str, what: str, task: str | None, timezone: str | None = None) -> list[Run]:
    """The runs that ``what`` names, oldest first: each ensemble run of these slots, or ``task``'s runs; ``latest`` is a slot.

    Where no ensemble ran, the trainings are meant. Dates and times without a zone are in ``timezone``, as of
    :func:`scheduler.stores.find_run.find_run`. What was itself repeated or made with another configuration is left out unless
    named as a run; of a slot where nothing succeeded the newest attempt is meant. Raises CronsembleError if there is none.
    """
    if find_run.is_latest(what):
        return _originals_of_newest_slot(store, experiment, find_run.known_tasks(store, experiment, task), task)
    if not is_time(what):
        return [find_run.find_run(store, experiment, what, task, timezone=timezone)]
    known_tasks = find_run.known_tasks(store, experiment, task)
    runs = _originals_of_tasks(store, experiment, [task or c.ENSEMBLE_TASK], what, timezone)
    if not runs and task is None:
        runs = _originals_of_tasks(store, experiment, [name for name in known_tasks if name != c.ENSEMBLE_TASK], what, timezone)
    if not runs:
        dates = sorted({run.slot.date() for name in known_tasks for run in store.run_ids(experiment, name, skip_unreadable=True)})
        hint = f"; there are runs from {dates[0]} to {dates[-1]}: `cronsemble history` lists them" if dates else ""
        raise CronsembleError(f"{what}: no run of {f'{experiment} {task}' if task else experiment} then{hint}")
    return sorted(runs, key=lambda run: run.id)


def _originals_of_tasks(store: Store, experiment: str, tasks: list[str], what: str, timezone: str | None) -> list[Run]:
    runs: list[Run] = []
    for task in tasks:
        attempts: dict[int, list[Run]] = {}
        for run in runs_at(store, experiment, task, what, timezone):
            attempts.setdefault(run.minute, []).append(store.read(run))
        for attempts_of_slot in attempts.values():
            runs += _originals_of_slot(attempts_of_slot)
    return runs


def _originals_of_newest_slot(store: Store, experiment: str, tasks: list[str], task: str | None) -> list[Run]:
    """The originals of the newest slot that has an ended one, of the ensemble unless a task is given or it never ran."""
    if task is None and c.ENSEMBLE_TASK in tasks:
        tasks = [c.ENSEMBLE_TASK]
    newest: list[Run] = []
    for name in tasks:
        for _, ids in groupby(store.run_ids(experiment, name, skip_unreadable=True), key=lambda run: run.minute):
            runs = [run for run in _originals_of_slot([store.read(run) for run in ids]) if run.status != Status.RUNNING]
            if runs:
                newest += runs
                break
    if not newest:
        raise UnknownRun(f"no run of {experiment} has ended yet; next: cronsemble run")
    minute = max(run.id.minute for run in newest)
    return sorted((run for run in newest if run.id.minute == minute), key=lambda run: run.id)


def _originals_of_slot(attempts: list[Run]) -> list[Run]:
    kept = [run for run in attempts if _kind(run) != RunKind.RERUN and not run.record.get("other_configuration")]
    succeeded = [run for run in kept if run.status == Status.SUCCEEDED]
    ended = [run for run in kept if run.status != Status.RUNNING]
    return succeeded or sorted(ended or kept, key=lambda run: run.id)[-1:]


def _kind(run: Run) -> str:
    return str(run.record.get("kind") or next((attempt["start"].get("kind") for attempt in run.tries), ""))
