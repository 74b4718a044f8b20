"""`run`: the members now, side by side, and then the ensemble."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from cronjobs.experiment import Experiment, Member
from cronjobs.tasks import ExperimentContext
from jobs.contract import ENSEMBLE_TASK, ENV_FRESH_DATA, RunKind, member_task
from jobs.store import Run
from scheduler.engines.base import Engine
from scheduler.engines.durations import longest_first
from scheduler.engines.run_spec import RunSpec, runtimes_of, spec_of_task
from scheduler.errors import CronsembleError
from scheduler.runtimes.lock import ensure_lock
from scheduler.snapshots.program import build_program
from scheduler.snapshots.user_code import build_user_code


def run_members(
    engine: Engine,
    experiment: Experiment,
    members: Iterable[Member],
    with_ensemble: bool,
    published: bool,
    now: datetime,
    fresh_data: bool = False,
) -> list[Run]:
    """Run these members and then the ensemble in the slot of ``now``; returns the runs that were started, in that order.

    ``published``: scheduled ensembles may take their models.
    ``fresh_data``: the data is read anew, for these runs alone. Raises CronsembleError.
    """
    members, minute, invocation = list(members), int(now.timestamp() // 60), uuid.uuid4().hex[:12]
    context = store_context(engine, experiment, published)
    if with_ensemble and experiment.ensemble is None:
        raise CronsembleError(f"{experiment.path} declares no ensemble")
    engine.record_start(context, now)
    tasks = [member_task(member.name) for member in members] + ([ENSEMBLE_TASK] if with_ensemble else [])
    runtimes = engine.runtimes(experiment, runtimes_of(context, tasks))
    specs = [spec_of_task(context, task, runtimes, minute, RunKind.MANUAL, invocation) for task in tasks]
    if fresh_data:
        specs = [replace(spec, env={**spec.env, ENV_FRESH_DATA: "1"}) for spec in specs]
    runs = run_all(engine, specs[: len(members)])
    if with_ensemble and (engine.outlives or not engine.stopped):
        runs += run_all(engine, [replace(specs[-1], after=tuple(run.id for run in runs if run is not None))])
    return [run for run in runs if run is not None]


def run_all(engine: Engine, specs: list[RunSpec]) -> list[Run | None]:
    """Make these runs side by side, the longest first; what became of each, None for one that was not started."""
    order = range(len(specs)) if engine.outlives else longest_first(engine.store, specs)
    with ThreadPoolExecutor(max(1, len(specs))) as pool:
        started = {position: pool.submit(engine.run, specs[position]) for position in order}
        return [started[position].result() for position in range(len(specs))]


def store_context(engine: Engine, experiment: Experiment, published: bool = False) -> ExperimentContext:
    """The experiment with its program and code, which the engine stores for the runs to come.

    Raises CronsembleError, also where packages that its code needs cannot be resolved.
    """
    if not engine.outlives:
        ensure_lock(experiment, engine.observer.say)
    code = build_user_code(experiment, engine.observer.say)
    program = engine.store_snapshot("program", build_program())
    return ExperimentContext(experiment, program, engine.store_snapshot("code", code) if code else "", published)
