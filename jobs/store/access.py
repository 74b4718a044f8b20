"""What is at hand of a store: all of it where it is mounted; one that is elsewhere overrides these. Standard library, Python 3.9.

Whoever reads a run's larger files (logs, epochs, arrays, models), or any file beside the runs, by its path first says so here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.contract import RunId
from jobs.store.files import sha256_of


class StoreFiles:
    """A store's files, wherever they are; ``root`` is a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run_folder(self, run: RunId) -> Path:
        return self.root / "runs" / run.experiment / run.task / run.month / str(run)

    @property
    def is_offline(self) -> bool:
        """Whether what is not at hand cannot be had now."""
        return False

    def download(self, run: RunId, *patterns: str) -> None:
        """Have those of a run's files at hand whose path within the run's folder fits a pattern (``*`` also fits ``/``)."""

    def update(self, experiment: str) -> None:
        """Have at hand what others have written of an experiment since."""

    def download_files(self, *paths: Path) -> None:
        """Have these files of the store at hand, if they are there; paths as the store itself gives them."""

    def list_files(self, run: RunId, folder: str) -> list[Path]:
        """Every file in one of the folders of a run, whether or not it is at hand, sorted."""
        return sorted(path for path in (self.run_folder(run) / folder).rglob("*") if path.is_file())

    def display_path(self, path: Path) -> str:
        """A path for people."""
        return str(path)

    def check_remotely(self, experiment: str, quick: bool, repair: bool) -> list[dict[str, Any]] | None:
        """The damage that the program beside a store that is elsewhere finds; None for a store that is here."""
        return None

    def sha256(self, path: Path) -> str:
        """The hash of a file of the store; raises OSError."""
        return sha256_of(path)
