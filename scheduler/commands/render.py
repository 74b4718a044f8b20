"""The command `render`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from scheduler.commands.options import DEFAULT_FILES, Files
from scheduler.config import load_all
from scheduler.console.messages import print_line
from scheduler.kube.objects import Object


class _Text(str):
    """A string that a YAML reader could take for something else, so it is quoted."""


_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    """Writes a marked string in quotes."""


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'))
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}


def to_yaml(objects: Iterable[Object]) -> str:
    """The objects as one stream of YAML documents, which YAML 1.1 and 1.2 read alike, in printable characters.

    Others stand in quoted strings alone, and are escaped there: a terminal would hide them, and what it shows be another text.
    """
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 1 << 20, "explicit_start": True}
    text = str(yaml.dump_all(map(_quoted, objects), None, _Dumper, **options))
    if text.isascii():
        return text
    return "".join(character if character.isprintable() or character == "\n" else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02X}" if number < 0x100 else f"\\u{number:04X}" if number < 0x10000 else f"\\U{number:08X}"


def _quoted(value: Any) -> Any:
    """Strings that are not plain words are marked: `y`, `1e3` or `0o17` mean something else to some readers."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or value.lower() in _WORDS):
        return _Text(value)
    return value


def print_objects(files: list[Path], volume: bool) -> None:
    """Print the objects of these files as YAML on stdout, and notes on them on stderr; raises CronsembleError.

    ``volume``: a PersistentVolume and a claim for each store in their place.
    """
    from cronjobs.objects.volumes import claim_name, pod_security
    from scheduler.sync import desired

    experiments = load_all(files)
    if volume:
        objects = desired.store_volumes(experiments)
        notes = [
            f"{experiment.path}: once these are applied, type store: {{claim: {claim_name(experiment)}}}"
            for experiment in experiments
        ]
    else:
        objects, notes = desired.desired(experiments), desired.notes(experiments)
        for experiment in experiments:
            required = pod_security(experiment)
            if required.reason:
                notes.append(
                    f"{experiment.path}: a namespace that enforces more than Pod Security {required.level} refuses the pods: "
                    f"{required.reason}; `cronsemble render --volume` prints a claim for it"
                )
    sys.stdout.write(to_yaml(objects))
    sys.stdout.flush()
    for note in notes:
        print_line(note, sys.stderr)


def render(
    file: Files = DEFAULT_FILES,
    volume: Annotated[bool, typer.Option("--volume", help="Print a PersistentVolume and a claim for the store instead.")] = False,
) -> None:
    """Print the cluster's objects as YAML. Example: cronsemble render | kubectl apply --server-side -f -"""

    print_objects(file, volume)
