"""The objects of configurations: builds program and code, asks for the objects, and writes them as YAML."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cronjobs.experiment import Experiment, StoreVolume
from cronjobs.objects import cronjob, labels, volumes
from cronjobs.objects.config_maps import mounted
from cronjobs.tasks import ExperimentContext
from scheduler.errors import CronsembleError
from scheduler.snapshots.program import build_program
from scheduler.snapshots.user_code import build_user_code
from scheduler.sync.desired_state import DesiredState

Objects = list[dict[str, Any]]
T = TypeVar("T")


def desired(experiments: Iterable[Experiment]) -> Objects:
    """Every object that these experiments need, each once, ConfigMaps first; raises CronsembleError."""
    program = build_program()
    digest = hashlib.sha256(program).hexdigest()

    def build(experiment: Experiment) -> Objects:
        code = build_user_code(experiment)
        context = ExperimentContext(experiment, digest, hashlib.sha256(code).hexdigest() if code else "")
        return cronjob.desired(context, program, code)

    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for each in _each(experiments, build):
        # Experiments share the ConfigMaps of equal content.
        found.setdefault((each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]), each)
    return sorted(found.values(), key=lambda each: each["kind"] != "ConfigMap")


def store_volumes(experiments: Iterable[Experiment]) -> Objects:
    """A PersistentVolume and a claim for each experiment's store; raises CronsembleError."""
    return _each(experiments, volumes.persistent_volume)


def notes(experiments: Iterable[Experiment]) -> list[str]:
    """What the objects do not say, a line each; raises CronsembleError."""
    return _each(experiments, lambda each: [f"{each.path}: {note}" for note in cronjob.notes(each)])


def _each(experiments: Iterable[Experiment], build: Callable[[Experiment], list[T]]) -> list[T]:
    """What is built for all; raises CronsembleError with every problem of every experiment."""
    found: list[T] = []
    problems: list[str] = []
    for experiment in experiments:
        try:
            found += build(experiment)
        except volumes.ObjectsError as error:
            problems += [f"{experiment.path}: {problem}" for problem in error.problems]
    if problems:
        raise CronsembleError("\n".join(problems))
    return found


def desired_states(placed: Sequence[Experiment]) -> list[DesiredState]:
    """What these experiments need of a cluster, by experiment; raises CronsembleError where one cannot run there."""
    cronjobs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    maps = {}
    for made in desired(placed):
        metadata = made["metadata"]
        if made["kind"] == "CronJob":
            cronjobs.setdefault((metadata["namespace"], metadata["labels"][labels.INSTANCE]), []).append(made)
        else:
            maps[metadata["namespace"], metadata["name"]] = made
    found = []
    for experiment in placed:
        space = experiment.cluster.namespace
        own = cronjobs.get((space, experiment.name), [])
        named = {name for each in own for name in mounted(each["spec"]["jobTemplate"]["spec"]["template"]["spec"])}
        held = [maps[space, name] for name in sorted(named) if (space, name) in maps]
        needs = volumes.pod_security(experiment)
        notes = tuple(f"{experiment.path}: {note}" for note in absent_data(experiment))
        found.append(DesiredState(experiment.name, space, (*held, *own), needs.level, needs.reason, notes))
    return found


def absent_data(experiment: Experiment) -> Iterator[str]:
    """Data files that the store lacks, where the store is a folder that this machine sees too."""
    store = experiment.store
    folder = Path(store.host_path) if isinstance(store, StoreVolume) and store.host_path is not None else None
    if folder is None or not folder.is_dir():
        return
    for key, given in (("dataset", experiment.data.dataset), ("predict", experiment.data.predict)):
        if given.endswith(".npz") and "{date}" not in given and not (folder / "data" / given).exists():
            yield f"data.{key}: {folder / 'data' / given} is not in the store yet: copy it there, or runs fail"
