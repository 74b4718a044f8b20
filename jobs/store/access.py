"""The port that ``Store`` stands on: what can be done with a store's files wherever they are. Standard library alone, Python 3.9.

``jobs.store.local_files`` is the one for a folder of this machine. A store that is elsewhere lacks what only that one has:
publishing results, archiving and removing (``jobs.store.local_store``, ``jobs.store.removal``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol


class StoreFiles(Protocol):
    """A store's files. Paths are absolute and lie under ``root``, also where the file itself is elsewhere."""

    @property
    def root(self) -> Path:
        """A folder of this machine: the store, or the copy of its small files."""

    @property
    def is_offline(self) -> bool:
        """Whether what is not on this machine cannot be had now."""

    def updated(self, experiment: str) -> datetime | None:
        """When this machine last had all that others have written of an experiment; None where it always has."""

    # -- reading

    def list_names(self, folder: Path) -> list[str]:
        """The names in a folder but the hidden ones, sorted; none if it is absent or gone. Raises Unreadable, OSError."""

    def read_document(self, path: Path) -> dict[str, Any] | None:
        """The document in a small file, or None if it is absent, gone or cannot be read (``jobs.store.document_files``)."""

    def read_lines(self, path: Path) -> list[dict[str, Any]]:
        """The objects in a file of lines; a line that holds none is left out."""

    def month_state(self, folder: Path) -> tuple[int, int] | None:
        """A month's mtime in ns since 1970, and a number that differs where it was put back; None if it is gone.

        Raises Unreadable.
        """

    def run_states(self, folders: Sequence[Path], only_record: bool) -> list[int]:
        """Of each run's folder a number that differs once its small files have changed, or its record alone; 0 if it is gone."""

    def local_folder(self, folder: Path) -> Path:
        """The same path; the folder's small files can be opened in it now."""

    def list_files(self, folder: Path) -> list[Path]:
        """Every file under a folder, sorted, whether or not it is on this machine."""

    def sha256(self, path: Path) -> str:
        """A file's SHA-256 in hexadecimal, taken where the file is; raises OSError."""

    def display_path(self, path: Path) -> str:
        """A path as it is shown to people: where the file really is."""

    # -- copying to this machine

    def update(self, experiment: str) -> None:
        """Have what others have written of an experiment since."""

    def download(self, folder: Path, *patterns: str) -> None:
        """Have those files on this machine whose path within a run's folder fits a pattern (``*`` also fits ``/``)."""

    def download_files(self, *paths: Path) -> None:
        """Have these files on this machine, those of them that there are."""

    # -- writing

    def publish(self, path: Path, data: bytes) -> bool:
        """Make these bytes visible under a name unless it is taken; whether it was free."""

    def ensure(self, path: Path, data: bytes) -> None:
        """Have these bytes under a name that only they can have: nothing is written if they are there, others are replaced."""

    def replace(self, path: Path, data: bytes) -> None:
        """Put these bytes in the place of any that the name had."""

    def append_line(self, path: Path, value: dict[str, Any]) -> None:
        """Add an object as a line to a file that only this machine writes."""

    def claim_folder(self, folder: Path, name: str, data: bytes) -> bool:
        """Make a folder with one file in it, unless there is one of that name; of several who try, one gets True."""
