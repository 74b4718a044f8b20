"""What is taken out of a store: leftovers of work that was broken off, and what gc removes, with a tombstone for it.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.contract import CLAIM_PREFIX, REMOVED, SCHEMA, TRY_PREFIX, RunId
from jobs.store.files import MISSING_ERRNOS, exists, read_json, rename_own, replace_file, to_json
from jobs.store.ledger import Ledger


class StoreRemoval(Ledger):
    """The part of a store that forgets."""

    def leftovers(self, before: float) -> Iterator[Path]:
        """Files and folders that were being written when their writer ended, unchanged since ``before`` (seconds since 1970).

        Nothing reads them, whatever they hold: they never got their name.
        """
        for part in ("runs", "predictions", "datasets", "snapshots", "experiments", "data"):
            for folder, folders, files in os.walk(self.root / part):
                hidden = [name for name in folders if name.startswith((f".{TRY_PREFIX}", ".prepare-", CLAIM_PREFIX))]
                folders[:] = [name for name in folders if not name.startswith(".")]
                for name in [*hidden, *(name for name in files if name.startswith(".") and name.endswith(".part"))]:
                    path = Path(folder) / name
                    if _newest(path) < before:
                        yield path

    def record_removal(
        self, run: RunId, files: list[dict[str, Any]], time: str, by: str, row: dict[str, Any] | None = None
    ) -> None:
        """Say in a run's folder which of its files are removed, and, if all are, what became of it (``row``)."""
        path = self.run_folder(run) / REMOVED
        known = read_json(path) or {}
        told = {"schema": SCHEMA, "time": time, "by": by, "files": [*known.get("files", []), *files]}
        row = row or known.get("run")
        replace_file(path, to_json({**told, **({"run": row} if row else {})}))

    def is_removed(self, run: RunId, name: str) -> bool:
        """Whether gc took this file out of the run's folder."""
        told = read_json(self.run_folder(run) / REMOVED)
        return told is not None and any(each.get("path") == name for each in told.get("files", []))

    def is_archive_removed(self, run: RunId, path: Path) -> bool:
        """Whether gc took a run's CSV out of the archive."""
        return self.is_removed(run, path.relative_to(self.root).as_posix())

    def remove(self, path: Path) -> bool:
        """Remove a file or a folder of the store; False if it has gone already. Raises ValueError for what lies outside."""
        if self.root.resolve() not in path.parent.resolve().parents and path.parent.resolve() != self.root.resolve():
            raise ValueError(f"{path} is not in {self.root}")
        if not exists(path):
            return False
        try:
            if path.is_dir() and not path.is_symlink():
                _remove_folder(path)
            else:
                path.unlink()
        except OSError as error:
            if error.errno in MISSING_ERRNOS:
                return False
            raise
        return True

    def set_aside(self, path: Path) -> Path:
        """Give a file that cannot be read a hidden name beside it, so that its own name is free again."""
        aside = path.with_name(f".{path.name}.damaged")
        rename_own(path, aside)
        return aside

    def drop_index(self) -> None:
        """Drop the pages of the index: they are built anew."""
        shutil.rmtree(self.root / ".index", ignore_errors=True)


def _remove_folder(path: Path) -> None:
    """Remove a folder that is there.

    On NFS it may still hold, for a moment, the name of a file that a reader has open. And what seems gone on the way was perhaps
    removed by us, and the reply was lost: then the rest is still to be removed.
    """
    for left in (3, 2, 1, 0):
        try:
            shutil.rmtree(path)
            return
        except OSError as error:
            if error.errno in MISSING_ERRNOS and not exists(path):
                return
            if error.errno not in (errno.ENOTEMPTY, *MISSING_ERRNOS) or not left:
                raise


def _newest(path: Path) -> float:
    """When anything in it was last changed; now at the latest for what has gone."""
    newest = 0.0
    try:
        newest = path.lstat().st_mtime
        for folder, _, files in os.walk(path):
            for name in [folder, *(os.path.join(folder, each) for each in files)]:
                newest = max(newest, os.lstat(name).st_mtime)
    except OSError as error:
        if error.errno not in MISSING_ERRNOS:
            raise
        return float("inf")
    return newest
