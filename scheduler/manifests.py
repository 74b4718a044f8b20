"""The objects of configurations: builds program and code, asks for the objects, and writes them as YAML."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import yaml

from cronjobs import objects, volumes
from cronjobs.resolved import Experiment
from cronjobs.tasks import Context
from scheduler.code import user_code
from scheduler.errors import CronsembleError
from scheduler.program import build_program

Objects = list[dict[str, Any]]
T = TypeVar("T")


def desired(experiments: Iterable[Experiment]) -> Objects:
    """Every object that these experiments need, each once, ConfigMaps first; raises CronsembleError."""
    program = build_program()
    digest = hashlib.sha256(program).hexdigest()

    def build(experiment: Experiment) -> Objects:
        code = user_code(experiment)
        context = Context(experiment, digest, hashlib.sha256(code).hexdigest() if code else "")
        return objects.desired(context, program, code)

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
    return _each(experiments, lambda each: [f"{each.path}: {note}" for note in objects.notes(each)])


def _each(experiments: Iterable[Experiment], build: Callable[[Experiment], list[T]]) -> list[T]:
    """What is built for all; raises CronsembleError with every problem of every experiment."""
    found: list[T] = []
    problems: list[str] = []
    for experiment in experiments:
        try:
            found += build(experiment)
        except volumes.Unbuildable as error:
            problems += [f"{experiment.path}: {problem}" for problem in error.problems]
    if problems:
        raise CronsembleError("\n".join(problems))
    return found


class _Text(str):
    """A string that a YAML reader could take for something else, so it is quoted."""


_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    """Writes a marked string in quotes."""


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'))
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}


def to_yaml(found: Objects) -> str:
    """The objects as one stream of YAML documents, to be read alike by YAML 1.1 and 1.2."""
    told: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 1 << 20, "explicit_start": True}
    return str(yaml.dump_all(map(_quoted, found), None, _Dumper, **told))


def _quoted(value: Any) -> Any:
    """Strings that are not plain words are marked: `y`, `1e3` or `0o17` mean something else to some readers."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_quoted(each) for each in value]
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or value.lower() in _WORDS):
        return _Text(value)
    return value
