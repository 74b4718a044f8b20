"""Reads a configuration file, checks it in one pass, and resolves it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cronjobs.resolved import Data, Ensemble, Experiment, Member
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
    document = parse(str(path), data)
    folder = path.resolve().parent
    from scheduler.config.checks import validate

    file_keys = validate(document, folder)
    if document.problems or file_keys is None:
        raise ConfigErrors(document.problems)
    return _resolve(file_keys, path, folder)


def _resolve(keys: Any, path: Path, folder: Path) -> Experiment:
    from scheduler.config.checks import hyperparameters_of
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
    store = keys.store if isinstance(keys.store, str) else _plain(keys.store)
    return Experiment(
        name=keys.experiment,
        timezone=keys.timezone,
        store=store,
        folder=folder,
        path=path,
        data=Data(keys.data.dataset, keys.data.predict, keys.data.refresh),
        code=keys.code,
        members=members,
        ensemble=ensemble,
        runtimes=_plain(keys.runtimes),
        cluster=_plain(keys.cluster),
    )


def _task(task: Any, keys: Any) -> dict[str, Any]:
    from scheduler.config.keys import Task

    values = {name: getattr(task, name) for name in Task.__struct_fields__}
    values["timezone"] = task.timezone or keys.timezone
    values["threads"] = task.threads or max(1, math.ceil(cpus(task.resources.cpu)))
    values["resources"] = _plain(task.resources)
    values["env"] = {name: _plain(value) for name, value in task.env.items()}
    return values


def _plain(keys: Any) -> Any:
    """A struct as a dictionary, without the keys that are not given."""
    import msgspec

    if not isinstance(keys, msgspec.Struct):
        return keys
    return {name: _plain(value) for name, value in msgspec.structs.asdict(keys).items() if value is not None}


def cpus(value: float | str) -> float:
    """CPUs of a quantity: 2, "2" or "1500m"."""
    text = str(value)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


__all__ = ["Document", "load"]
