"""The plan of a rerun: which runs are made again from what the store kept, and what of that is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.store import Run, Store
from scheduler.errors import CronsembleError
from scheduler.rerun import selection
from scheduler.runtimes import recorded

Problems = Callable[[Run], tuple[list[str], list[str]]]
"""Why what a run was made in cannot be had where it is to be repeated; and how it may differ."""


@dataclass(frozen=True)
class PlannedRepeat:
    """One run to be made again: the original, its task as it was, and what it ran in.

    ``members`` is an ensemble's: each member's original training, or why it has none.
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
        return (*self.trainings, *self.ensembles)

    @property
    def missing(self) -> list[str]:
        return [f"{each.original.id}: {problem}" for each in self.repeats for problem in each.missing]


def plan(store: Store, found: list[Run], reuse: bool, problems: Problems = recorded.environment_problems) -> RerunPlan:
    """What repeating these runs means: of an ensemble, the trainings that it took too. Raises CronsembleError."""
    ensembles = [_ensemble(store, run, problems) for run in found if run.id.task == c.ENSEMBLE_TASK]
    wanted = {run.id: run for run in found if run.id.task != c.ENSEMBLE_TASK}
    models = [run for each in ensembles for run in each.members.values() if isinstance(run, c.RunId)]
    if reuse and wanted:
        raise CronsembleError(f"--reuse-models: {next(iter(wanted))} is a training: without retraining nothing is left to do")
    if not reuse:
        wanted |= {run: store.read(run) for run in models}
    trainings = [_training(store, run, problems) for _, run in sorted(wanted.items())]
    checked = [_with_models(store, each, reuse, problems) for each in ensembles]
    return RerunPlan(tuple(trainings), tuple(checked), reuse)


def _training(store: Store, run: Run, problems: Problems) -> PlannedRepeat:
    missing, notes = _check(store, run, problems)
    return PlannedRepeat(run, selection.task_of(store, run), recorded.recorded_environment(run), {}, tuple(missing), tuple(notes))


def _ensemble(store: Store, run: Run, problems: Problems) -> PlannedRepeat:
    missing, notes = _check(store, run, problems)
    members: dict[str, c.RunId | str] = {}
    for told in store.model_selection(run):
        name = str(told["member"])
        taken = c.parse_run_id(str(told.get("run")), run.id.experiment, c.member_task(name))
        left_out = told.get("left_out") or ("" if taken else "its run has no name")
        members[name] = f"left out, as in {run.id}: {left_out}" if left_out or taken is None else taken
    if not any(isinstance(taken, c.RunId) for taken in members.values()):
        missing.append("it took no model, so there is nothing to combine again")
    return PlannedRepeat(
        run, selection.task_of(store, run), recorded.recorded_environment(run), members, tuple(missing), tuple(notes)
    )


def _with_models(store: Store, ensemble: PlannedRepeat, reuse: bool, problems: Problems) -> PlannedRepeat:
    """What a predict step needs of the members' trainings: the interpreter, and their files if they are reused."""
    missing = list(ensemble.missing)
    for run in ensemble.members.values():
        if isinstance(run, c.RunId) and reuse:
            training = store.read(run)
            missing += [f"{run}: {problem}" for problem in (*problems(training)[0], *_model_problems(store, training))]
    return PlannedRepeat(ensemble.original, ensemble.task, ensemble.environment, ensemble.members, tuple(missing), ensemble.notes)


def _model_problems(store: Store, run: Run) -> Iterator[str]:
    described = run.record.get("model")
    if not described:
        yield "its result is not in the store"
        return
    path = store.run_folder(run.id) / c.RESULT / Path(described["file"]).name
    try:
        if store.files.sha256(path) != described["sha256"]:
            yield f"its model {path} is not the one that was recorded: its sha256 differs"
    except OSError as error:
        yield f"its model {path} cannot be read: {error.strerror}"


def _check(store: Store, run: Run, problems: Problems) -> tuple[list[str], list[str]]:
    """What is missing of the snapshot, the data and the runtime; and what the user should know."""
    snapshot = selection.snapshot(run)
    if not snapshot:
        return [f"what it was made from was not recorded: {run.reason or run.status}"], []
    missing = [store.snapshot_problem(kind, digest) for kind, digest in snapshot.items() if digest]
    pinned = store.pinned_data(run.id)
    missing.append("it ended before it had data" if pinned is None else store.data_problem(pinned))
    own, notes = problems(run)
    return [problem for problem in (*missing, *own) if problem], notes
