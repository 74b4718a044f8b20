"""The plan of a rerun: which runs are made again from what the store kept, and what of that is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.store import Run, Store, sha256_of
from scheduler import containers, targets
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.runtimes import Runtime
from scheduler.venvs import Say, cache_folder, make_venv, requirement_set


@dataclass(frozen=True)
class Repeat:
    """One run to be made again: the original, its task as it was, and what it ran in.

    ``members`` is an ensemble's: each member's original training, or why it has none.
    """

    original: Run
    task: Mapping[str, Any]
    made_in: Mapping[str, str]
    members: Mapping[str, c.RunId | str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The trainings that are made again, then the ensembles; with ``reuse`` the ensembles take the archived models."""

    trainings: tuple[Repeat, ...]
    ensembles: tuple[Repeat, ...]
    reuse: bool = False

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        return (*self.trainings, *self.ensembles)

    @property
    def missing(self) -> list[str]:
        return [f"{each.original.id}: {problem}" for each in self.repeats for problem in each.missing]


def plan(store: Store, found: list[Run], reuse: bool) -> Plan:
    """What repeating these runs means: of an ensemble, the trainings that it took too. Raises CronsembleError."""
    ensembles = [_ensemble(store, run) for run in found if run.id.task == c.ENSEMBLE_TASK]
    wanted = {run.id: run for run in found if run.id.task != c.ENSEMBLE_TASK}
    models = [run for each in ensembles for run in each.members.values() if isinstance(run, c.RunId)]
    if reuse and wanted:
        raise CronsembleError(f"--reuse-models: {next(iter(wanted))} is a training: without retraining nothing is left to do")
    if not reuse:
        wanted |= {run: store.read(run) for run in models}
    trainings = [_training(store, run) for _, run in sorted(wanted.items())]
    checked = [_with_models(store, each, reuse) for each in ensembles]
    return Plan(tuple(trainings), tuple(checked), reuse)


def _training(store: Store, run: Run) -> Repeat:
    missing, notes = _check(store, run)
    return Repeat(run, targets.task_of(store, run), made_in(run), {}, tuple(missing), tuple(notes))


def _ensemble(store: Store, run: Run) -> Repeat:
    missing, notes = _check(store, run)
    members: dict[str, c.RunId | str] = {}
    for told in store.selection(run):
        name = str(told["member"])
        taken = c.parse_run_id(str(told.get("run")), run.id.experiment, c.member_task(name))
        left_out = told.get("left_out") or ("" if taken else "its run has no name")
        members[name] = f"left out, as in {run.id}: {left_out}" if left_out or taken is None else taken
    if not any(isinstance(taken, c.RunId) for taken in members.values()):
        missing.append("it took no model, so there is nothing to combine again")
    return Repeat(run, targets.task_of(store, run), made_in(run), members, tuple(missing), tuple(notes))


def _with_models(store: Store, ensemble: Repeat, reuse: bool) -> Repeat:
    """What a predict step needs of the members' trainings: the interpreter, and their files if they are reused."""
    missing = list(ensemble.missing)
    for run in ensemble.members.values():
        if isinstance(run, c.RunId) and reuse:
            training = store.read(run)
            missing += [f"{run}: {problem}" for problem in (*runtime_problems(training)[0], *_model_problems(training))]
    return Repeat(ensemble.original, ensemble.task, ensemble.made_in, ensemble.members, tuple(missing), ensemble.notes)


def _model_problems(run: Run) -> Iterator[str]:
    described = run.record.get("model")
    if not described:
        yield "its result is not in the store"
        return
    path = run.folder / c.RESULT / Path(described["file"]).name
    try:
        if sha256_of(path) != described["sha256"]:
            yield f"its model {path} is not the one that was recorded: its sha256 differs"
    except OSError as error:
        yield f"its model {path} cannot be read: {error.strerror}"


def _check(store: Store, run: Run) -> tuple[list[str], list[str]]:
    """What is missing of the snapshot, the data and the runtime; and what the user should know."""
    snapshot = targets.snapshot(run)
    if not snapshot:
        return [f"what it was made from was not recorded: {run.reason or run.status}"], []
    missing = [store.snapshot_problem(kind, digest) for kind, digest in snapshot.items() if digest]
    pinned = store.data_of(run.id)
    missing.append("it ended before it had data" if pinned is None else store.data_problem(pinned))
    problems, notes = runtime_problems(run)
    return [problem for problem in (*missing, *problems) if problem], notes


def made_in(run: Run) -> dict[str, str]:
    """The image or the interpreter that a run was made in, as it recorded them."""
    image = run.record.get("image")
    if image:
        return {"image": str(image["reference"]), "inputs": str((image.get("identity") or {}).get("inputs", ""))}
    if run.record.get("python"):
        return {"python": str(run.record["python"])}
    marks = [each["start"].get("runtime") for each in reversed(run.tries)]
    told: dict[str, str] = next((mark for mark in marks if mark), {})
    return {key: value for key, value in told.items() if value}


def runtime_problems(run: Run) -> tuple[list[str], list[str]]:
    """Why what a run was made in cannot be had here; and how it may differ."""
    known = made_in(run)
    if "image" in known:
        return _image_problems(known)
    if "python" not in known:
        return ["what it ran in was not recorded"], []
    if os.access(known["python"], os.X_OK):
        return [], []
    if _is_managed(known["python"]):
        return [], [f"{known['python']} is gone: the virtual environment is made anew"]
    return [f"its interpreter {known['python']} is gone"], []


def _image_problems(known: Mapping[str, str]) -> tuple[list[str], list[str]]:
    try:
        engine = containers.find_engine()
    except containers.NoEngine as error:
        return [f"its image {known['image']} needs podman or docker: {error}"], []
    if containers.image_id(engine, known["image"]) is None:
        return [f"its image {known['image']} is not here: `{engine.name} pull` or `make images` gets it"], []
    inputs = containers.image_label(engine, known["image"], "cronsemble.inputs")
    if known.get("inputs") and inputs and inputs != known["inputs"]:
        return [], [f"{known['image']} has been built anew: {inputs}, not the {known['inputs']} that it ran in"]
    return [], []


def _is_managed(python: str) -> bool:
    return Path(python).is_relative_to(cache_folder() / "venvs")


def runtime(repeat: Repeat, say: Say) -> Runtime | RuntimeUnavailable:
    """What a run was made in, as something to start steps with."""
    known = repeat.made_in
    try:
        if "image" in known:
            return Runtime("image", image=known["image"], engine=containers.find_engine())
        python = known["python"]
        if not os.access(python, os.X_OK) and _is_managed(python):
            made = str(make_venv(say, requirement_set([str(repeat.task.get("backend", ""))])))
            if made != python:
                say(f"{made} has other pins than {python} had: versions may differ")
            python = made
        return Runtime("python", python=python)
    except (KeyError, containers.NoEngine, RuntimeUnavailable) as error:
        return RuntimeUnavailable(f"what {repeat.original.id} ran in cannot be had: {error}")
