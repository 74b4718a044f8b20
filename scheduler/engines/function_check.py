"""`check --functions`: calls the functions of a configuration on a few items, in a temporary store."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from cronjobs.experiment import Experiment, Member, RuntimeSettings
from cronjobs.tasks import ensemble_task, train_task
from jobs.contract import RunKind, Status
from jobs.fire_times.fires import fires
from jobs.fire_times.schedule import parse
from jobs.store import Run
from scheduler.engines.local import LocalEngine
from scheduler.engines.manual_run import run_all, store_context
from scheduler.engines.run_spec import RunSpec, task_spec
from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes import containers
from scheduler.times import format_duration

FEW_ITEMS = 64
"""How many items of the training data a model is tried with; more if there are more classes."""


@dataclass(frozen=True)
class FunctionProblem:
    """What would fail in a run: the path of the key in the configuration that names the function, and the reason."""

    key: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class FunctionReport:
    """What was tried: the problems, what could not be tried, the number of models, whether the ensemble's method is
    a function that was tried, and of the data shapes and classes.
    """

    problems: list[FunctionProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    models: int = 0
    has_method: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)


def distinct_models(experiment: Experiment) -> list[list[Member]]:
    """The members in groups that build the same model on the same backend, from the same hyperparameters and variables."""
    groups: dict[str, list[Member]] = {}
    for member in experiment.members.values():
        values = (member.model, member.backend, member.data_format, member.hyperparameters, member.env, member.resources.gpu)
        groups.setdefault(json.dumps(values, sort_keys=True, default=str), []).append(member)
    return list(groups.values())


def check_functions(engine: LocalEngine, experiment: Experiment, now: datetime, seconds: int) -> FunctionReport:
    """Prepare the data and train each distinct model for an epoch on a few items, as the steps of a run do, and combine these.

    ``engine``: of an empty store that nobody else uses; ``seconds``: how long each try may take. Raises CronsembleError.
    """
    experiment, notes = _data_of_this_machine(experiment, now)
    if experiment.data.dataset in _absent(experiment, now):
        return FunctionReport(notes=[*notes, f"{experiment.data.dataset} is not there: neither data nor models were tried"])
    runtimes = engine.runtimes(*_runtimes_of_this_machine(experiment, notes))
    groups = []
    for group in distinct_models(experiment):
        absent = [runtimes[name] for name in ("keras3", group[0].runtime) if isinstance(runtimes[name], RuntimeUnavailable)]
        if absent and not isinstance(experiment.store, str):
            # The cluster may well have it.
            notes.append(f"{_names(group)}: not tried: {absent[0]}")
        else:
            groups.append(group)
    if not groups:
        return FunctionReport(notes=notes)
    context = store_context(engine, experiment)
    minute, invocation = int(_slot(experiment, now).timestamp() // 60), uuid.uuid4().hex[:12]

    def spec(group: list[Member]) -> RunSpec:
        task = {**train_task(context, group[0]), "few_items": FEW_ITEMS}
        settings = replace(group[0], retries=0, deadline=seconds)
        return task_spec(task, settings, experiment.folder, runtimes, minute, RunKind.MANUAL, invocation)

    # The first alone: it prepares the data for all, or says why there is none.
    runs = run_all(engine, [spec(groups[0])])
    if runs[0] is not None and _failed_step(runs[0]) == "prepare":
        return FunctionReport([FunctionProblem(("data", "dataset"), _reason(runs[0], seconds))], notes)
    runs += run_all(engine, [spec(group) for group in groups[1:]])
    problems = []
    for group, run in zip(groups, runs, strict=True):
        if run is not None and run.status != Status.SUCCEEDED:
            problems.append(FunctionProblem(_key(group[0], experiment), f"{_names(group)}: {_reason(run, seconds)}"))
    trained = [group[0] for group, run in zip(groups, runs, strict=True) if run is not None and run.status == Status.SUCCEEDED]
    ensemble, has_method = experiment.ensemble, False
    if ensemble is not None and ensemble.is_function and trained and not engine.stopped:
        settings = replace(ensemble, quorum=1, max_age=None, retries=0, deadline=seconds)
        tried = replace(experiment, members={member.name: member for member in trained}, ensemble=settings)
        task = {**ensemble_task(replace(context, experiment=tried), settings), "few_items": FEW_ITEMS}
        (run,) = run_all(engine, [task_spec(task, settings, experiment.folder, runtimes, minute, RunKind.MANUAL, invocation)])
        if run is not None and run.status != Status.SUCCEEDED:
            problems.append(FunctionProblem(("ensemble", "method"), _reason(run, seconds)))
        has_method = run is not None
    elif ensemble is not None and ensemble.is_function:
        notes.append(f"{ensemble.method}: not tried, for no model could be trained")
    data = next((run.record.get("data") for run in runs if run is not None and run.record.get("data")), None)
    return FunctionReport(problems, notes, len(groups), has_method, data or {})


def _failed_step(run: Run) -> str:
    """The step in which a run failed; empty if none did."""
    ends = [attempt["end"] for attempt in run.tries if attempt["end"]]
    return str(ends[-1].get("step", "")) if run.status != Status.SUCCEEDED and ends else ""


def _reason(run: Run, seconds: int) -> str:
    """Why a try failed; one that took all of its time may only be slow."""
    text = run.reason or str(run.status)
    if "not done within its deadline" in text:
        text += f"; with --timeout it may take longer than {format_duration(seconds)}"
    return text


def _names(group: list[Member]) -> str:
    """Whose model it is, and where it runs."""
    names = ", ".join(member.name for member in group)
    return names if names == group[0].backend else f"{names} on {group[0].backend}"


def _key(member: Member, experiment: Experiment) -> tuple[str, ...]:
    """The key that names a member's model; the document falls back to the nearest one that it has."""
    others = {other.model for other in experiment.members.values()}
    return ("backends", member.name, "model") if len(others) > 1 else ("model",)


def _slot(experiment: Experiment, now: datetime) -> datetime:
    """The slot that is tried: now, or for a data function the next one of a schedule, for it may refuse other dates."""
    if experiment.data.dataset.rpartition(":")[0].endswith(".py") and "{date}" not in experiment.data.predict:
        for member in experiment.members.values():
            if member.schedule is not None:
                following = next(fires(parse(member.schedule), member.timezone, now), None)
                if following is not None:
                    return following
    return now


def _absent(experiment: Experiment, now: datetime) -> list[str]:
    """The data files of the configuration that are not on this machine, as written."""
    date = now.astimezone(ZoneInfo(experiment.timezone)).strftime("%Y-%m-%d")
    files = [name for name in (experiment.data.dataset, experiment.data.predict) if name.endswith(".npz")]
    return [name for name in files if not (experiment.folder / name.replace("{date}", date)).is_file()]


def _data_of_this_machine(experiment: Experiment, now: datetime) -> tuple[Experiment, list[str]]:
    """The experiment with held-out items in the place of a file to predict that is elsewhere, or not there yet; and notes."""
    if experiment.data.predict not in _absent(experiment, now):
        return experiment, []
    note = f"{experiment.data.predict} is not there: what is predicted was not checked"
    return replace(experiment, data=replace(experiment.data, predict="holdout", holdout=1)), [note]


def _runtimes_of_this_machine(experiment: Experiment, notes: list[str]) -> tuple[Experiment, Iterable[str]]:
    """The experiment with its cluster's images as runtimes, where it runs on one and they are here; and the runtimes' names."""
    names = {"keras3", *(member.runtime for member in experiment.members.values())}
    if isinstance(experiment.store, str):
        return experiment, names
    runtimes = dict(experiment.runtimes)
    for name in sorted(names & experiment.cluster.images.keys()):
        image = experiment.cluster.images[name]
        if _is_here(image):
            runtimes[name] = RuntimeSettings(image=image)
        else:
            notes.append(f"{image} is not on this machine: tried in runtimes.{name} instead")
    return replace(experiment, runtimes=runtimes), names


def _is_here(image: str) -> bool:
    try:
        return containers.image_id(containers.find_engine(), image) is not None
    except containers.NoContainerEngine:
        return False
