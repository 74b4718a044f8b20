"""The checks of a parsed file: keys and types by the model, then what a type cannot say."""

from __future__ import annotations

import ast
import functools
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
from scheduler.config.keys import BACKENDS, BackendKeys, FileKeys, TaskKeys

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
MOST_HINTS = 20
"""Names of zones for which the nearest known one is searched, which takes some 10 ms each."""
LARGEST_SEED = 2**32 - 1
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def validate(document: Document, folder: Path) -> FileKeys | None:
    """Add every problem to the document; the keys as a model if their types are right."""
    value = document.value
    if not isinstance(value, dict):
        document.problem((), f"the file holds {shown(value)}, not keys: `cronsemble init` writes a starter")
        return None
    kubernetes.check(document, value)
    _apply_defaults(document, value)
    keys = convert(document, FileKeys, value)
    _names(document, value)
    _zones(document, value)
    _schedules(document, value)
    _environment(document, value)
    if keys is not INVALID:
        keys.backends = {name: member or BackendKeys() for name, member in keys.backends.items()}
        _members(document, keys, folder)
        _files(document, keys, folder)
    return None if keys is INVALID else keys


def _apply_defaults(document: Document, value: dict[str, Any]) -> None:
    defaults = value.get("defaults")
    if not isinstance(defaults, dict):
        return
    for name in defaults:
        if name not in fields_of(TaskKeys):
            hint = nearest(name, fields_of(TaskKeys))
            document.problem(("defaults", name), f"unknown key: {hint}", at_key=True)
    known = {name: item for name, item in defaults.items() if name in fields_of(TaskKeys)}
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
            message = f"{shown(whole)} has {len(whole)} characters, at most {LONGEST} fit: shorten the names"
            document.problem(path, message, at_key=True)


def _zones(document: Document, value: dict[str, Any]) -> None:
    unknown: set[str] = set()
    for path, name in _everywhere(value, "timezone"):
        if isinstance(name, str) and not is_zone(name):
            unknown.add(name)
            hint = nearest(name, _known_zones()) if len(unknown) <= MOST_HINTS else "type an IANA name, e.g. Europe/Berlin"
            document.problem(path, f"{shown(name)} is not a time zone: {hint}")


@functools.cache
def _known_zones() -> tuple[str, ...]:
    return tuple(sorted(available_timezones()))


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
    for path, expression in _everywhere(value, "schedule"):
        if isinstance(expression, str):
            try:
                parse(expression)
            except ScheduleError as error:
                from scheduler.dialects.hint import AT_MOST, explain

                refused.add(expression)
                zones = (timezones.get((*path[:-1], "timezone")), timezones.get(("timezone",)), "UTC")
                zone = next(zone for zone in zones if isinstance(zone, str) and is_zone(zone))
                document.problem(path, f"{shown(expression)}: {explain(error, expression, zone, today, len(refused) <= AT_MOST)}")


def _environment(document: Document, value: dict[str, Any]) -> None:
    for path, variables in _everywhere(value, "env"):
        for name in variables if isinstance(variables, dict) else ():
            if not _VARIABLE.fullmatch(name):
                document.problem((*path, name), "not a variable's name: use letters, digits and _", at_key=True)
            elif name.startswith(("CRONSEMBLE_", "KERAS_BACKEND")) or name in THREAD_VARIABLES:
                document.problem((*path, name), "cronsemble sets this one itself: remove it", at_key=True)


def _everywhere(value: dict[str, Any], key: str) -> list[tuple[tuple[Any, ...], Any]]:
    backends = value.get("backends")
    groups: list[tuple[tuple[Any, ...], Any]] = [((), value), (("ensemble",), value.get("ensemble"))]
    groups += [(("backends", name), member) for name, member in backends.items()] if isinstance(backends, dict) else []
    return [((*path, key), group[key]) for path, group in groups if isinstance(group, dict) and key in group]


def hyperparameters_of(keys: FileKeys, member: BackendKeys) -> dict[str, Any]:
    """A member's hyperparameters: ours with their defaults, those for all members, its own."""
    return {**OURS, **keys.hyperparameters, **member.hyperparameters}


def _members(document: Document, keys: FileKeys, folder: Path) -> None:
    read_by_data = _read_by_data_function(keys, folder)
    checked_for_all: set[tuple[str, str]] = set()
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
        accepted = _accepted_by_model(document, keys, member, path, folder)
        model = member.model or keys.model
        for key, value in member.hyperparameters.items():
            _hyperparameter(document, (*path, "hyperparameters", key), key, value, accepted, model)
        # The data function gets those for all members: what it reads, a model need not.
        accepted_by_all = None if accepted is None or read_by_data is None else [*accepted, *read_by_data]
        if (model, str(accepted_by_all)) in checked_for_all:
            continue
        checked_for_all.add((model, str(accepted_by_all)))
        for key, value in keys.hyperparameters.items():
            _hyperparameter(document, ("hyperparameters", key), key, value, accepted_by_all, model)
    if keys.ensemble is not None and keys.ensemble.quorum > len(keys.backends):
        message = f"{keys.ensemble.quorum} is given, but there are {len(keys.backends)} members"
        document.problem(("ensemble", "quorum"), message)


def _hyperparameter(
    document: Document, path: tuple[Any, ...], key: str, value: Any, accepted: list[str] | None, model: str
) -> None:
    positive = isinstance(value, int) and not isinstance(value, bool) and value >= (0 if key in ("patience", "seed") else 1)
    if key in ("epochs", "batch_size", "patience", "seed") and not positive:
        message = f"{shown(value)} is given: it must be a whole number of at least {0 if key in ('patience', 'seed') else 1}"
    elif key == "seed" and value > LARGEST_SEED:
        message = f"{shown(value)} is given: it must be at most {LARGEST_SEED}, as NumPy takes it"
    elif key == "learning_rate" and not (isinstance(value, int | float) and value > 0):
        message = f"{shown(value)} is given: it must be a number above 0, e.g. 0.001"
    elif key == "optimizer" and value not in OPTIMIZERS:
        message = f"{shown(value)} is given: {nearest(str(value), OPTIMIZERS)}"
    elif key not in OURS and accepted is not None and key not in accepted:
        message = f"the model {model} does not take it: {nearest(key, [*OURS, *accepted])}"
    else:
        return
    document.problem(path, message)


def _accepted_by_model(
    document: Document, keys: FileKeys, member: BackendKeys, path: tuple[Any, ...], folder: Path
) -> list[str] | None:
    """The hyperparameters that the member's model takes; None where only a run of it would show."""
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


def _read_by_data_function(keys: FileKeys, folder: Path) -> list[str] | None:
    """The hyperparameters that the data function reads; none without one, None where only a run of it would show."""
    if not keys.data.dataset.rpartition(":")[0].endswith(".py"):
        return []
    # What is wrong with the function itself is reported at its own key.
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
    if problem := _misplaced(source, folder):
        return refuse(problem)
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


def _misplaced(text: str, folder: Path) -> str:
    """Why a path cannot be used; empty if it can. What it names must be found where only the folder has been copied to."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        return f"{text} is given: type a path within the configuration's folder, relative to it and without .."
    if not (folder / text).resolve().is_relative_to(folder):
        return f"{text} leads outside the configuration's folder: put a copy inside"
    return ""


def _files(document: Document, keys: FileKeys, folder: Path) -> None:
    sets = ("digits", "cifar10", "mnist")
    for key, source in (("dataset", keys.data.dataset), ("predict", keys.data.predict)):
        path = ("data", key)
        if source in sets and key == "dataset" or source == "holdout" and key == "predict":
            continue
        if source.rpartition(":")[0].endswith(".py") and key == "dataset":
            _function(document, path, source, folder, sets)
        elif not source.endswith(".npz"):
            known = f"{', '.join(sets)}, FILE.npz or file.py:function" if key == "dataset" else "holdout or FILE.npz"
            document.problem(path, f"{shown(source)} is given: type {known}")
        elif problem := _misplaced(source, folder):
            document.problem(path, problem)
        elif isinstance(keys.store, str) and "{date}" not in source and not (folder / source).is_file():
            # On a cluster it is in the store: `put` copies it there.
            document.problem(path, f"{source} does not exist (looked in {folder})")
    if keys.data.holdout is not None and keys.data.predict != "holdout":
        message = f"{keys.data.holdout} is given, and {keys.data.predict} is predicted: it is for predict: holdout, remove it"
        document.problem(("data", "holdout"), message)
    for n, item in enumerate(keys.code):
        problem = _misplaced(item, folder)
        if problem or not (folder / item).exists():
            document.problem(("code", n), problem or f"{item} is not in the configuration's folder")
