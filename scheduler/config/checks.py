"""The checks of a parsed file: keys and types by the model, then what a type cannot say."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronjobs.objects.labels import WATCH
from jobs.contract import AGREEMENT, ENSEMBLE_TASK, member_task
from scheduler.config import heartbeat, kubernetes
from scheduler.config.convert import INVALID, convert, fields_of, shown
from scheduler.config.document import Document
from scheduler.config.errors import nearest
from scheduler.config.functions import COMBINE, DATA, MODEL, FunctionChecker, impossible, keys_read, misplaced
from scheduler.config.keys import BACKENDS, BackendKeys, FileKeys, Keras3Keys, RuntimeKeys, Section, StoreKeys, TaskKeys

OURS: dict[str, Any] = {
    "epochs": 50,
    "batch_size": 32,
    "patience": 1,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "seed": None,
}
MODELS = {"cnn": ("filters", "dense", "dropout", "dense_dropout"), "mlp": ("hidden", "dropout")}
SETS = ("digits", "cifar10", "mnist")
METHODS = ("accuracy", "uniform", "calibrated")
"""Of combining members; any other is a function."""
OPTIMIZERS = ("adam", "sgd", "rmsprop", "adagrad", "adadelta")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
LONGEST = 48
MOST_HINTS = 20
"""Names of zones for which the nearest known one is searched, which takes some 10 ms each."""
LARGEST_SEED = 2**32 - 1
LARGEST_VARIABLE, LARGEST_ENVIRONMENT = 128 * 1024, 500_000
"""Bytes of a variable and its name (Linux's MAX_ARG_STRLEN), and of all that one ``env`` says; Linux has 2 MiB for everything."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REQUIREMENT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._, -]+\])? ?[^\n\r]*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def validate(document: Document, folder: Path) -> FileKeys | None:
    """Add every problem to the document; the keys as a model, of which those with a problem may be INVALID."""
    value = document.value
    if not isinstance(value, dict):
        document.problem((), f"the file holds {shown(value)}, not keys: `cronsemble init` writes a starter")
        return None
    kubernetes.check(document, value)
    if isinstance(value.get("notify"), dict):
        from scheduler.config import notify  # late: most files have none, and it compiles many patterns

        notify.check(document, value, folder)
    heartbeat.check(document, value)
    _apply_defaults(document, value)
    keys: FileKeys = convert(document, FileKeys, value)
    _names(document, value)
    _zones(document, value)
    _schedules(document, value)
    _environment(document, value)
    _gates(document, value)
    if keys.backends is not INVALID:
        keys.backends = {name: member or BackendKeys() for name, member in keys.backends.items()}
        _members(document, keys, folder)
    _files(document, keys, folder)
    _runtimes(document, keys, folder)
    heartbeat.check_keys(document, keys)
    return keys


def _apply_defaults(document: Document, value: dict[str, Any]) -> None:
    """Give every task the valid ones of the defaults; the problems of the others are reported once, at the defaults."""
    defaults = value.get("defaults")
    if not isinstance(defaults, dict):
        return
    types, known = fields_of(TaskKeys), {}
    for name, item in defaults.items():
        if name not in types:
            document.problem(("defaults", name), f"unknown key: {nearest(name, types)}", at_key=True)
            continue
        reported = len(document.problems)
        is_whole = is_valid(convert(document, types[name], item, ("defaults", name)))
        if is_whole and len(document.problems) == reported:
            known[name] = item
    backends = value.get("backends")
    members = backends if isinstance(backends, dict) else {}
    for name, member in list(members.items()):
        if member is None or isinstance(member, dict):
            members[name] = {**known, **(member or {})}
    if isinstance(value.get("ensemble"), dict):
        # How good a model must be says nothing of what an ensemble must be on other items.
        known.pop("gate", None)
        value["ensemble"] = {**known, **value["ensemble"]}


def is_valid(value: Any) -> bool:
    """Whether a converted value holds no INVALID anywhere."""
    if isinstance(value, dict):
        return all(map(is_valid, value.values()))
    if isinstance(value, list):
        return all(map(is_valid, value))
    if isinstance(value, Section):
        return all(is_valid(getattr(value, name)) for name in value.__struct_fields__)
    return value is not INVALID


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
        if name == Path(AGREEMENT).stem:
            message = f"{name} is given: a file beside the members' CSVs has that name: choose another, with backend: BACKEND"
            document.problem(path, message, at_key=True)
    tasks: list[tuple[tuple[Any, ...], str]] = [(("backends", name), member_task(name)) for name in names]
    if value.get("ensemble") is not None:
        tasks.append((("ensemble",), ENSEMBLE_TASK))
    if value.get("watch") is not None:
        tasks.append((("watch",), WATCH))
    for path, task in tasks:
        whole = f"{experiment}-{task}"
        if len(whole) > LONGEST:
            message = f"{shown(whole)} has {len(whole)} characters, at most {LONGEST} fit: shorten the names"
            document.problem(path, message, at_key=True)


def _zones(document: Document, value: dict[str, Any]) -> None:
    unknown: set[str] = set()
    for path, name in _everywhere(document, value, "timezone"):
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
    from jobs.fire_times.schedule import ScheduleError, parse

    timezones, today = dict(_everywhere(document, value, "timezone")), datetime.now(UTC).date()
    refused: set[str] = set()
    for path, expression in _everywhere(document, value, "schedule"):
        if isinstance(expression, str):
            try:
                parse(expression)
            except ScheduleError as error:
                from scheduler.dialects.hint import AT_MOST, explain

                refused.add(expression)
                places = ((*path[:-1], "timezone"), ("defaults", "timezone"), ("timezone",))
                zones = (*(timezones.get(place) for place in places), "UTC")
                zone = next(zone for zone in zones if isinstance(zone, str) and is_zone(zone))
                document.problem(path, f"{shown(expression)}: {explain(error, expression, zone, today, len(refused) <= AT_MOST)}")


def _environment(document: Document, value: dict[str, Any]) -> None:
    for path, variables in _everywhere(document, value, "env"):
        total = 0
        for name, text in variables.items() if isinstance(variables, dict) else ():
            # As the kernel counts it: name=value and a byte that ends it.
            size = len(f"{name}={text}\0".encode(errors="replace")) if isinstance(text, str) else 0
            total += size
            if size > LARGEST_VARIABLE:
                message = f"{size:,} bytes with its name, at most {LARGEST_VARIABLE:,} reach a process: put it into a file"
                document.problem((*path, name), message, at_key=True)
            if not _VARIABLE.fullmatch(name):
                document.problem((*path, name), "not a variable's name: use letters, digits and _", at_key=True)
            elif name.startswith(("CRONSEMBLE_", "KERAS_BACKEND")) or name in THREAD_VARIABLES:
                document.problem((*path, name), "cronsemble sets this one itself: remove it", at_key=True)
        if total > LARGEST_ENVIRONMENT:
            document.problem(path, f"{total:,} bytes: at most {LARGEST_ENVIRONMENT:,} reach a process: put them into files")


def _gates(document: Document, value: dict[str, Any]) -> None:
    for path, limits in _everywhere(document, value, "gate"):
        if isinstance(limits, dict) and not any(limit is not None for limit in limits.values()):
            document.problem(path, "no limit is given: type e.g. gate: {min_accuracy: 0.9}, or gate: null for no gate")


def _everywhere(document: Document, value: dict[str, Any], key: str) -> list[tuple[tuple[Any, ...], Any]]:
    """(path, value) of a key of tasks wherever the file has it: a default is not at each task again."""
    backends = value.get("backends")
    groups: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    groups += [((name,), value.get(name)) for name in ("defaults", "ensemble", "watch")]
    groups += [(("backends", name), member) for name, member in backends.items()] if isinstance(backends, dict) else []
    written = [((*path, key), group[key]) for path, group in groups if isinstance(group, dict) and key in group]
    return [(path, item) for path, item in written if path in document.places]


def hyperparameters_of(keys: FileKeys, member: BackendKeys) -> dict[str, Any]:
    """A member's hyperparameters: ours with their defaults, those for all members, its own."""
    return {**OURS, **keys.hyperparameters, **member.hyperparameters}


def _members(document: Document, keys: FileKeys, folder: Path) -> None:
    functions = FunctionChecker(document, folder)
    read_by_data = _read_by_data_function(keys, functions)
    shared = keys.hyperparameters if keys.hyperparameters is not INVALID else {}
    checked_for_all: set[tuple[str, str]] = set()
    for name, member in keys.backends.items():
        if member is INVALID:
            continue
        assert member is not None
        path = ("backends", name)
        backend: str | None = name if member.backend is None else member.backend
        if member.backend is INVALID or backend not in BACKENDS:
            backend = None
        if member.backend is None and backend is None:
            message = f"{name} is no backend ({nearest(name, BACKENDS)}): name one, e.g. backend: tensorflow"
            document.problem(path, message, at_key=True)
        if member.data_format == "channels_first" and backend == "tensorflow":
            message = "channels_first is given: tensorflow cannot do it on a CPU, type channels_last"
            document.problem((*path, "data_format"), message)
        model = member.model or keys.model
        accepted = None
        if model is not INVALID:
            where = (*path, "model") if member.model else ("model",)
            accepted = _accepted_by_model(functions, model, where, BACKENDS.get(backend or "", "keras3"))
        for key, value in member.hyperparameters.items() if member.hyperparameters is not INVALID else ():
            _hyperparameter(document, (*path, "hyperparameters", key), key, value, accepted, model)
        # The data function gets those for all members: what it reads, a model need not.
        accepted_by_all = None if accepted is None or read_by_data is None else [*accepted, *read_by_data]
        if (model, str(accepted_by_all)) in checked_for_all:
            continue
        checked_for_all.add((model, str(accepted_by_all)))
        for key, value in shared.items():
            _hyperparameter(document, ("hyperparameters", key), key, value, accepted_by_all, model)
    method: Any = keys.ensemble.method if keys.ensemble is not None and keys.ensemble is not INVALID else METHODS[0]
    if method is not INVALID and method not in METHODS:
        functions.check(("ensemble", "method"), method, COMBINE, METHODS, "keras3")
    quorum = keys.ensemble.quorum if keys.ensemble is not None and keys.ensemble is not INVALID else 1
    if quorum is not INVALID and quorum > len(keys.backends):
        message = f"{quorum} is given, but there are {len(keys.backends)} members"
        document.problem(("ensemble", "quorum"), message)


def _hyperparameter(
    document: Document, path: tuple[Any, ...], key: str, value: Any, accepted: list[str] | None, model: str
) -> None:
    if path in document.traps:
        return  # reported with what was written
    positive = isinstance(value, int) and not isinstance(value, bool) and value >= (0 if key in ("patience", "seed") else 1)
    if key in ("epochs", "batch_size", "patience", "seed") and not positive:
        message = f"{shown(value)} is given: it must be a whole number of at least {0 if key in ('patience', 'seed') else 1}"
    elif key == "seed" and value > LARGEST_SEED:
        message = f"{shown(value)} is given: it must be at most {LARGEST_SEED}, as NumPy takes it"
    elif key == "learning_rate" and not (isinstance(value, int | float) and not isinstance(value, bool) and value > 0):
        message = f"{shown(value)} is given: it must be a number above 0, e.g. 0.001"
    elif key == "optimizer" and value not in OPTIMIZERS:
        message = f"{shown(value)} is given: {nearest(str(value), OPTIMIZERS)}"
    elif key not in OURS and accepted is not None and key not in accepted:
        message = f"the model {model} does not take it: {nearest(key, [*OURS, *accepted])}"
    elif model in MODELS and key in MODELS[model] and (needed := _needed_by_built_in(key, value)):
        message = f"{shown(value)} is given: it must be {needed}"
    else:
        return
    document.problem(path, message)


def _needed_by_built_in(key: str, value: Any) -> str:
    """What a hyperparameter of a built-in model must be, as words; empty if it is."""
    if key in ("filters", "hidden"):
        is_list = isinstance(value, list) and all(map(_is_size, value))
        return "" if is_list else "a list of whole numbers of at least 1, e.g. [32, 64]"
    if key == "dense":
        return "" if _is_size(value) else "a whole number of at least 1"
    is_rate = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    return "" if is_rate else "a number from 0 to below 1, e.g. 0.25"


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _runtimes(document: Document, keys: FileKeys, folder: Path) -> None:
    for name in ("keras3", "legacy"):
        runtime = getattr(keys.runtimes, name, INVALID)
        if not isinstance(runtime, RuntimeKeys):
            continue
        kinds = ("python", "image", "venv") if isinstance(runtime, Keras3Keys) else ("python", "image")
        values = {kind: getattr(runtime, kind) for kind in kinds}
        given = [kind for kind, value in values.items() if value]
        if INVALID not in values.values() and len(given) != 1:
            what = f"{' and '.join(given)} are given, and one is meant" if given else "nothing is given"
            packages = ", {venv: [PACKAGE]}" if "venv" in kinds else ""
            document.problem(("runtimes", name), f"{what}: type {{python: PATH}}{packages} or {{image: REF}}")
        if values.get("venv") and is_valid(values["venv"]):
            _packages(document, values["venv"], folder)


def _packages(document: Document, packages: list[str] | str, folder: Path) -> None:
    """Requirements are resolved by the next run; here, that each is one, and that a file of them is there."""
    path = ("runtimes", "keras3", "venv")
    if isinstance(packages, str):
        problem = misplaced(packages, folder)
        if problem or not (folder / packages).is_file():
            hint = f"{packages} is no file in the configuration's folder: name a requirements file, or type a list, e.g. [pandas]"
            document.problem(path, problem or hint)
        return
    for n, package in enumerate(packages):
        if not _REQUIREMENT.fullmatch(package):
            document.problem((*path, n), f'{shown(package)} is given: type a requirement, e.g. pandas or "xgboost==3.1"')


def _accepted_by_model(functions: FunctionChecker, model: str, where: tuple[Any, ...], runtime: str) -> list[str] | None:
    """The hyperparameters that a member's model takes; None where only a run of it would show."""
    if model in MODELS:
        return list(MODELS[model])
    function = functions.check(where, model, MODEL, (*MODELS,), runtime)
    return None if function is None else keys_read(function, 2)


def _read_by_data_function(keys: FileKeys, functions: FunctionChecker) -> list[str] | None:
    """The hyperparameters that the data function reads; none without one, None where only a run of it would show."""
    dataset: Any = keys.data.dataset if keys.data is not INVALID else INVALID
    if dataset is INVALID or not dataset.rpartition(":")[0].endswith(".py"):
        return []
    function = functions.check(("data", "dataset"), dataset, DATA, SETS, "keras3")
    return None if function is None else keys_read(function, 0)


def _own_paths(keys: FileKeys) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The paths that may lead out of the configuration's folder, by their keys."""
    if isinstance(keys.store, str):
        yield ("store",), keys.store
    if keys.runtimes is not INVALID:
        for name in ("keras3", "legacy"):
            runtime = getattr(keys.runtimes, name)
            if isinstance(runtime, RuntimeKeys) and isinstance(runtime.python, str):
                yield ("runtimes", name, "python"), runtime.python


def _files(document: Document, keys: FileKeys, folder: Path) -> None:
    data = [("dataset", keys.data.dataset), ("predict", keys.data.predict)] if keys.data is not INVALID else []
    for key, source in data:
        path = ("data", key)
        if source is INVALID or source in SETS and key == "dataset" or source == "holdout" and key == "predict":
            continue
        if source.rpartition(":")[0].endswith(".py") and key == "dataset":
            continue  # checked with the members, whose hyperparameters it gets
        if not source.endswith(".npz"):
            known = f"{', '.join(SETS)}, FILE.npz or file.py:function" if key == "dataset" else "holdout or FILE.npz"
            document.problem(path, f"{shown(source)} is given: type {known}")
        elif problem := misplaced(source, folder):
            document.problem(path, problem)
        elif not isinstance(keys.store, StoreKeys) and "{date}" not in source and not (folder / source).is_file():
            # On a cluster it is in the store: `put` copies it there.
            document.problem(path, f"{source} does not exist (looked in {folder})")
    holdout = keys.data.holdout if keys.data is not INVALID else None
    if holdout not in (None, INVALID) and keys.data.predict not in ("holdout", INVALID):
        message = f"{holdout} is given, and {keys.data.predict} is predicted: it is for predict: holdout, remove it"
        document.problem(("data", "holdout"), message)
    for where, own in _own_paths(keys):
        if problem := impossible(folder / own):
            document.problem(where, problem)
    for n, item in enumerate(keys.code if keys.code is not INVALID else ()):
        problem = "" if item is INVALID else misplaced(item, folder)
        if item is not INVALID and (problem or not (folder / item).exists()):
            document.problem(("code", n), problem or f"{item} is not in the configuration's folder")
