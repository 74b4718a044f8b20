"""The plan of a rerun: which runs are made again from the store, and what they need that is missing there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.errors import CronsembleError
from scheduler.runtimes import recorded
from scheduler.stores.run_snapshot import snapshot, task_of

Problems = Callable[[Run], tuple[list[str], list[str]]]
"""Why the runtime of a run cannot be had where it is to be repeated; and in what it may differ."""


@dataclass(frozen=True)
class PlannedRepeat:
    """One run to be made again: the original, its resolved configuration, and the interpreter or image that it ran in.

    ``members`` is an ensemble's: each member's original training, or why it has none. ``missing`` keeps it from being
    repeated; ``notes`` say in what the repeat may differ.
    """

    original: Run
    task: Mapping[str, Any]
    environment: Mapping[str, str]
    members: Mapping[str, c.RunId | str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RerunPlan:
    """The trainings that are made again, then the ensembles; with ``reuse`` the ensembles take the archived models."""

    trainings: tuple[PlannedRepeat, ...]
    ensembles: tuple[PlannedRepeat, ...]
    reuse: bool = False

    @property
    def repeats(self) -> tuple[PlannedRepeat, ...]:
        """All runs that are made again, the trainings first."""
        return (*self.trainings, *self.ensembles)

    def problems(self) -> dict[c.RunId, list[str]]:
        """By run that cannot be repeated, why; an ensemble cannot if one of the trainings that are made again for it cannot."""
        problems = {repeat.original.id: list(repeat.missing) for repeat in self.repeats if repeat.missing}
        for ensemble in self.ensembles:
            for training in ensemble.members.values():
                if not self.reuse and isinstance(training, c.RunId) and training in problems:
                    reasons = [f"{training}: {problem}" for problem in problems[training]]
                    problems[ensemble.original.id] = [*problems.get(ensemble.original.id, []), *reasons]
        return problems

    def possible(self, named: Collection[c.RunId]) -> RerunPlan:
        """The part that can be carried out: without what cannot be repeated, and the trainings that only this needed.

        ``named`` are the runs that the user asked for.
        """
        problems = self.problems()
        ensembles = tuple(repeat for repeat in self.ensembles if repeat.original.id not in problems)
        needed = {*named, *(model for ensemble in ensembles for model in ensemble.members.values())}
        trainings = tuple(
            repeat for repeat in self.trainings if repeat.original.id not in problems and repeat.original.id in needed
        )
        return replace(self, trainings=trainings, ensembles=ensembles)


def plan(store: Store, originals: list[Run], reuse: bool, problems: Problems = recorded.environment_problems) -> RerunPlan:
    """What has to be run to repeat these: of an ensemble also the trainings whose models it took. Raises CronsembleError."""
    ensembles = [_ensemble(store, run, problems) for run in originals if run.id.task == c.ENSEMBLE_TASK]
    trainings = {run.id: run for run in originals if run.id.task != c.ENSEMBLE_TASK}
    models = [run for ensemble in ensembles for run in ensemble.members.values() if isinstance(run, c.RunId)]
    if reuse and trainings:
        raise CronsembleError(f"--reuse-models: {next(iter(trainings))} is a training: without retraining nothing is left to do")
    if not reuse:
        trainings |= {run: store.read(run) for run in models}
    return RerunPlan(
        tuple(_training(store, run, problems) for _, run in sorted(trainings.items())),
        tuple(_with_models(store, ensemble, reuse, problems) for ensemble in ensembles),
        reuse,
    )


def _training(store: Store, run: Run, problems: Problems) -> PlannedRepeat:
    missing, notes = _check(store, run, problems)
    return PlannedRepeat(run, task_of(store, run), recorded.recorded_environment(run), {}, tuple(missing), tuple(notes))


def _ensemble(store: Store, run: Run, problems: Problems) -> PlannedRepeat:
    missing, notes = _check(store, run, problems)
    members: dict[str, c.RunId | str] = {}
    for member in store.model_selection(run):
        name = str(member["member"])
        training = c.parse_run_id(str(member.get("run")), run.id.experiment, c.member_task(name))
        left_out = member.get("left_out") or ("" if training else "its run has no name")
        members[name] = f"left out, as in {run.id}: {left_out}" if left_out or training is None else training
    if not any(isinstance(training, c.RunId) for training in members.values()):
        missing.append(f"it took no model, so there is nothing to combine again{_end_of(run)}")
    return PlannedRepeat(run, task_of(store, run), recorded.recorded_environment(run), members, tuple(missing), tuple(notes))


def _end_of(run: Run) -> str:
    """How a run ended that did not succeed, in brackets."""
    if run.status == Status.SUCCEEDED:
        return ""
    return f" ({run.status}: {run.reason})" if run.reason else f" ({run.status})"


def _with_models(store: Store, ensemble: PlannedRepeat, reuse: bool, problems: Problems) -> PlannedRepeat:
    """Added is what a predict step needs of the members' trainings: the runtime, and the models if they are reused."""
    missing = list(ensemble.missing)
    for run in ensemble.members.values():
        if isinstance(run, c.RunId) and reuse:
            training = store.read(run)
            missing += [f"{run}: {problem}" for problem in (*problems(training)[0], *_model_problems(store, training))]
    return replace(ensemble, missing=tuple(missing))


def _model_problems(store: Store, run: Run) -> Iterator[str]:
    model = run.record.get("model")
    if not model:
        yield "its result is not in the store"
        return
    path = store.run_folder(run.id) / c.RESULT / Path(model["file"]).name
    try:
        if store.files.sha256(path) != model["sha256"]:
            yield f"its model {path} is not the one that was recorded: its sha256 differs"
    except OSError as error:
        yield f"its model {path} cannot be read: {error.strerror}"


def _check(store: Store, run: Run, problems: Problems) -> tuple[list[str], list[str]]:
    """What is missing of the snapshot, the data and the runtime; and in what the runtime may differ."""
    if run.status == Status.RUNNING:
        return ["it is still running"], []
    digests = snapshot(run)
    if not digests:
        return [f"what it was made from was not recorded: {run.reason or run.status}"], []
    missing = [store.snapshot_problem(kind, digest) for kind, digest in digests.items() if digest]
    task = task_of(store, run)
    if (task.get("experiment", run.id.experiment), task.get("task", run.id.task)) != (run.id.experiment, run.id.task):
        missing.append("its configuration is another task's")
    pinned = store.pinned_data(run.id)
    missing.append("it ended before it had data" if pinned is None else store.data_problem(pinned))
    runtime_missing, notes = problems(run)
    return [problem for problem in (*missing, *runtime_missing) if problem], notes
