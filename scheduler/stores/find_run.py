"""Finds runs by name. What a user types in a run's place means the same in every command, for it is resolved here.

A name is ``latest``, a date or time (:mod:`scheduler.times`), a run's id, a part of one, or the name of a Job made by hand.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from jobs import contract as c
from jobs.contract import RunId, RunKind, Status
from jobs.store import Run, Store
from jobs.store.jobs_by_hand import claims
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.notices import notify
from scheduler.stores.run_snapshot import task_of, timezone_of
from scheduler.times import is_date, is_time, parse_slots

T = TypeVar("T")

LATEST = "latest"
"""The name of the newest run."""
_SEARCHED = 10
"""Runs of each task that are looked at for the experiment's zone."""


def is_latest(name: str) -> bool:
    """Whether a name means the newest run."""
    return name.lower() == LATEST


def find_run(
    store: Store,
    experiment: str,
    name: str,
    task: str | None = None,
    *,
    succeeded: bool = False,
    jobs: Sequence[RunId] = (),
    timezone: str | None = None,
) -> Run:
    """The one run that a name means, of ``task`` if one is given.

    - ``latest``: the newest run, a running one first (:func:`latest_run`).
    - A date, a time or a slot: its ensemble run; without one, the run of the only task that has any. Of several the newest
      slot's, rather of a schedule than made by hand, rather an original than its rerun; a notice says what else there is.
    - A run's id, a part of it of which there is one run, or the name of a Job that somebody made by hand.

    ``succeeded``: of those that a time or ``latest`` means, one that has succeeded, if there is any. ``jobs``: runs of Jobs that
    the store may not know yet. Dates and times without a zone are in ``timezone``, the experiment's, as the history prints them;
    where no configuration says it, it is the newest run's. Raises UnknownRun where no run or several
    are meant, CronsembleError for a date or time that there is not and for a task without runs.
    """
    tasks = known_tasks(store, experiment, task, jobs)
    if is_latest(name):
        return latest_run(store, experiment, tasks, succeeded=succeeded, jobs=jobs)
    if is_time(name):
        zone = timezone or newest_timezone(store, experiment)
        return _run_of_time(store, experiment, name, tasks, succeeded, jobs, zone)
    for known in tasks:
        run = c.parse_run_id(name, experiment, known)
        if run is not None and (run in jobs or os.path.lexists(store.run_folder(run))):
            return store.read(run)
    ids = {run for known in tasks for run in store.run_ids(experiment, known, skip_unreadable=True)}
    matches = closest_ids(name, [*ids, *(run for run in jobs if run.task in tasks)])
    # A Job that somebody made by hand has a name of its own.
    matches = matches or [run for known in tasks for run in claims(store, experiment, known, name)]
    match = only_match(name, matches, [str(run) for run in matches])
    if match is None:
        raise UnknownRun(f"{name}: no such run in {store.files.display_path(store.root)}: `cronsemble history` lists them")
    return store.read(match)


def latest_run(
    store: Store, experiment: str, tasks: Sequence[str], *, succeeded: bool = False, jobs: Sequence[RunId] = ()
) -> Run:
    """The newest run of these tasks: one that is running, else that of the newest slot; the ensemble's before its members'.

    ``succeeded``: the newest success of the ensemble, or without an ensemble of any task, that is accepted and was made with its
    own configuration. Raises UnknownRun.
    """
    if not succeeded:
        newest = [next(store.run_ids(experiment, task, skip_unreadable=True), None) for task in tasks]
        known = {*(run for run in newest if run is not None), *(run for run in jobs if run.task in tasks)}
        runs = [store.read(run) for run in known]
    else:
        of_ensemble = [task for task in tasks if task == c.ENSEMBLE_TASK]
        runs = []
        for task in of_ensemble or tasks:
            own = (run for run in store.runs(experiment, task, skip_unreadable=True) if _is_own_success(run))
            runs += islice(own, 1)
    if not runs and succeeded and (refused := newest_refused(store, experiment, tasks)) is not None:
        raise UnknownRun(f"no run of {experiment} is accepted: {refused.id} is refused: {refused.refused}; name it to see it")
    if not runs:
        what = "no run that succeeded" if succeeded and tasks else "no runs"
        raise UnknownRun(f"{what} of {experiment} yet; next: cronsemble run")
    return max(runs, key=_age_order)


def newest_refused(store: Store, experiment: str, tasks: Sequence[str]) -> Run | None:
    """The newest run of these tasks that was published and is refused, the ensemble's before its members'; None if none is."""
    for task in sorted(tasks, key=lambda task: task != c.ENSEMBLE_TASK):
        run = next((run for run in store.runs(experiment, task, skip_unreadable=True) if run.refused), None)
        if run is not None:
            return run
    return None


def _age_order(run: Run) -> tuple[bool, int, bool, int, str]:
    return (run.status == Status.RUNNING, run.id.minute, run.id.task == c.ENSEMBLE_TASK, run.id.attempt, start_time(run))


def start_time(run: Run) -> str:
    """When a run's first try began, as it recorded it, ISO 8601; empty if none has."""
    return str(run.record.get("started") or next((one_try["start"].get("time", "") for one_try in run.tries), ""))


def _is_own_success(run: Run) -> bool:
    return run.status == Status.SUCCEEDED and not run.refused and not run.record.get("other_configuration")


def known_tasks(store: Store, experiment: str, task: str | None = None, jobs: Sequence[RunId] = ()) -> list[str]:
    """The tasks that have runs, or ``task`` alone; raises CronsembleError if that has none."""
    known = sorted({*store.tasks(experiment), *(run.task for run in jobs)})
    if task is None:
        return known
    if task not in known:
        raise CronsembleError(f"--task {task}: no runs of it; there are {', '.join(known) or 'none'}")
    return [task]


def _run_of_time(
    store: Store,
    experiment: str,
    name: str,
    tasks: Sequence[str],
    succeeded: bool,
    jobs: Sequence[RunId],
    timezone: str,
) -> Run:
    """As :func:`find_run`, of a date or time."""
    now = time.time()
    of_then = {run for task in tasks for run in runs_at(store, experiment, task, name, timezone)}
    of_then |= {run for run in jobs if run.task in tasks and is_meant(run, name, timezone, now)}
    if not of_then:
        history = f"`cronsemble history {shlex.quote(name)}` says what became of its slots"
        raise UnknownRun(f"{name}: no run of then in {store.files.display_path(store.root)}: {history}")
    runs = preferred_runs([store.read(run) for run in sorted(of_then, reverse=True)], succeeded)
    slots = {(run.id.task, run.id.minute) for run in runs}
    if len({task for task, _ in slots}) > 1 or (len(slots) > 1 and not is_date(name)):
        only_match(name, runs, [str(run.id) for run in runs])
    run = best_attempt([run for run in runs if run.id.minute == runs[0].id.minute])
    others = [other.id for other in runs if other.id != run.id]
    if others:
        kind = "ensemble runs" if run.id.task == c.ENSEMBLE_TASK else f"runs of {run.id.task}"
        notify(
            f"note: {name}: {run.id}, the newest of {len(runs)} {kind}; `cronsemble history {shlex.quote(name)}` has the others"
        )
    return run


def preferred_runs(runs: Sequence[Run], succeeded: bool = False) -> list[Run]:
    """Those of the runs of a time that a user means first, in the same order; never none.

    The ensemble's rather than its members'; originals rather than reruns and runs of other configurations; runs of slots rather
    than runs made by hand; with ``succeeded``, such that have succeeded.
    """
    wishes: list[Callable[[Run], bool]] = [
        lambda run: run.id.task == c.ENSEMBLE_TASK,
        lambda run: run.kind != RunKind.RERUN and not run.record.get("other_configuration"),
        lambda run: not succeeded or run.status == Status.SUCCEEDED,
        lambda run: run.kind != RunKind.MANUAL,
    ]
    kept = list(runs)
    for is_wished in wishes:
        kept = [run for run in kept if is_wished(run)] or kept
    return kept


def best_attempt(attempts: Sequence[Run]) -> Run:
    """Of a slot's attempts the newest that succeeded, rather one that is accepted than one that is refused; else the newest."""
    return max(attempts, key=lambda run: (run.status == Status.SUCCEEDED, not run.refused, run.id.attempt))


def closest_ids(name: str, runs: Sequence[RunId]) -> list[RunId]:
    """The runs whose ids hold a name, newest first: those that end with it, if any, so that an attempt ``-r2`` hides no first."""
    holding = sorted((run for run in runs if name in str(run)), reverse=True)
    whole = [run for run in holding if str(run) == name or str(run).endswith(f"-{name}")]
    return whole or [run for run in holding if str(run).endswith(name)] or holding


def runs_at(store: Store, experiment: str, task: str, what: str, timezone: str | None = None) -> Iterator[RunId]:
    """A task's runs whose slots have a date or time, or lie in FROM..TO, newest first; ``timezone`` as of :func:`find_run`.

    Raises CronsembleError for a date or time that there is not, also where there are no runs.
    """
    periods = parse_slots(what, timezone or newest_timezone(store, experiment), time.time(), "")
    runs = store.run_ids(experiment, task, skip_unreadable=True)
    return (run for run in runs if any(period.first <= run.minute <= period.last for period in periods))


def newest_timezone(store: Store, experiment: str) -> str:
    """The experiment's zone as its newest run had it whose configuration is in the store; UTC without one."""
    newest = [islice(store.run_ids(experiment, task, skip_unreadable=True), _SEARCHED) for task in store.tasks(experiment)]
    for run in sorted((run for runs in newest for run in runs), reverse=True):
        if task_of(store, read := store.read(run)):
            return timezone_of(store, read)
    return "UTC"


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
        raise UnknownRun(f"{name}: there are {len(ids)} runs of then ({shown}): type one of their ids, or --task")
    raise UnknownRun(
        f"{name or 'no name'}: {len(ids)} runs have this in their id ({shown}): type more of it, or latest with --task"
    )


def folders_with_files(run: Run) -> list[str]:
    """The folders that hold a run's files: its result, else its tries."""
    if run.status == Status.SUCCEEDED:
        return [c.RESULT]
    return [c.TRY_PREFIX + attempt["name"] for attempt in run.tries]
