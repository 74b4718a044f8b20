"""The files of a run's result, as its record lists them: by path each one's size and SHA-256. Standard library alone, Python 3.9.

A record of an earlier version lists none; of its model alone it has the hash.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.contract import CSV, MEMBERS, METADATA, RECORD
from jobs.store.files import sha256_of
from jobs.store.regular_files import is_regular


def list_result_files(folder: Path) -> dict[str, dict[str, Any]]:
    """What a record lists of the files in a folder that becomes a result: all but the record itself. Raises OSError."""
    files: dict[str, dict[str, Any]] = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent) / name for name in names):
            name = path.relative_to(folder).as_posix()
            if name != RECORD and is_regular(path):
                files[name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    return files


def recorded_files(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The files that a record lists, by path; of an earlier version's its model, without a size."""
    files = record.get("files")
    if isinstance(files, dict):
        return {str(name): dict(file) for name, file in files.items() if isinstance(file, dict)}
    model = record.get("model")
    if isinstance(model, dict) and model.get("file") and model.get("sha256"):
        return {Path(str(model["file"])).name: {"sha256": model["sha256"]}}
    return {}


def recorded_sha256(record: Mapping[str, Any], name: str) -> str | None:
    """The SHA-256 of a file of a result, as its record has it; None where it does not say."""
    digest = recorded_files(record).get(name, {}).get("sha256")
    return None if digest is None else str(digest)


def archived_files(record: Mapping[str, Any]) -> list[str]:
    """The files of an ensemble's result that belong into the archive, by its record; none for one of an earlier version."""
    listed, members = recorded_files(record), f"{MEMBERS}/"
    return [name for name in listed if name in (CSV, METADATA) or (name.startswith(members) and name.endswith(".csv"))]


def archived_path(csv: Path, name: str) -> Path:
    """Where the archive has a file of a result whose CSV it has as ``csv``."""
    if name == CSV:
        return csv
    return csv.with_suffix(".json") if name == METADATA else csv.with_suffix(".members") / Path(name).name
