"""Watched files: whether a configuration, or the user's code that it names, is another than at the last look."""

from __future__ import annotations

import os
from pathlib import Path

from cronjobs.experiment import Experiment


class FileWatcher:
    """Compares times, sizes and inodes; a look is a call of stat for each file."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, ...]] | None = None

    def has_changed(self, experiment: Experiment) -> bool:
        """Whether anything has changed since this was last asked."""
        seen = {path: _state(path) for path in _files(experiment)}
        changed = seen != self._seen
        self._seen = seen
        return changed

    def forget(self) -> None:
        """Take everything for changed at the next look."""
        self._seen = None


def _files(experiment: Experiment) -> list[Path]:
    paths = {experiment.folder / experiment.path.name, *(experiment.folder / item for item in experiment.code)}
    for reference in (experiment.data.dataset, *(member.model for member in experiment.members.values())):
        source = reference.rpartition(":")[0]
        if source.endswith(".py"):
            paths.update((experiment.folder / source).parent.glob("*.py"))
    return sorted(paths)


def _state(path: Path) -> tuple[int, ...]:
    try:
        told = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return told.st_mtime_ns, told.st_size, told.st_ino
