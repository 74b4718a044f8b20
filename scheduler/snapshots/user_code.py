"""The user's code as one file: the files of the configuration's folder that belong to a snapshot."""

from __future__ import annotations

from pathlib import Path

from cronjobs.experiment import Experiment
from scheduler.errors import CronsembleError
from scheduler.snapshots.program import deterministic_zip


def build_user_code(experiment: Experiment) -> bytes | None:
    """A reproducible zip of the user's code, with paths relative to the configuration's folder; None if there is none.

    It has what ``code:`` lists, else the ``.py`` files beside each data or model function. Raises CronsembleError for a file
    that cannot be read or lies outside the folder.
    """
    paths: set[Path] = set()
    for item in experiment.code:
        path = experiment.folder / item
        paths.update(_files(path) if path.is_dir() else [path])
    if not experiment.code:
        for reference in (experiment.data.dataset, *(member.model for member in experiment.members.values())):
            source = reference.rpartition(":")[0]
            if source.endswith(".py"):
                paths.update((experiment.folder / source).parent.glob("*.py"))
    if not paths:
        return None
    for path in sorted(paths):
        if not path.resolve().is_relative_to(experiment.folder):
            raise CronsembleError(f"{path}: a link that leads outside the configuration's folder: copy the file into the folder")
    try:
        files = [(path.relative_to(experiment.folder).as_posix(), path.read_bytes()) for path in paths]
    except OSError as error:
        raise CronsembleError(f"{error.filename}: the code cannot be read: {error.strerror}") from error
    return deterministic_zip(files)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
