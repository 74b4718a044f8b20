"""The objects that configurations need: builds program and code, the objects, and the notes about them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cronjobs.experiment import Experiment, StoreVolume
from cronjobs.objects import cronjob, labels, volumes
from cronjobs.objects.config_maps import mounted
from cronjobs.tasks import ExperimentContext
from scheduler import VERSION
from scheduler.errors import CronsembleError
from scheduler.kube.objects import Object
from scheduler.snapshots.code_files import code_files
from scheduler.snapshots.program import build_program
from scheduler.snapshots.user_code import build_user_code
from scheduler.sync.desired_state import DesiredState

T = TypeVar("T")


def desired(experiments: Iterable[Experiment]) -> list[Object]:
    """Every object that these experiments need, each once, ConfigMaps first; raises CronsembleError."""
    program = build_program()
    digest = hashlib.sha256(program).hexdigest()

    def build(experiment: Experiment) -> list[Object]:
        code = build_user_code(experiment)
        context = ExperimentContext(experiment, digest, hashlib.sha256(code).hexdigest() if code else "", version=VERSION)
        return cronjob.desired(context, program, code)

    objects: dict[tuple[str, str, str], Object] = {}
    for body in _build_all(experiments, build):
        # Experiments share the ConfigMaps of equal content.
        objects.setdefault((body["kind"], body["metadata"]["namespace"], body["metadata"]["name"]), body)
    return sorted(objects.values(), key=lambda body: body["kind"] != "ConfigMap")


def store_volumes(experiments: Iterable[Experiment]) -> list[Object]:
    """A PersistentVolume and a claim for each experiment's store; raises CronsembleError."""
    return _build_all(experiments, volumes.persistent_volume)


def notes(experiments: Iterable[Experiment]) -> list[str]:
    """What the objects do not say, a line each; raises CronsembleError."""
    return _build_all(
        experiments,
        lambda experiment: [f"{experiment.path}: {note}" for note in (*cronjob.notes(experiment), *_left_out(experiment))],
    )


def _left_out(experiment: Experiment) -> list[str]:
    left_out = code_files(experiment).left_out
    return [left_out] if left_out else []


def _build_all(experiments: Iterable[Experiment], build: Callable[[Experiment], list[T]]) -> list[T]:
    """What is built for all; raises CronsembleError with every problem of every experiment."""
    results: list[T] = []
    problems: list[str] = []
    for experiment in experiments:
        try:
            results += build(experiment)
        except volumes.ObjectsError as error:
            problems += [f"{experiment.path}: {problem}" for problem in error.problems]
    if problems:
        raise CronsembleError(*problems)
    return results


def desired_states(experiments: Sequence[Experiment]) -> list[DesiredState]:
    """What each of these experiments needs of a cluster; raises CronsembleError where one cannot run there."""
    cronjobs: dict[tuple[str, str], list[Object]] = {}
    configmaps: dict[tuple[str, str], Object] = {}
    for body in desired(experiments):
        metadata = body["metadata"]
        if body["kind"] == "CronJob":
            cronjobs.setdefault((metadata["namespace"], metadata["labels"][labels.INSTANCE]), []).append(body)
        else:
            configmaps[metadata["namespace"], metadata["name"]] = body
    states = []
    for experiment in experiments:
        namespace = experiment.cluster.namespace
        own = cronjobs.get((namespace, experiment.name), [])
        mounts = {name for body in own for name in mounted(body["spec"]["jobTemplate"]["spec"]["template"]["spec"])}
        snapshots = [configmaps[namespace, name] for name in sorted(mounts) if (namespace, name) in configmaps]
        required = volumes.pod_security(experiment)
        state_notes = tuple(
            f"{experiment.path}: {note}"
            for note in (*absent_data(experiment), *_left_out(experiment), *cronjob.silent_notify(experiment))
        )
        state = DesiredState(experiment.name, namespace, (*snapshots, *own), required.level, required.reason, state_notes)
        states.append(replace(state, heartbeat=experiment.heartbeat))
    return states


def absent_data(experiment: Experiment) -> Iterator[str]:
    """Data files that the store lacks, a line each, where the store is a folder that this machine has too."""
    store = experiment.store
    folder = Path(store.host_path) if isinstance(store, StoreVolume) and store.host_path is not None else None
    if folder is None or not folder.is_dir():
        return
    for key, file in (("dataset", experiment.data.dataset), ("predict", experiment.data.predict)):
        if file.endswith(".npz") and "{date}" not in file and not (folder / "data" / file).exists():
            yield f"data.{key}: {folder / 'data' / file} is not in the store yet: copy it there, or runs fail"
