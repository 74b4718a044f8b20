"""The command `render`."""

from __future__ import annotations

import re
import sys

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from scheduler.commands.options import DEFAULT_FILES, Files
from scheduler.config import load_all
from scheduler.sync.desired import Objects


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


def print_objects(files: list[Path], volume: bool) -> None:
    """The objects as YAML on stdout; on stderr what they do not say."""
    from cronjobs.objects.volumes import claim_name, pod_security
    from scheduler.sync import desired

    experiments = load_all(files)
    if volume:
        found = desired.store_volumes(experiments)
        said = [f"{each.path}: once these are applied, type store: {{claim: {claim_name(each)}}}" for each in experiments]
    else:
        found, said = desired.desired(experiments), desired.notes(experiments)
        for each in experiments:
            needs = pod_security(each)
            if needs.reason:
                said.append(
                    f"{each.path}: a namespace that enforces more than Pod Security {needs.level} refuses the pods: "
                    f"{needs.reason}; `cronsemble render --volume` prints a claim for it"
                )
    sys.stdout.write(to_yaml(found))
    sys.stdout.flush()
    for line in said:
        print(line, file=sys.stderr)


def render(
    file: Files = DEFAULT_FILES,
    volume: Annotated[bool, typer.Option("--volume", help="Print a PersistentVolume and a claim for the store instead.")] = False,
) -> None:
    """Print the cluster's objects as YAML. Example: cronsemble render | kubectl apply --server-side -f -"""

    print_objects(file, volume)
