"""The user's code as one file: what a snapshot takes of the configuration's folder."""

from __future__ import annotations

from pathlib import Path

from cronjobs.experiment import Experiment
from scheduler.errors import CronsembleError
from scheduler.snapshots.program import deterministic_zip


def build_user_code(experiment: Experiment) -> bytes | None:
    """A deterministic zip of the user's code, named as in the configuration's folder; None without any."""
    paths: set[Path] = set()
    for item in experiment.code:
        named = experiment.folder / item
        paths.update(_files(named) if named.is_dir() else [named])
    if not experiment.code:
        for reference in (experiment.data.dataset, *(member.model for member in experiment.members.values())):
            source = reference.rpartition(":")[0]
            if source.endswith(".py"):
                paths.update((experiment.folder / source).parent.glob("*.py"))
    if not paths:
        return None
    for path in sorted(paths):
        if not path.resolve().is_relative_to(experiment.folder):
            raise CronsembleError(f"{path}: a link that leads outside the configuration's folder is no part of its code: copy it")
    try:
        files = [(path.relative_to(experiment.folder).as_posix(), path.read_bytes()) for path in paths]
    except OSError as error:
        raise CronsembleError(f"{error.filename}: the code cannot be read: {error.strerror}") from error
    return deterministic_zip(files)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
