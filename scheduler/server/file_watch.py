"""Whether a configuration, or the user's code that it names, has changed since it was last looked at."""

from __future__ import annotations

import os
from pathlib import Path

from cronjobs.experiment import Experiment
from scheduler.errors import CronsembleError
from scheduler.snapshots.code_files import code_files


class FileWatcher:
    """Compares times, sizes and inodes: a call of stat for each file."""

    def __init__(self) -> None:
        self._states: dict[Path, tuple[int, ...]] | None = None

    def has_changed(self, experiment: Experiment) -> bool:
        """Whether anything has changed since this was last asked; True at first."""
        states = {path: _state(path) for path in _files(experiment)}
        changed = states != self._states
        self._states = states
        return changed

    def forget(self) -> None:
        """Take everything for changed when it is asked next."""
        self._states = None


def _files(experiment: Experiment) -> list[Path]:
    paths = {experiment.folder / experiment.path.name, *(experiment.folder / item for item in experiment.code)}
    try:
        paths.update(code_files(experiment).paths)
    except (CronsembleError, OSError):  # what is wrong with the code is reported where it is read
        paths.update(experiment.function_files())
    return sorted(paths)


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return status.st_mtime_ns, status.st_size, status.st_ino
