"""Reads a configuration file, checks it in one pass, and resolves it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cronjobs.experiment import (
    ClusterSettings,
    Data,
    Ensemble,
    Experiment,
    HistoryLimits,
    Member,
    NfsExport,
    Resources,
    RuntimeSettings,
    SecretKey,
    StoreVolume,
)
from cronjobs.tasks import tasks_of
from scheduler.config.document import Document, parse
from scheduler.config.errors import ConfigErrors, Problem


def load(path: Path) -> Experiment:
    """The experiment that a file declares; raises ConfigErrors with every problem of the file."""
    try:
        with open(path, "rb") as file:
            data = file.read(16_000_000)
    except OSError as error:
        hint = ": `cronsemble init` writes a starter" if isinstance(error, FileNotFoundError) else ""
        problem = Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}{hint}")
        raise ConfigErrors([problem]) from error
    try:
        return _load(path, data)
    except ConfigErrors as errors:
        errors.text = data.decode(errors="replace")
        raise


def _load(path: Path, data: bytes) -> Experiment:
    document = parse(str(path), data)
    folder = path.resolve().parent
    from scheduler.config.checks import validate

    file_keys = validate(document, folder)
    if document.problems or file_keys is None:
        raise ConfigErrors(document.problems)
    return _resolve(file_keys, path, folder)


def load_all(paths: Iterable[Path]) -> list[Experiment]:
    """The experiments of several files; a folder stands for its .yaml and .yml files, by name.

    Raises ConfigErrors with every problem of every file, and with the names that two files share.
    """
    experiments: list[Experiment] = []
    problems: list[Problem] = []
    files: dict[Path, Path] = {}
    for path in paths:
        found = _files(path) if path.is_dir() else [path]
        if not found:
            problems.append(Problem(str(path), 0, 0, "", "this folder holds no .yaml or .yml file: `cronsemble init` writes one"))
        for file in found:
            files.setdefault(file.resolve(), file)
    for file in files.values():
        try:
            experiments.append(load(file))
        except ConfigErrors as error:
            problems += error.problems
    problems += _clashes(experiments)
    if problems:
        raise ConfigErrors(problems)
    return experiments


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file())


def _clashes(experiments: list[Experiment]) -> Iterator[Problem]:
    """The experiments of one name, and those of two names whose tasks have one, in a namespace."""
    seen: dict[tuple[str, str], Experiment] = {}
    for experiment in experiments:
        namespace = experiment.cluster.namespace
        first = seen.setdefault((namespace, experiment.name), experiment)
        if first is not experiment:
            message = f"{experiment.name} is declared by {first.path} too: rename one, or give it a cluster.namespace of its own"
            yield Problem(str(experiment.path), 0, 0, "experiment", message)
            continue
        for task, declared in tasks_of(experiment):
            key = f"backends.{declared.name}" if isinstance(declared, Member) else "ensemble"
            whole = f"{experiment.name}-{task}"
            other = seen.setdefault((namespace, f"{whole} "), experiment)
            if other is not experiment:
                message = f"its CronJob {whole} has the name of one of {other.path}: rename the experiment"
                yield Problem(str(experiment.path), 0, 0, key, message)


def _resolve(keys: Any, path: Path, folder: Path) -> Experiment:
    from scheduler.config.checks import OURS, hyperparameters_of
    from scheduler.config.keys import BACKENDS

    members = {}
    for name, member in keys.backends.items():
        backend = member.backend or name
        model = member.model or keys.model
        values = hyperparameters_of(keys, member)
        seed = values.pop("seed", None)
        legacy_cnn = model == "cnn" and BACKENDS[backend] == "legacy"
        members[name] = Member(
            **_task(member, keys),
            name=name,
            backend=backend,
            runtime=BACKENDS[backend],
            model=model,
            hyperparameters=values,
            seed=seed,
            data_format=member.data_format or ("channels_first" if legacy_cnn else "channels_last"),
        )
    ensemble = None
    if keys.ensemble is not None:
        own = {name: getattr(keys.ensemble, name) for name in ("method", "quorum", "max_age", "timeout")}
        ensemble = Ensemble(**_task(keys.ensemble, keys), **own)
    return Experiment(
        name=keys.experiment,
        timezone=keys.timezone,
        store=_store(keys.store),
        folder=folder,
        path=path,
        data=Data(keys.data.dataset, keys.data.predict, keys.data.refresh),
        code=keys.code,
        hyperparameters={name: value for name, value in {**OURS, **keys.hyperparameters}.items() if name != "seed"},
        members=members,
        ensemble=ensemble,
        runtimes=_runtimes(keys.runtimes),
        cluster=_cluster(keys.cluster),
    )


def _task(task: Any, keys: Any) -> dict[str, Any]:
    import msgspec

    from cronjobs.objects import quantities
    from scheduler.config.keys import Task

    values = {name: getattr(task, name) for name in Task.__struct_fields__}
    values["timezone"] = task.timezone or keys.timezone
    values["threads"] = task.threads or max(1, math.ceil(quantities.parse(task.resources.cpu)))
    values["resources"] = Resources(**msgspec.structs.asdict(task.resources))
    values["history_limits"] = HistoryLimits(task.history_limits.successful, task.history_limits.failed)
    values["env"] = {
        name: value if isinstance(value, str) else SecretKey(value.secret, value.key) for name, value in task.env.items()
    }
    return values


def _store(store: Any) -> str | StoreVolume:
    if isinstance(store, str):
        return store
    return StoreVolume(store.claim, None if store.nfs is None else NfsExport(store.nfs.server, store.nfs.path), store.host_path)


def _runtimes(runtimes: Any) -> dict[str, RuntimeSettings]:
    declared = {"keras3": runtimes.keras3, "legacy": runtimes.legacy}
    return {
        name: RuntimeSettings(venv=True) if keys == "venv" else RuntimeSettings(python=keys.python, image=keys.image)
        for name, keys in declared.items()
    }


def _cluster(cluster: Any) -> ClusterSettings:
    import msgspec

    values = msgspec.structs.asdict(cluster)
    values["images"] = {name: image for name, image in msgspec.structs.asdict(cluster.images).items() if image is not None}
    values["fs_group"] = cluster.group if cluster.fs_group is None else cluster.fs_group
    return ClusterSettings(**values)


__all__ = ["Document", "load", "load_all"]
