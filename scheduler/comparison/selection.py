"""Which runs the two names of a comparison mean: a date means its ensemble run, or its trainings where there is none."""

from __future__ import annotations

from collections.abc import Mapping

from jobs import contract as c
from jobs.store import Run, Store
from scheduler.comparison.run_comparison import Comparison, RunComparer
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.notices import notify
from scheduler.stores import find_run
from scheduler.times import is_time


def compare_names(comparer: RunComparer, experiment: str, before: str, after: str, task: str | None = None) -> Comparison:
    """Compare the runs that two names mean (``scheduler.stores.find_run``), of ``task`` if one is given.

    Beside a training a date means the training of that date of the same task. A notice says what else a name may mean.
    Raises CronsembleError where a name means no run, or several that no rule chooses from, and for one run twice.
    """
    store, timezone, names = comparer.store, comparer.timezone, (before, after)
    for name in names:
        if is_time(name) and ".." in name:
            raise CronsembleError(f"{name}: a period has many runs: give a date, a time or a run")
    # What is named by its id decides what a date beside it means.
    named = [None if _is_date(name) else find_run.find_run(store, experiment, name, task, timezone=timezone) for name in names]
    of_id = next((run.id.task for run in named if run is not None), task)
    sides: list[Mapping[str, Run]] = []
    for name, run in zip(names, named, strict=True):
        sides.append({run.id.task: run} if run is not None else _runs_of(store, experiment, name, of_id, timezone))
    if all(named) or task is not None:
        (old,), (new,) = (side.values() for side in sides)
        return _compare(comparer, old, new)
    has_ensemble = [c.ENSEMBLE_TASK in side for side in sides]
    if has_ensemble[0] != has_ensemble[1] and of_id is None:
        # Only one of the two dates has an ensemble: its trainings are what both have.
        for n, name in enumerate(names):
            if has_ensemble[n]:
                sides[n] = _trainings_of(store, experiment, name, timezone)
            else:
                notify(f"{name}: no ensemble ran then: the trainings are compared")
    elif all(has_ensemble) or of_id is not None:
        (old,), (new,) = (side.values() for side in sides)
        return _compare(comparer, old, new)
    tasks = [name for name in sides[1] if name in sides[0]]
    if not tasks:
        raise CronsembleError(f"{before} has runs of {_listed(sides[0])}, {after} of {_listed(sides[1])}: nothing in common")
    notes = [f"{name} ran only {when}" for name, when in _alone(sides[0], sides[1])]
    return comparer.compare_trainings([(sides[0][name], sides[1][name]) for name in tasks], notes)


def _compare(comparer: RunComparer, before: Run, after: Run) -> Comparison:
    if before.id == after.id:
        raise CronsembleError(f"both names mean {before.id}: name two runs")
    return comparer.compare(before, after)


def _is_date(name: str) -> bool:
    return is_time(name) or find_run.is_latest(name)


def _runs_of(store: Store, experiment: str, name: str, task: str | None, timezone: str | None) -> Mapping[str, Run]:
    """By task the runs that a date, a time or `latest` means: that of ``task``, else the ensemble's, else the trainings."""
    tasks = store.tasks(experiment)
    if task is None and (find_run.is_latest(name) or _ran(store, experiment, c.ENSEMBLE_TASK, name, timezone)):
        task = c.ENSEMBLE_TASK if c.ENSEMBLE_TASK in tasks else None
    if task is not None or find_run.is_latest(name):
        run = find_run.find_run(store, experiment, name, task, succeeded=True, timezone=timezone)
        return {run.id.task: run}
    trainings = _trainings_of(store, experiment, name, timezone)
    if not trainings:
        # It says what there is instead.
        find_run.find_run(store, experiment, name, timezone=timezone)
        raise UnknownRun(f"{name}: no run of then")
    return trainings


def _trainings_of(store: Store, experiment: str, name: str, timezone: str | None) -> Mapping[str, Run]:
    """By task the trainings of a date or time."""
    trainings = {}
    for task in store.tasks(experiment):
        if task != c.ENSEMBLE_TASK and _ran(store, experiment, task, name, timezone):
            trainings[task] = find_run.find_run(store, experiment, name, task, succeeded=True, timezone=timezone)
    return trainings


def _ran(store: Store, experiment: str, task: str, name: str, timezone: str | None) -> bool:
    return task in store.tasks(experiment) and any(True for _ in find_run.runs_at(store, experiment, task, name, timezone))


def _alone(before: Mapping[str, Run], after: Mapping[str, Run]) -> list[tuple[str, str]]:
    gone = [(name, "before") for name in before if name not in after]
    return gone + [(name, "after") for name in after if name not in before]


def _listed(runs: Mapping[str, Run]) -> str:
    return ", ".join(runs) or "none"
