"""Which files are the user's code: those that ``code:`` lists, else the files of the functions' folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from cronjobs.experiment import Experiment
from scheduler.errors import CronsembleError
from scheduler.times import format_bytes

MOST_BYTES, MOST_FILES = 32 << 20, 2000
"""What the files of the functions' folders may have together, beside the ``.py`` files that lie next to a function."""
MOST_ENTRIES = 20_000  # that are looked at
_ARCHIVED = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9][0-9][0-9]Z*"
"""What `get` copies: predictions and the folder of a run's members."""
_IGNORED_FOLDERS = ("__pycache__", "node_modules", "*.egg-info", _ARCHIVED)
_IGNORED_FILES = (
    _ARCHIVED, "README*", "LICENSE*", "CHANGELOG*", "*.py[co]", "*~", "*.bak", "*.ipynb", "*.lock", "*.log", "*.out",
    "*.pid", "*.swp", "*.tmp",
    "*.jks", "*.kubeconfig", "kubeconfig*", "*.key", "*.p12", "*.pem", "*.pfx", "id_rsa*", "id_ed25519*",
)  # fmt: skip
"""Prose, caches, what programs write while they run, notebooks, and keys: whoever reads the store reads snapshots."""
_LARGEST_MANIFEST = 1_000_000
_MANIFESTS = ({b"experiment", b"backends"}, {b"apiVersion", b"kind"})
"""The keys of configurations of ours, and of Kubernetes objects."""
_TOP_KEY = re.compile(rb"^([A-Za-z]+):", re.MULTILINE)


@dataclass(frozen=True)
class CodeFiles:
    """The files of the user's code, in order, and what was left out of the functions' folders, as a line; empty for nothing."""

    paths: list[Path]
    left_out: str = ""


def code_files(experiment: Experiment) -> CodeFiles:
    """The files that the snapshots of an experiment take; raises CronsembleError for one that leads outside its folder.

    The lock file of the runtime's own packages is one of them.

    Of a folder neither hidden files and caches are taken, nor virtual environments, stores, configurations, Kubernetes objects,
    keys, and the data files that ``data:`` names. A functions' folder that has more than MOST_BYTES or MOST_FILES gives its
    ``.py`` files alone.
    """
    files = _function_code(experiment)
    lock = experiment.lock_file()
    if lock is None or not lock.is_file():
        return files
    return CodeFiles(sorted({*files.paths, lock}), files.left_out)


def _function_code(experiment: Experiment) -> CodeFiles:
    """The same without the lock file."""
    if experiment.code:
        listed = [experiment.folder / item for item in experiment.code]
        paths = {path for item in listed for path in (_walk(experiment, item) if item.is_dir() else [item])}
        _refuse_outside(experiment, paths)
        return CodeFiles(sorted(paths))
    folders = _function_folders(experiment)
    beside = {path for folder in folders for path in folder.glob("*.py")}
    _refuse_outside(experiment, beside)
    taken, left_out = set(beside), ""
    found, seen = set(), 0
    for folder in folders:
        for path in _walk(experiment, folder):
            seen += 1
            if seen > MOST_ENTRIES:
                return CodeFiles(sorted(taken), _more(folders, f"more than {MOST_ENTRIES:,} files", "the .py files beside them"))
            if path not in taken and _is_readable_inside(experiment, path):
                found.add(path)
    for group in ({path for path in found if path.suffix == ".py"}, {path for path in found if path.suffix != ".py"}):
        size = sum(path.stat().st_size for path in group)
        if size <= MOST_BYTES and len(group) <= MOST_FILES:
            taken |= group
        else:
            left_out = _more(folders, f"{len(group):,} more files of {format_bytes(size)}", "their .py files")
    return CodeFiles(sorted(taken), left_out)


def _more(folders: list[Path], what: str, taken: str) -> str:
    names = ", ".join(str(folder) for folder in folders)
    return (
        f"the functions' folder {names} has {what}, and at most {MOST_FILES:,} of {format_bytes(MOST_BYTES)} go into a snapshot: "
        f"only {taken} are taken; list what the functions read under `code:`"
    )


def _function_folders(experiment: Experiment) -> list[Path]:
    """The folders of the data and model functions, each once, none inside another of them."""
    folders = {file.parent for file in experiment.function_files()}
    return sorted(folder for folder in folders if not any(other in folder.parents for other in folders))


def _walk(experiment: Experiment, top: Path) -> Iterator[Path]:
    """The files of a folder that may belong to code, links to folders left out."""
    data = [reference.replace("{date}", "*") for reference in (experiment.data.dataset, experiment.data.predict)]
    configuration = experiment.folder / experiment.path.name
    for base, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not _is_ignored_folder(experiment, Path(base) / name))
        for name in sorted(names):
            path = Path(base) / name
            relative = path.relative_to(experiment.folder).as_posix()
            is_data = relative.endswith(".npz") and any(fnmatch(relative, pattern) for pattern in data)
            if name.startswith(".") or is_data or path == configuration or any(fnmatch(name, each) for each in _IGNORED_FILES):
                continue
            if path.suffix in (".yaml", ".yml") and _is_manifest(path):
                continue
            if path.is_file():
                yield path


def _is_ignored_folder(experiment: Experiment, path: Path) -> bool:
    if path.name.startswith(".") or any(fnmatch(path.name, each) for each in _IGNORED_FOLDERS):
        return True
    if isinstance(experiment.store, str) and path.resolve() == (experiment.folder / experiment.store).resolve():
        return True
    return (path / "pyvenv.cfg").exists() or all((path / name).is_dir() for name in ("experiments", "runs", "snapshots"))


def _is_manifest(path: Path) -> bool:
    """Whether a YAML file is a configuration of ours or a Kubernetes object, which may be a secret."""
    try:
        with open(path, "rb") as file:
            keys = set(_TOP_KEY.findall(file.read(_LARGEST_MANIFEST)))
    except OSError:
        return False
    return any(manifest <= keys for manifest in _MANIFESTS)


def _is_readable_inside(experiment: Experiment, path: Path) -> bool:
    return os.access(path, os.R_OK) and path.resolve().is_relative_to(experiment.folder)


def _refuse_outside(experiment: Experiment, paths: set[Path]) -> None:
    for path in sorted(paths):
        if not path.resolve().is_relative_to(experiment.folder):
            raise CronsembleError(f"{path}: a link that leads outside the configuration's folder: copy the file into the folder")
