"""Reruns: trainings and ensembles made again by an engine, and the verdict on each."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.store import Run, Store
from scheduler import probabilities, targets
from scheduler.config import Experiment
from scheduler.engines import Engine
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.manual import carry_out_all, keep_context
from scheduler.orders import Order, Step, ensemble_order, runtimes_of, train_order
from scheduler.repeats import Plan, Repeat
from scheduler.runtimes import Runtime
from scheduler.verdict import CHANGED, NOTHING, Pinned, Verdict, differences, judge

RETRIES, DEADLINE = 1, 6 * 3600
"""What a repeated run may take: of a slot's own a record says nothing, for nothing that comes out depends on them."""


@dataclass(frozen=True)
class Combining:
    """An ensemble to be made again; ``members``: each one's training by its key among the orders, its run, or why none."""

    original: Run
    order: Order
    members: Mapping[str, str | c.RunId]


@dataclass(frozen=True)
class Work:
    """Trainings by key, with the run that each repeats; then the ensembles."""

    trainings: Mapping[str, tuple[c.RunId | None, Order]]
    ensembles: tuple[Combining, ...]


@dataclass(frozen=True)
class Outcome:
    """A repeated run, what it repeats, and the verdict; an ensemble's members by name."""

    original: c.RunId | None
    run: Run | None
    verdict: Verdict
    members: Mapping[str, Outcome] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        told = {"repeats": None if self.original is None else str(self.original), "run": None, "status": "not started"}
        if self.run is not None:
            told |= {"run": str(self.run.id), "status": self.run.status}
        members = {name: each.as_json() for name, each in self.members.items()}
        return {**told, **self.verdict.as_json(), **({"members": members} if members else {})}


def exact(engine: Engine, plan: Plan, folder: Path) -> Work:
    """The orders that repeat a plan from the store's snapshots alone; ``folder`` is an empty one."""
    invocation = uuid.uuid4().hex[:12]
    known = {each.original.id: engine.runtime_of(each.original, each.task) for each in plan.trainings}

    def order(repeat: Repeat, steps: list[Step]) -> Order:
        # prepare needs no library here: the data is there already.
        whole = (Step(("prepare",), engine.plain(repeat.original, repeat.task)), *steps)
        minute, threads = repeat.original.id.minute, int(repeat.task.get("threads") or 1)
        env = {c.ENV_REPEATS: str(repeat.original.id)}
        return Order(repeat.task, minute, "rerun", whole, folder, threads, RETRIES, DEADLINE, invocation, env)

    trainings = {
        str(each.original.id): (each.original.id, order(each, [Step(("train",), known[each.original.id])]))
        for each in plan.trainings
    }
    ensembles = []
    for each in plan.ensembles:
        steps = []
        for name, taken in each.members.items():
            # A member that is left out only has its reason written down.
            plain = engine.plain(each.original, each.task)
            own = plain if isinstance(taken, str) else known.get(taken) or _runtime_of(engine, taken)
            steps.append(Step(("predict", "--member", name), own))
        made = order(each, [*steps, Step(("combine",), engine.runtime_of(each.original, each.task))])
        members = {
            name: taken if plan.reuse or isinstance(taken, str) and taken not in trainings else str(taken)
            for name, taken in each.members.items()
        }
        ensembles.append(Combining(each.original, made, members))
    return Work(trainings, tuple(ensembles))


def _runtime_of(engine: Engine, run: c.RunId) -> Runtime | RuntimeUnavailable:
    found = engine.store.read(run)
    return engine.runtime_of(found, targets.task_of(engine.store, found))


def with_current(experiment: Experiment, found: list[Run], engine: Engine, reuse: bool) -> Work:
    """The orders of today's configuration in the slots of these runs; raises CronsembleError."""
    context = keep_context(engine, experiment)
    invocation = uuid.uuid4().hex[:12]
    names = {name for run in found for name in runtimes_of(context, run.id.task)}
    runtimes = engine.runtimes(experiment, names)
    trainings: dict[str, tuple[c.RunId | None, Order]] = {}
    ensembles = []

    def training(name: str, minute: int, original: c.RunId | None) -> str:
        member = experiment.members.get(name)
        if member is None:
            raise CronsembleError(f"{original}: {experiment.path} declares no member {name} any more")
        order = train_order(context, member, runtimes, minute, "rerun", invocation)
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
        order = ensemble_order(context, experiment.ensemble, runtimes, run.id.minute, "rerun", invocation)
        ensembles.append(Combining(run, replace(order, env=_other(run.id)), members))
    return Work(trainings, tuple(ensembles))


def _other(original: c.RunId | None) -> dict[str, str]:
    return {c.ENV_OTHER: "1", **({c.ENV_REPEATS: str(original)} if original else {})}


def carry_out(engine: Engine, work: Work, tolerance: float) -> list[Outcome]:
    """Make every run, judge it and keep the verdict beside it; trainings that feed an ensemble are told with it."""
    store = engine.store
    keys = list(work.trainings)
    done = carry_out_all(engine, [work.trainings[key][1] for key in keys])
    made = {key: run for key, run in zip(keys, done, strict=True) if run is not None}
    own = {key: _judge_training(store, work.trainings[key][0], made.get(key), tolerance) for key in keys}
    for outcome in own.values():
        _keep(engine, outcome, tolerance)
    outcomes, told = [], set()
    for each in work.ensembles:
        if engine.stopped and not engine.outlives:
            break
        selection = {name: _selected(made, key) for name, key in each.members.items()}
        after = tuple(made[key].id for key in each.members.values() if isinstance(key, str) and key in made)
        order = replace(each.order, env={**each.order.env, c.ENV_SELECTION: json.dumps(selection)}, after=after)
        (run,) = carry_out_all(engine, [order])
        told |= {key for key in each.members.values() if isinstance(key, str)}
        outcome = _judge_ensemble(store, each, run, own, tolerance)
        _keep(engine, outcome, tolerance)
        outcomes.append(outcome)
    return [*(outcome for key, outcome in own.items() if key not in told), *outcomes]


def _selected(made: Mapping[str, Run], key: str | c.RunId) -> str:
    if isinstance(key, c.RunId):
        return str(key)
    if key not in made:
        return key
    run = made[key]
    # One that goes on without us may still succeed.
    return str(run.id) if run.status in ("succeeded", "running") else f"its repeat {run.id} {run.status}: {run.reason}"


def _keep(engine: Engine, outcome: Outcome, tolerance: float) -> None:
    run = outcome.run
    if run is None or outcome.original is None or run.status == "running":
        return
    try:
        engine.store.keep_verdict(run.id, {"schema": c.SCHEMA, "tolerance": tolerance, **outcome.as_json()})
    except OSError as error:
        engine.watcher.say(f"{run.id}: its verdict could not be kept in the store: {error.strerror}")


def _judge_training(store: Store, original: c.RunId | None, run: Run | None, tolerance: float) -> Outcome:
    old = None if original is None else store.read(original)
    verdict = _incomparable(old, run)
    if verdict is None and old is not None and run is not None:
        pair = (probabilities.validation(store, old.id), probabilities.validation(store, run.id))
        pairs = [] if any(each is None for each in pair) else [pair]
        verdict = judge(pairs, tolerance, differences(_pinned(store, old), _pinned(store, run)))
    return Outcome(original, run, verdict or Verdict(NOTHING))


def _judge_ensemble(store: Store, work: Combining, run: Run | None, trained: Mapping[str, Outcome], tolerance: float) -> Outcome:
    members = {name: _judge_member(store, work, run, name, key, trained, tolerance) for name, key in work.members.items()}
    verdict = _incomparable(work.original, run)
    if verdict is None and run is not None:
        old, new = work.original.id, run.id
        differs = differences(_pinned(store, work.original), _pinned(store, run))
        differs += _members_that_differ(work.original, run, members)
        pair = (probabilities.ensemble(store, old), probabilities.ensemble(store, new))
        verdict = judge([] if any(each is None for each in pair) else [pair], tolerance, differs)
        if probabilities.items(store, old) != probabilities.items(store, new):
            verdict = replace(verdict, verdict=CHANGED, differs=("the items that are predicted", *differs))
    return Outcome(work.original.id, run, verdict or Verdict(NOTHING), members)


def _judge_member(
    store: Store,
    work: Combining,
    run: Run | None,
    name: str,
    key: str | c.RunId,
    trained: Mapping[str, Outcome],
    tolerance: float,
) -> Outcome:
    """The verdict on what a member predicted, and on its training if it was made again."""
    training = trained.get(key) if isinstance(key, str) else None
    if isinstance(key, str) and training is None:
        return Outcome(None, None, Verdict(NOTHING, reason=key))
    original = training.original if training else key if isinstance(key, c.RunId) else None
    made = training.run if training else store.read(key) if isinstance(key, c.RunId) else None
    verdict = _incomparable(None if original is None else store.read(original), made)
    if verdict is not None or original is None or made is None:
        return Outcome(original, made, verdict or Verdict(NOTHING, reason="the repeated ensemble had no such member"))
    pairs = [(probabilities.validation(store, original), probabilities.validation(store, made.id))] if training else []
    if run is not None and run.status == "succeeded":
        told = [probabilities.member(store, each.id, name) for each in (work.original, run)]
        pairs.append((told[0], told[1]))
    pairs = [pair for pair in pairs if not any(each is None for each in pair)]
    differs = differences(_pinned(store, store.read(original)), _pinned(store, made))
    return Outcome(original, made, judge(pairs, tolerance, differs))


def _incomparable(old: Run | None, new: Run | None) -> Verdict | None:
    if new is None:
        return Verdict(NOTHING, reason="stopped before its turn came")
    if new.status == "running":
        return Verdict(NOTHING, reason="the repeat is still at work")
    if new.status != "succeeded":
        return Verdict(NOTHING, reason=f"the repeat {new.status}: {new.reason}")
    if old is None:
        return Verdict(NOTHING, reason="the repeated ensemble had no such member")
    if old.status != "succeeded":
        return Verdict(NOTHING, reason=f"the original {old.status}: {old.reason}")
    return None


def _members_that_differ(old: Run, new: Run, members: Mapping[str, Outcome]) -> list[str]:
    """Members that changed, and those that only one of the two ensembles took."""
    before, after = ({each["member"]: each.get("left_out") for each in run.record.get("members", [])} for run in (old, new))
    found = [f"member {name}" for name, outcome in members.items() if outcome.verdict.verdict == CHANGED]
    for name in sorted({*before, *after}):
        taken = [name in told and told[name] is None for told in (before, after)]
        if taken[0] != taken[1]:
            found.append(f"member {name}: {'left out' if taken[0] else 'not left out'} now")
    return found


def _pinned(store: Store, run: Run) -> Pinned:
    return Pinned(run.record, targets.task_of(store, run), _code(store, targets.snapshot(run).get("code", "")))


def _code(store: Store, digest: str) -> dict[str, str]:
    if not digest:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(store.read_snapshot("code", digest))) as archive:
            return {each.filename: f"{each.CRC:08x}" for each in archive.infolist()}
    except (OSError, zipfile.BadZipFile):
        return {}
