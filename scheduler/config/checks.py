"""The checks of a parsed file: keys and types by the model, then what a type cannot say."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from jobs.contract import ENSEMBLE_TASK, member_task
from scheduler.config import kubernetes
from scheduler.config.convert import INVALID, convert, fields_of, shown
from scheduler.config.document import Document
from scheduler.config.errors import nearest
from scheduler.config.keys import BACKENDS, Backend, File, Task

OURS: dict[str, Any] = {
    "epochs": 50,
    "batch_size": 32,
    "patience": 1,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "seed": None,
}
MODELS = {"cnn": ("filters", "dense", "dropout", "dense_dropout"), "mlp": ("hidden", "dropout")}
OPTIMIZERS = ("adam", "sgd", "rmsprop", "adagrad", "adadelta")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
LONGEST = 48
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def validate(document: Document, folder: Path) -> File | None:
    """Add every problem to the document; the keys as a model if their types are right."""
    value = document.value
    if not isinstance(value, dict):
        document.problem((), f"the file holds {shown(value)}, not keys: `cronsemble init` writes a starter")
        return None
    kubernetes.check(document, value)
    _apply_defaults(document, value)
    keys = convert(document, File, value)
    _names(document, value)
    _zones(document, value)
    _schedules(document, value)
    _environment(document, value)
    if keys is not INVALID:
        keys.backends = {name: member or Backend() for name, member in keys.backends.items()}
        _members(document, keys, folder)
        _files(document, keys, folder)
    return None if keys is INVALID else keys


def _apply_defaults(document: Document, value: dict[str, Any]) -> None:
    defaults = value.get("defaults")
    if not isinstance(defaults, dict):
        return
    for name in defaults:
        if name not in fields_of(Task):
            hint = nearest(name, fields_of(Task))
            document.problem(("defaults", name), f"unknown key: {hint}", at_key=True)
    known = {name: given for name, given in defaults.items() if name in fields_of(Task)}
    backends = value.get("backends")
    members = backends if isinstance(backends, dict) else {}
    for name, member in list(members.items()):
        if member is None or isinstance(member, dict):
            members[name] = {**known, **(member or {})}
    if isinstance(value.get("ensemble"), dict):
        value["ensemble"] = {**known, **value["ensemble"]}


def _names(document: Document, value: dict[str, Any]) -> None:
    experiment = value.get("experiment")
    if not isinstance(experiment, str):
        return
    if not _LABEL.fullmatch(experiment):
        message = f"{shown(experiment)} is given: use lower-case letters, digits and -, e.g. my-experiment"
        document.problem(("experiment",), message)
    backends = value.get("backends")
    names = list(backends) if isinstance(backends, dict) else []
    for name in names:
        path = ("backends", name)
        if not _LABEL.fullmatch(name):
            document.problem(path, f"{shown(name)}: use lower-case letters, digits and -", at_key=True)
    tasks: list[tuple[tuple[Any, ...], str]] = [(("backends", name), member_task(name)) for name in names]
    if value.get("ensemble") is not None:
        tasks.append((("ensemble",), ENSEMBLE_TASK))
    for path, task in tasks:
        whole = f"{experiment}-{task}"
        if len(whole) > LONGEST:
            message = f"{whole} has {len(whole)} characters, at most {LONGEST} fit: shorten the names"
            document.problem(path, message, at_key=True)


def _zones(document: Document, value: dict[str, Any]) -> None:
    for path, given in _everywhere(value, "timezone"):
        if isinstance(given, str) and not is_zone(given):
            hint = nearest(given, sorted(available_timezones()))
            document.problem(path, f"{shown(given)} is not a time zone: {hint}")


def is_zone(name: str) -> bool:
    """Whether it is the name of an IANA zone; asked of its own file, for listing all takes 40 ms."""
    if not name or name.startswith(("posix/", "right/")) or name in ("localtime", "posixrules"):
        return False
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _schedules(document: Document, value: dict[str, Any]) -> None:
    from cronjobs.fire_times.schedule import ScheduleError, parse

    timezones, today = dict(_everywhere(value, "timezone")), datetime.now(UTC).date()
    refused: set[str] = set()
    for path, given in _everywhere(value, "schedule"):
        if isinstance(given, str):
            try:
                parse(given)
            except ScheduleError as error:
                from scheduler.dialects.hint import AT_MOST, explain

                refused.add(given)
                zones = (timezones.get((*path[:-1], "timezone")), timezones.get(("timezone",)), "UTC")
                zone = next(zone for zone in zones if isinstance(zone, str) and is_zone(zone))
                document.problem(path, f"{shown(given)}: {explain(error, given, zone, today, len(refused) <= AT_MOST)}")


def _environment(document: Document, value: dict[str, Any]) -> None:
    for path, given in _everywhere(value, "env"):
        for name in given if isinstance(given, dict) else ():
            if not _VARIABLE.fullmatch(name):
                document.problem((*path, name), "not a variable's name: use letters, digits and _", at_key=True)
            elif name.startswith(("CRONSEMBLE_", "KERAS_BACKEND")) or name in THREAD_VARIABLES:
                document.problem((*path, name), "cronsemble sets this one itself: remove it", at_key=True)


def _everywhere(value: dict[str, Any], key: str) -> list[tuple[tuple[Any, ...], Any]]:
    backends = value.get("backends")
    groups: list[tuple[tuple[Any, ...], Any]] = [((), value), (("ensemble",), value.get("ensemble"))]
    groups += [(("backends", name), each) for name, each in backends.items()] if isinstance(backends, dict) else []
    return [((*path, key), group[key]) for path, group in groups if isinstance(group, dict) and key in group]


def hyperparameters_of(keys: File, member: Backend) -> dict[str, Any]:
    return {**OURS, **keys.hyperparameters, **member.hyperparameters}


def _members(document: Document, keys: File, folder: Path) -> None:
    learnt_from = _taken_by_data(keys, folder)
    for name, member in keys.backends.items():
        assert member is not None
        path = ("backends", name)
        if member.backend is None and name not in BACKENDS:
            message = f"{name} is no backend ({nearest(name, BACKENDS)}): name one, e.g. backend: tensorflow"
            document.problem(path, message, at_key=True)
            continue
        backend = member.backend or name
        if member.data_format == "channels_first" and backend == "tensorflow":
            message = "channels_first is given: tensorflow cannot do it on a CPU, type channels_last"
            document.problem((*path, "data_format"), message)
        taken = _taken(document, keys, member, path, folder)
        model = member.model or keys.model
        for key, given in member.hyperparameters.items():
            _hyperparameter(document, (*path, "hyperparameters", key), key, given, taken, model)
        # The data function gets those for all members: what it reads, a model need not.
        known = None if taken is None or learnt_from is None else [*taken, *learnt_from]
        for key, given in keys.hyperparameters.items():
            _hyperparameter(document, ("hyperparameters", key), key, given, known, model)
    if keys.ensemble is not None and keys.ensemble.quorum > len(keys.backends):
        message = f"{keys.ensemble.quorum} is given, but there are {len(keys.backends)} members"
        document.problem(("ensemble", "quorum"), message)


def _hyperparameter(document: Document, path: tuple[Any, ...], key: str, given: Any, taken: list[str] | None, model: str) -> None:
    positive = isinstance(given, int) and not isinstance(given, bool) and given >= (0 if key in ("patience", "seed") else 1)
    if key in ("epochs", "batch_size", "patience", "seed") and not positive:
        message = f"{shown(given)} is given: it must be a whole number of at least {0 if key in ('patience', 'seed') else 1}"
    elif key == "learning_rate" and not (isinstance(given, int | float) and given > 0):
        message = f"{shown(given)} is given: it must be a number above 0, e.g. 0.001"
    elif key == "optimizer" and given not in OPTIMIZERS:
        message = f"{shown(given)} is given: {nearest(str(given), OPTIMIZERS)}"
    elif key not in OURS and taken is not None and key not in taken:
        message = f"the model {model} does not take it: {nearest(key, [*OURS, *taken])}"
    else:
        return
    problem = (path, message)
    if not any(each.key == ".".join(map(str, path)) and each.message == message for each in document.problems):
        document.problem(*problem)


def _taken(document: Document, keys: File, member: Backend, path: tuple[Any, ...], folder: Path) -> list[str] | None:
    """The hyperparameters that the member's model takes; None where that cannot be told without running it."""
    model = member.model or keys.model
    if model in MODELS:
        return list(MODELS[model])
    where = (*path, "model") if member.model else ("model",)
    function = _function(document, where, model, folder, (*MODELS,))
    if function is None or len(function.args.args) < 3:
        if function is not None:
            message = f"{model} takes {len(function.args.args)} arguments: it must be (input_shape, classes, hyperparameters)"
            document.problem(where, message)
        return None
    return _keys_read(function, function.args.args[2].arg)


def _taken_by_data(keys: File, folder: Path) -> list[str] | None:
    """The hyperparameters that the data function takes; none without one, None where that cannot be told without running it."""
    if not keys.data.dataset.rpartition(":")[0].endswith(".py"):
        return []
    # What is wrong with the function itself is told where its key is.
    function = _function(Document(""), (), keys.data.dataset, folder, ())
    return _keys_read(function, function.args.args[0].arg) if function is not None and function.args.args else None


def _keys_read(function: ast.FunctionDef, name: str) -> list[str] | None:
    """The constant keys that a function reads of its parameter; None if it uses it in any other way."""
    keys, uses = [], 0
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == name:
            uses += 1
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == name:
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            owner = node.func.value
            key = node.args[0] if isinstance(owner, ast.Name) and owner.id == name and node.args else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            keys.append(key.value)
            uses -= 1
    return keys if uses == 0 else None


def _function(
    document: Document, where: tuple[Any, ...], reference: str, folder: Path, built_in: tuple[str, ...]
) -> ast.FunctionDef | None:
    source, _, name = reference.rpartition(":")

    def refuse(message: str) -> ast.FunctionDef | None:
        document.problem(where, message)
        return None

    if not source.endswith(".py") or not name:
        message = f"{shown(reference)} is given: type {', '.join(built_in)} or file.py:function"
        return refuse(message)
    path = folder / source
    wrong = _misplaced(source, folder)
    if wrong:
        return refuse(wrong)
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        return refuse(f"{source} cannot be read: {error.strerror}")
    except (SyntaxError, ValueError) as error:
        return refuse(f"{source} is not Python: {error}")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return refuse(f"{source} has no function {name}: {nearest(name, names)}")


def _misplaced(given: str, folder: Path) -> str:
    """Why a path cannot be used; empty if it can. What it names must be found where only the folder has been copied to."""
    path = PurePosixPath(given)
    if path.is_absolute() or ".." in path.parts:
        return f"{given} is given: type a path within the configuration's folder, relative to it and without .."
    if not (folder / given).resolve().is_relative_to(folder):
        return f"{given} leads outside the configuration's folder: put a copy inside"
    return ""


def _files(document: Document, keys: File, folder: Path) -> None:
    sets = ("digits", "cifar10", "mnist")
    for key, given in (("dataset", keys.data.dataset), ("predict", keys.data.predict)):
        where = ("data", key)
        if given in sets and key == "dataset" or given == "holdout" and key == "predict":
            continue
        if given.rpartition(":")[0].endswith(".py") and key == "dataset":
            _function(document, where, given, folder, sets)
        elif not given.endswith(".npz"):
            known = f"{', '.join(sets)}, FILE.npz or file.py:function" if key == "dataset" else "holdout or FILE.npz"
            document.problem(where, f"{shown(given)} is given: type {known}")
        elif wrong := _misplaced(given, folder):
            document.problem(where, wrong)
        elif isinstance(keys.store, str) and "{date}" not in given and not (folder / given).is_file():
            # On a cluster it lies in the store: `put` copies it there.
            document.problem(where, f"{given} is not there (looked in {folder})")
    for n, item in enumerate(keys.code):
        wrong = _misplaced(item, folder)
        if wrong or not (folder / item).exists():
            document.problem(("code", n), wrong or f"{item} is not in the configuration's folder")
