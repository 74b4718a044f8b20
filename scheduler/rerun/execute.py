"""Reruns: trainings and ensembles made again by an engine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cronjobs.experiment import Experiment
from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run
from scheduler.engines.base import Engine
from scheduler.engines.manual_run import run_all, store_context
from scheduler.engines.run_spec import RunSpec, Step, ensemble_spec, runtimes_of, train_spec
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.rerun import compare
from scheduler.rerun import selection as targets
from scheduler.rerun.compare import RepeatOutcome
from scheduler.rerun.plan import PlannedRepeat, RerunPlan
from scheduler.runtimes.runtime import Runtime

RETRIES, DEADLINE = 1, 6 * 3600
"""What a repeated run may take: of a slot's own a record says nothing, for nothing that comes out depends on them."""


@dataclass(frozen=True)
class EnsembleRepeat:
    """An ensemble to be made again; ``members``: each one's training by its key among the orders, its run, or why none."""

    original: Run
    order: RunSpec
    members: Mapping[str, str | c.RunId]


@dataclass(frozen=True)
class RerunWork:
    """Trainings by key, with the run that each repeats; then the ensembles."""

    trainings: Mapping[str, tuple[c.RunId | None, RunSpec]]
    ensembles: tuple[EnsembleRepeat, ...]


def exact_work(engine: Engine, plan: RerunPlan, folder: Path) -> RerunWork:
    """The orders that repeat a plan from the store's snapshots alone; ``folder`` is an empty one."""
    invocation = uuid.uuid4().hex[:12]
    known = {each.original.id: engine.runtime_of(each.original, each.task) for each in plan.trainings}

    def order(repeat: PlannedRepeat, steps: list[Step]) -> RunSpec:
        # prepare needs no library here: the data is there already.
        whole = (Step(("prepare",), engine.fallback_runtime(repeat.original, repeat.task)), *steps)
        minute, threads = repeat.original.id.minute, int(repeat.task.get("threads") or 1)
        env = {c.ENV_REPEATS: str(repeat.original.id)}
        return RunSpec(repeat.task, minute, "rerun", whole, folder, threads, RETRIES, DEADLINE, invocation, env)

    trainings = {
        str(each.original.id): (each.original.id, order(each, [Step(("train",), known[each.original.id])]))
        for each in plan.trainings
    }
    ensembles = []
    for each in plan.ensembles:
        steps = []
        for name, taken in each.members.items():
            # A member that is left out only has its reason written down.
            plain = engine.fallback_runtime(each.original, each.task)
            own = plain if isinstance(taken, str) else known.get(taken) or _runtime_of(engine, taken)
            steps.append(Step(("predict", "--member", name), own))
        made = order(each, [*steps, Step(("combine",), engine.runtime_of(each.original, each.task))])
        members = {
            name: taken if plan.reuse or isinstance(taken, str) and taken not in trainings else str(taken)
            for name, taken in each.members.items()
        }
        ensembles.append(EnsembleRepeat(each.original, made, members))
    return RerunWork(trainings, tuple(ensembles))


def _runtime_of(engine: Engine, run: c.RunId) -> Runtime | RuntimeUnavailable:
    found = engine.store.read(run)
    return engine.runtime_of(found, targets.task_of(engine.store, found))


def current_work(experiment: Experiment, found: list[Run], engine: Engine, reuse: bool) -> RerunWork:
    """The orders of today's configuration in the slots of these runs; raises CronsembleError."""
    context = store_context(engine, experiment)
    invocation = uuid.uuid4().hex[:12]
    names = {name for run in found for name in runtimes_of(context, run.id.task)}
    runtimes = engine.runtimes(experiment, names)
    trainings: dict[str, tuple[c.RunId | None, RunSpec]] = {}
    ensembles = []

    def training(name: str, minute: int, original: c.RunId | None) -> str:
        member = experiment.members.get(name)
        if member is None:
            raise CronsembleError(f"{original}: {experiment.path} declares no member {name} any more")
        order = train_spec(context, member, runtimes, minute, "rerun", invocation)
        key = f"{name} {minute}"
        trainings[key] = (original, replace(order, env=_other(original)))
        return key

    for run in found:
        if run.id.task != c.ENSEMBLE_TASK:
            training(run.id.task.removeprefix(c.member_task("")), run.id.minute, run.id)
            continue
        if experiment.ensemble is None:
            raise CronsembleError(f"{run.id}: {experiment.path} declares no ensemble any more")
        taken = {each["member"]: each.get("run") for each in run.record.get("members", []) if "left_out" not in each}
        members: dict[str, str | c.RunId] = {}
        for name in experiment.members:
            original = c.parse_run_id(str(taken.get(name)), run.id.experiment, c.member_task(name))
            if reuse:
                members[name] = original or f"{run.id} had no model of it"
            else:
                members[name] = training(name, original.minute if original else run.id.minute, original)
        order = ensemble_spec(context, experiment.ensemble, runtimes, run.id.minute, "rerun", invocation)
        ensembles.append(EnsembleRepeat(run, replace(order, env=_other(run.id)), members))
    return RerunWork(trainings, tuple(ensembles))


def _other(original: c.RunId | None) -> dict[str, str]:
    return {c.ENV_OTHER: "1", **({c.ENV_REPEATS: str(original)} if original else {})}


def execute(engine: Engine, work: RerunWork, tolerance: float) -> list[RepeatOutcome]:
    """Make every run, judge it and keep the verdict beside it; trainings that feed an ensemble are told with it."""
    store = engine.store
    keys = list(work.trainings)
    done = run_all(engine, [work.trainings[key][1] for key in keys])
    made = {key: run for key, run in zip(keys, done, strict=True) if run is not None}
    own = {key: compare.compare_training(store, work.trainings[key][0], made.get(key), tolerance) for key in keys}
    for outcome in own.values():
        compare.store_verdict(store, outcome, tolerance, engine.observer.say)
    outcomes, told = [], set()
    for each in work.ensembles:
        if engine.stopped and not engine.outlives:
            break
        selection = {name: _selected(made, key) for name, key in each.members.items()}
        after = tuple(made[key].id for key in each.members.values() if isinstance(key, str) and key in made)
        order = replace(each.order, env={**each.order.env, c.ENV_SELECTION: json.dumps(selection)}, after=after)
        (run,) = run_all(engine, [order])
        told |= {key for key in each.members.values() if isinstance(key, str)}
        outcome = compare.compare_ensemble(store, each.original, each.members, run, own, tolerance)
        compare.store_verdict(store, outcome, tolerance, engine.observer.say)
        outcomes.append(outcome)
    return [*(outcome for key, outcome in own.items() if key not in told), *outcomes]


def _selected(made: Mapping[str, Run], key: str | c.RunId) -> str:
    if isinstance(key, c.RunId):
        return str(key)
    if key not in made:
        return key
    run = made[key]
    # One that goes on without us may still succeed.
    return str(run.id) if run.status in (Status.SUCCEEDED, Status.RUNNING) else f"its repeat {run.id} {run.status}: {run.reason}"
