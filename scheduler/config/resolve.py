"""Checked keys as an experiment: every default filled in, every value typed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cronjobs.experiment import (
    API_KEY_VARIABLE,
    ClusterSettings,
    Data,
    Ensemble,
    Experiment,
    HeartbeatSettings,
    HistoryLimits,
    Member,
    NfsExport,
    Resources,
    RuntimeSettings,
    SecretKey,
    StoreVolume,
    Task,
    Watch,
)
from cronjobs.objects import quantities
from scheduler.config.checks import OURS, hyperparameters_of
from scheduler.config.heartbeat import PING_URLS
from scheduler.config.keys import (
    BACKENDS,
    ClusterKeys,
    FileKeys,
    HeartbeatKeys,
    Keras3Keys,
    RuntimeKeys,
    RuntimesKeys,
    StoreKeys,
    TaskKeys,
    WatchKeys,
)

if TYPE_CHECKING:
    from cronjobs.notify import Notify


def resolve(keys: FileKeys, path: Path) -> Experiment:
    """The experiment that checked keys declare; ``path`` is the file as it was named."""
    members = {}
    for name, member in keys.backends.items():
        assert member is not None  # the checks have put the defaults there
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
        values = {name: getattr(keys.ensemble, name) for name in ("method", "quorum", "max_age", "wait", "timeout")}
        ensemble = Ensemble(**_task(keys.ensemble, keys), **values)
    heartbeat = None if keys.heartbeat is None else _heartbeat(keys.heartbeat)
    secrets = _secret_variables([*members.values(), *([ensemble] if ensemble else [])], heartbeat)
    return Experiment(
        name=keys.experiment,
        timezone=keys.timezone,
        store=_store(keys.store),
        folder=path.resolve().parent,
        path=path,
        data=Data(**msgspec.structs.asdict(keys.data)),
        code=keys.code,
        hyperparameters={name: value for name, value in {**OURS, **keys.hyperparameters}.items() if name != "seed"},
        members=members,
        ensemble=ensemble,
        runtimes=_runtimes(keys.runtimes),
        cluster=_cluster(keys.cluster),
        notify=_notify(keys, path.resolve().parent, secrets),
        heartbeat=heartbeat,
        watch=None if keys.watch is None else _watch(keys.watch, keys.timezone, ensemble or next(iter(members.values()))),
    )


def _notify(keys: FileKeys, folder: Path, others: Iterable[str]) -> Notify | None:
    if keys.notify is None:
        return None
    from scheduler.config.notify import resolve_notify  # late: most files have none

    return resolve_notify(keys.notify, folder, others)


def _task(task: TaskKeys, keys: FileKeys) -> dict[str, Any]:
    """The values of `cronjobs.experiment.Task`, by name."""
    values = {name: getattr(task, name) for name in TaskKeys.__struct_fields__}
    values["timezone"] = task.timezone or keys.timezone
    values["threads"] = task.threads or max(1, math.ceil(quantities.parse(task.resources.cpu)))
    values["resources"] = Resources(**msgspec.structs.asdict(task.resources))
    values["history_limits"] = HistoryLimits(task.history_limits.successful, task.history_limits.failed)
    limits = {} if task.gate is None else msgspec.structs.asdict(task.gate)
    values["gate"] = {name: float(limit) for name, limit in limits.items() if limit is not None}
    values["env"] = {
        name: value if isinstance(value, str) else SecretKey(value.secret, value.key) for name, value in task.env.items()
    }
    return values


def _watch(watch: WatchKeys, timezone: str, place: Task) -> Watch:
    """``place``: the task whose pods it is placed as, where it says nothing itself."""
    names = ("node_selector", "tolerations", "affinity", "priority_class", "labels", "annotations")
    own = {name: getattr(watch, name) for name in names}
    return Watch(
        schedule=watch.schedule,
        timezone=watch.timezone or timezone,
        suspend=watch.suspend,
        deadline=watch.deadline,
        cpu=watch.limits.cpu,
        memory=watch.limits.memory,
        **{name: getattr(place, name) if value is None else value for name, value in own.items()},
    )


def _store(store: str | StoreKeys) -> str | StoreVolume:
    if isinstance(store, str):
        return store
    return StoreVolume(store.claim, None if store.nfs is None else NfsExport(store.nfs.server, store.nfs.path), store.host_path)


def _runtimes(runtimes: RuntimesKeys) -> dict[str, RuntimeSettings]:
    declared: dict[str, str | RuntimeKeys] = {"keras3": runtimes.keras3, "legacy": runtimes.legacy}
    return {
        name: _runtime(keys) if isinstance(keys, RuntimeKeys) else RuntimeSettings(venv=True) for name, keys in declared.items()
    }


def _runtime(keys: RuntimeKeys) -> RuntimeSettings:
    if isinstance(keys, Keras3Keys) and keys.venv is not None:
        return RuntimeSettings(venv=True, packages=keys.venv if isinstance(keys.venv, str) else tuple(keys.venv))
    return RuntimeSettings(python=keys.python, image=keys.image)


def _cluster(cluster: ClusterKeys) -> ClusterSettings:
    values = msgspec.structs.asdict(cluster)
    values["images"] = {name: image for name, image in msgspec.structs.asdict(cluster.images).items() if image is not None}
    values["fs_group"] = cluster.group if cluster.fs_group is None else cluster.fs_group
    return ClusterSettings(**values)


def _secret_variables(tasks: Iterable[Task], heartbeat: HeartbeatSettings | None) -> list[str]:
    """The variables of this machine that hold secrets of tasks and of the heartbeat."""
    names = [name for task in tasks for name, value in task.env.items() if isinstance(value, SecretKey)]
    return names if heartbeat is None else [*names, heartbeat.ping_variable, API_KEY_VARIABLE]


def _heartbeat(heartbeat: HeartbeatKeys) -> HeartbeatSettings:
    server, key = heartbeat.server.rstrip("/"), heartbeat.ping_key
    ping_url = (heartbeat.ping_url or PING_URLS.get(server, f"{server}/ping")).rstrip("/")
    return HeartbeatSettings(server, ping_url, None if key is None else SecretKey(key.secret, key.key))
