"""`rerun`: trainings and ensembles that an engine makes again, and the comparison with their originals."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cronjobs.experiment import Experiment
from jobs import contract as c
from jobs.contract import RunKind, Status
from jobs.store import Run
from jobs.store.tries import recorded_retries
from scheduler.comparison import repeats
from scheduler.comparison.repeats import RepeatOutcome
from scheduler.engines.base import Engine
from scheduler.engines.manual_run import run_all, store_context
from scheduler.engines.run_spec import RunSpec, Step, runtimes_of, spec_of_task
from scheduler.errors import RuntimeUnavailable
from scheduler.rerun.plan import PlannedRepeat, RerunPlan
from scheduler.runtimes.runtime import Runtime
from scheduler.stores.run_snapshot import task_of

RETRIES, DEADLINE = 1, 6 * 3600
"""Retries, beside one for each member, of the repeat of a run that recorded none; deadline of every repeat, in seconds."""


@dataclass(frozen=True)
class EnsembleRepeat:
    """An ensemble to be made again.

    ``members``: of each member its repeated training by its key among the trainings, a run whose model is taken as it is,
    or why it has none.
    """

    original: Run
    spec: RunSpec
    members: Mapping[str, str | c.RunId]


@dataclass(frozen=True)
class RerunWork:
    """Trainings by a key, with the run that each repeats, if any; then the ensembles."""

    trainings: Mapping[str, tuple[c.RunId | None, RunSpec]]
    ensembles: tuple[EnsembleRepeat, ...]


def exact_work(engine: Engine, plan: RerunPlan, folder: Path) -> RerunWork:
    """The runs that repeat a plan from the store's snapshots alone; ``folder`` is an empty one, for relative data paths."""
    invocation = uuid.uuid4().hex[:12]
    runtimes = {training.original.id: engine.runtime_of(training.original, training.task) for training in plan.trainings}

    def repeat_spec(repeat: PlannedRepeat, steps: list[Step]) -> RunSpec:
        # prepare needs no library here: the data is in the store already.
        prepare = Step(("prepare",), engine.fallback_runtime(repeat.original, repeat.task))
        minute, threads = repeat.original.id.minute, int(repeat.task.get("threads") or 1)
        env = {c.ENV_REPEATS: str(repeat.original.id)}
        all_steps, retries = (prepare, *steps), _retries(repeat)
        return RunSpec(repeat.task, minute, RunKind.RERUN, all_steps, folder, threads, retries, DEADLINE, invocation, env)

    trainings = {
        str(training.original.id): (
            training.original.id,
            repeat_spec(training, [Step(("train",), runtimes[training.original.id])]),
        )
        for training in plan.trainings
    }
    ensembles = []
    for ensemble in plan.ensembles:
        steps = []
        for name, model in ensemble.members.items():
            if isinstance(model, str):
                # Of a member that is left out only the reason is recorded.
                runtime = engine.fallback_runtime(ensemble.original, ensemble.task)
            else:
                runtime = runtimes.get(model) or _runtime_of(engine, model)
            steps.append(Step(("predict", "--member", name), runtime))
        steps.append(Step(("combine",), engine.runtime_of(ensemble.original, ensemble.task)))
        members = {
            name: model if plan.reuse or isinstance(model, str) and model not in trainings else str(model)
            for name, model in ensemble.members.items()
        }
        ensembles.append(EnsembleRepeat(ensemble.original, repeat_spec(ensemble, steps), members))
    return RerunWork(trainings, tuple(ensembles))


def _runtime_of(engine: Engine, run_id: c.RunId) -> Runtime | RuntimeUnavailable:
    run = engine.store.read(run_id)
    return engine.runtime_of(run, task_of(engine.store, run))


def current_problem(experiment: Experiment, run: Run, reuse: bool) -> str:
    """Why a run cannot be made again with today's configuration; empty if it can."""
    member = run.id.task.removeprefix(c.member_task(""))
    if run.id.task != c.ENSEMBLE_TASK:
        return "" if member in experiment.members else f"{experiment.path} declares no member {member} any more"
    if experiment.ensemble is None:
        return f"{experiment.path} declares no ensemble any more"
    if reuse and not any(name in _models_of(run) for name in experiment.members):
        return "it took no model of a member that is declared today"
    return ""


def _models_of(run: Run) -> dict[str, c.RunId]:
    """By member the training whose model an ensemble run took."""
    taken = {
        str(member["member"]): str(member.get("run")) for member in run.record.get("members", []) if "left_out" not in member
    }
    ids = {name: c.parse_run_id(text, run.id.experiment, c.member_task(name)) for name, text in taken.items()}
    return {name: training for name, training in ids.items() if training is not None}


def current_work(experiment: Experiment, originals: list[Run], engine: Engine, reuse: bool) -> RerunWork:
    """The runs of today's configuration in the slots of these originals, none of which has a :func:`current_problem`.

    Raises CronsembleError.
    """
    context = store_context(engine, experiment)
    invocation = uuid.uuid4().hex[:12]
    runtimes = engine.runtimes(experiment, runtimes_of(context, {run.id.task for run in originals}))
    trainings: dict[str, tuple[c.RunId | None, RunSpec]] = {}
    ensembles = []

    def add_training(member: str, minute: int, original: c.RunId | None) -> str:
        spec = spec_of_task(context, c.member_task(member), runtimes, minute, RunKind.RERUN, invocation)
        key = f"{member} {minute}"
        trainings[key] = (original, replace(spec, env=_other_configuration(original)))
        return key

    for run in originals:
        if run.id.task != c.ENSEMBLE_TASK:
            add_training(run.id.task.removeprefix(c.member_task("")), run.id.minute, run.id)
            continue
        models = _models_of(run)
        members: dict[str, str | c.RunId] = {}
        for name in experiment.members:
            original = models.get(name)
            if reuse:
                members[name] = original or f"{run.id} had no model of it"
            else:
                members[name] = add_training(name, original.minute if original else run.id.minute, original)
        spec = spec_of_task(context, c.ENSEMBLE_TASK, runtimes, run.id.minute, RunKind.RERUN, invocation)
        ensembles.append(EnsembleRepeat(run, replace(spec, env=_other_configuration(run.id)), members))
    return RerunWork(trainings, tuple(ensembles))


def _other_configuration(original: c.RunId | None) -> dict[str, str]:
    return {c.ENV_OTHER: "1", **({c.ENV_REPEATS: str(original)} if original else {})}


def execute(engine: Engine, work: RerunWork, tolerance: float) -> list[RepeatOutcome]:
    """Make every run, compare it with its original and store the verdict beside it.

    Trainings that feed a repeated ensemble are among the members of its outcome. Raises CronsembleError.
    """
    store = engine.store
    keys = list(work.trainings)
    runs = run_all(engine, [work.trainings[key][1] for key in keys])
    trained = {key: run for key, run in zip(keys, runs, strict=True) if run is not None}
    training_outcomes = {
        key: repeats.compare_training(store, work.trainings[key][0], trained.get(key), tolerance) for key in keys
    }
    for outcome in training_outcomes.values():
        repeats.store_verdict(store, outcome, tolerance, engine.observer.say)
    ensemble_outcomes: list[RepeatOutcome] = []
    members_keys: set[str] = set()
    for ensemble in work.ensembles:
        if engine.stopped and not engine.outlives:
            break
        models = {name: _model(trained, key) for name, key in ensemble.members.items()}
        after = tuple(trained[key].id for key in ensemble.members.values() if isinstance(key, str) and key in trained)
        spec = replace(ensemble.spec, env={**ensemble.spec.env, c.ENV_SELECTION: json.dumps(models)}, after=after)
        (run,) = run_all(engine, [spec])
        members_keys |= {key for key in ensemble.members.values() if isinstance(key, str)}
        outcome = repeats.compare_ensemble(store, ensemble.original, ensemble.members, run, training_outcomes, tolerance)
        repeats.store_verdict(store, outcome, tolerance, engine.observer.say)
        ensemble_outcomes.append(outcome)
    return [*(outcome for key, outcome in training_outcomes.items() if key not in members_keys), *ensemble_outcomes]


def _retries(repeat: PlannedRepeat) -> int:
    """The retries of a repeat: those of the original."""
    original = repeat.original
    retries = recorded_retries([original.record, *(one_try["start"] for one_try in original.tries)])
    return RETRIES + len(repeat.task.get("members", ())) if retries is None else retries


def _model(trained: Mapping[str, Run], key: str | c.RunId) -> str:
    """The run whose model a repeated ensemble takes for a member, or why it takes none."""
    if isinstance(key, c.RunId):
        return str(key)
    if key not in trained:
        return key
    run = trained[key]
    # One that goes on without this process may still succeed.
    return str(run.id) if run.status in (Status.SUCCEEDED, Status.RUNNING) else f"its repeat {run.id} {run.status}: {run.reason}"
