"""The configuration that a revision declared, in the words of the configuration file, as far as a revision records it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cronjobs.revisions.revisions import Tasks
from jobs.contract import ENSEMBLE_TASK, LOG_LIMIT
from jobs.text import single_line
from scheduler.history.revision_changes import Snapshots
from scheduler.times import format_single_unit

NOT_RECORDED = "store, runtimes, cluster, code, retries, resources but for threads and GPUs, labels and the like"
"""What no revision records, for people."""

_TRAIN = "train-"
_DEFAULTS = {"concurrency": "forbid", "starting_deadline": "1h", "deadline": "6h", "threads": 1}
"""What a task has that does not say it, as the file writes it."""
_DATA = {"refresh": "daily", "stratified": False, "holdout": None}
_LEGACY = ("theano", "cntk")


def revision_configuration(experiment: str, tasks: Tasks, snapshots: Snapshots) -> tuple[dict[str, Any], list[str]]:
    """The configuration as a file could declare it, defaults left out; and why it lacks what the store has no longer.

    A file with it resolves to the same tasks, secrets apart, whose Secrets are not recorded.
    """
    resolved = {name: snapshots.task(str(task.get("task"))) for name, task in tasks.items()}
    missing = [
        f"{name}: the store has no copy of its configuration ({str(tasks[name].get('task'))[:12]}): only its schedule is known"
        for name, task in resolved.items()
        if task is None
    ]
    known = {name: dict(task) for name, task in resolved.items() if task is not None}
    any_task = next(iter(known.values()), {})
    timezone = str(any_task.get("timezone") or next((task["timezone"] for task in tasks.values() if task.get("timezone")), "UTC"))
    configuration: dict[str, Any] = {"experiment": experiment, "timezone": timezone}
    data = any_task.get("data") or {}
    if data:
        declared = {key: data[key] for key in ("dataset", "predict", "holdout", "stratified", "refresh") if key in data}
        configuration["data"] = {key: value for key, value in declared.items() if _DATA.get(key, ...) != value}
    trainings = {name: task for name, task in known.items() if name != ENSEMBLE_TASK}
    common = _common(trainings, data)
    if trainings:
        configuration["model"] = common["model"]
        configuration["hyperparameters"] = common["hyperparameters"]
    configuration["backends"] = {
        name.removeprefix(_TRAIN): _member(name.removeprefix(_TRAIN), task, known.get(name, {}), timezone, common)
        for name, task in tasks.items()
        if name != ENSEMBLE_TASK
    }
    if ENSEMBLE_TASK in tasks:
        configuration[ENSEMBLE_TASK] = _ensemble(tasks[ENSEMBLE_TASK], known.get(ENSEMBLE_TASK, {}), timezone)
    return configuration, missing


def _common(trainings: Mapping[str, Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any]:
    """The model of most trainings, and the hyperparameters that stand for all of them.

    Data by a function says which these are; else they are those that all trainings have alike, or most of them have.
    """
    models = [task["model"] for task in trainings.values() if "model" in task]
    values = [_hyperparameters(task) for task in trainings.values()]
    everywhere = [key for key in (values[0] if values else ()) if all(key in each for each in values)]
    shared = {key: _most([each[key] for each in values]) for key in everywhere}
    if "hyperparameters" in data:
        shared = {**data["hyperparameters"], **{key: shared[key] for key in shared if key == "seed"}}
    return {"model": _most(models) if models else "", "hyperparameters": shared}


def _most(values: list[Any]) -> Any:
    """The value that is there most often, of several the first."""
    return max(values, key=lambda value: sum(other == value for other in values))


def _member(
    name: str, task: Mapping[str, Any], resolved: Mapping[str, Any], timezone: str, common: Mapping[str, Any]
) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    backend, model = resolved.get("backend"), resolved.get("model")
    if backend not in (None, name):
        keys["backend"] = backend
    keys |= _task(task, resolved, timezone)
    if model not in (None, common["model"]):
        keys["model"] = model
    own = _hyperparameters(resolved)
    shared = common["hyperparameters"]
    if different := {key: value for key, value in own.items() if key not in shared or shared[key] != value}:
        keys["hyperparameters"] = different
    data_format = "channels_first" if model == "cnn" and backend in _LEGACY else "channels_last"
    if resolved.get("data_format", data_format) != data_format:
        keys["data_format"] = resolved["data_format"]
    return keys


def _hyperparameters(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A training's hyperparameters with its seed, if one was given."""
    seed = resolved.get("seed")
    return {**(resolved.get("hyperparameters") or {}), **({} if seed is None else {"seed": seed})}


def _ensemble(task: Mapping[str, Any], resolved: Mapping[str, Any], timezone: str) -> dict[str, Any]:
    keys = _task(task, resolved, timezone)
    if resolved:
        keys |= {key: resolved[key] for key in ("method", "quorum") if key in resolved}
        if resolved.get("max_age") is not None:
            keys["max_age"] = format_single_unit(resolved["max_age"])
        if resolved.get("wait") is not None:
            keys["wait"] = format_single_unit(resolved["wait"])
        timeout = next((member.get("timeout") for member in resolved.get("members") or ()), None)
        if timeout not in (None, 600):
            keys["timeout"] = format_single_unit(timeout)
    return keys


def _task(task: Mapping[str, Any], resolved: Mapping[str, Any], timezone: str) -> dict[str, Any]:
    """The keys that every task has, as far as they are not the defaults."""
    keys: dict[str, Any] = {}
    if task.get("schedule"):
        keys["schedule"] = task["schedule"]
    if task.get("timezone") not in (None, timezone):
        keys["timezone"] = task["timezone"]
    if task.get("suspend") is not None:
        keys["suspend"] = task["suspend"]
    declared = {
        "concurrency": str(task.get("concurrency") or "Forbid").lower(),
        "starting_deadline": format_single_unit(task.get("starting_deadline", 3600)),
        # A revision's covers the wait.
        "deadline": format_single_unit(max(0, task.get("deadline", 6 * 3600) - int(resolved.get("wait") or 0))),
        "threads": resolved.get("threads", 1),
    }
    keys |= {key: value for key, value in declared.items() if _DEFAULTS[key] != value}
    if resolved.get("log_limit", LOG_LIMIT) != LOG_LIMIT:
        keys["log_limit"] = _size(resolved["log_limit"])
    if resolved.get("gpus"):
        keys["resources"] = {"gpu": resolved["gpus"]}
    env = dict(resolved.get("env") or {}) | {name: {"secret": "?", "key": "?"} for name in resolved.get("secrets") or ()}
    if env:
        keys["env"] = env
    return keys


def _size(number: int) -> str:
    for unit, size in (("Gi", 1 << 30), ("G", 10**9), ("Mi", 1 << 20), ("M", 10**6), ("Ki", 1024), ("k", 1000)):
        if number % size == 0:
            return f"{number // size}{unit}"
    return str(number)


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A revision's configuration as the text of a file, in which comments say whose it is, how long it held, and what it lacks.

    ``report``: the revision's (:func:`scheduler.history.slot_report.revision_report`), with ``until``, ``configuration`` and
    ``missing``.
    """
    from scheduler.console.yaml_output import to_yaml  # late: most histories print none

    comments = [
        f"revision {report['revision']}: {report['what']} by {report['by'] or 'unknown'} on {report['engine']}",
        f"from {report['local']} until {report['until'] or 'now'}",
        f"not recorded: {NOT_RECORDED}",
        *report["missing"],
    ]
    yield from (f"# {single_line(comment)}" for comment in comments)
    yield from to_yaml([report["configuration"]], is_stream=False).splitlines()
