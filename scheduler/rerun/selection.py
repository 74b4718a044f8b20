"""Which original runs a user means by a date, a time, a period or a run's name."""

from __future__ import annotations

from jobs import contract as c
from jobs.contract import RunKind, Status
from jobs.store import Run, Store
from scheduler.errors import CronsembleError
from scheduler.stores import find_run
from scheduler.stores.find_run import check_time, runs_at
from scheduler.times import is_time


def originals(store: Store, experiment: str, what: str, task: str | None) -> list[Run]:
    """The runs that ``what`` names, oldest first: each ensemble run of these slots, or ``task``'s runs.

    Where no ensemble ran, the trainings are meant. Dates and times without a zone are the experiment's, in the zone that
    each run was made with. What was itself repeated or made with another configuration is left out unless named as a run;
    of a slot where nothing succeeded the newest attempt is meant. Raises CronsembleError if there is none.
    """
    if not is_time(what):
        return [find_run.find_run(store, experiment, what)]
    known_tasks = store.tasks(experiment)
    if task is not None and task not in known_tasks:
        raise CronsembleError(f"--task {task}: no runs of it; there are {', '.join(known_tasks) or 'none'}")
    runs = _originals_of_tasks(store, experiment, [task or c.ENSEMBLE_TASK], what)
    if not runs and task is None:
        runs = _originals_of_tasks(store, experiment, [name for name in known_tasks if name != c.ENSEMBLE_TASK], what)
    if not runs:
        check_time(store, experiment, what)
        dates = sorted({run.slot.date() for name in known_tasks for run in store.run_ids(experiment, name, skip_unreadable=True)})
        hint = f"; there are runs from {dates[0]} to {dates[-1]}: `cronsemble history` lists them" if dates else ""
        raise CronsembleError(f"{what}: no run of {f'{experiment} {task}' if task else experiment} then{hint}")
    return sorted(runs, key=lambda run: run.id)


def _originals_of_tasks(store: Store, experiment: str, tasks: list[str], what: str) -> list[Run]:
    runs: list[Run] = []
    for task in tasks:
        attempts: dict[int, list[Run]] = {}
        for run in runs_at(store, experiment, task, what):
            attempts.setdefault(run.minute, []).append(store.read(run))
        for attempts_of_slot in attempts.values():
            runs += _originals_of_slot(attempts_of_slot)
    return runs


def _originals_of_slot(attempts: list[Run]) -> list[Run]:
    kept = [run for run in attempts if _kind(run) != RunKind.RERUN and not run.record.get("other_configuration")]
    succeeded = [run for run in kept if run.status == Status.SUCCEEDED]
    ended = [run for run in kept if run.status != Status.RUNNING]
    return succeeded or sorted(ended or kept, key=lambda run: run.id)[-1:]


def _kind(run: Run) -> str:
    return str(run.record.get("kind") or next((attempt["start"].get("kind") for attempt in run.tries), ""))
