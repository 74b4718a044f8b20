"""What is taken out of a store of this machine: leftovers, what gc removes (with a tombstone), files that cannot be read.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.contract import CLAIM_PREFIX, SCHEMA, TRY_PREFIX, RunId, parse_run_id
from jobs.store.files import MISSING_ERRNOS, exists, rename_own, to_document
from jobs.store.local_store import LocalStore
from jobs.store.regular_files import Unreadable, as_unreadable
from jobs.store.report_pages import METRICS, REPORTS
from jobs.store.tombstones import merge_tombstones, next_tombstone_name, tombstone_names


def leftovers(store: LocalStore, before: float, but_runs_of: str = "") -> Iterator[Path]:
    """Files and folders that were being written when their writer ended, unchanged since ``before`` (seconds since 1970).

    Nothing reads them, whatever they hold: they never got their name. ``but_runs_of``: an experiment whose runs' folders are not
    looked into.
    """
    for part in ("runs", "predictions", "datasets", "snapshots", "experiments", "data", REPORTS, METRICS):
        yield from leftovers_in(store.root / part, before, store.root / part / but_runs_of if but_runs_of else None)


def leftovers_in(top: Path, before: float, but_runs_in: Path | None = None) -> Iterator[Path]:
    """The same of one folder; ``but_runs_in``: the folder of an experiment whose runs are not looked into."""
    inner = f"{but_runs_in}{os.sep}"
    for folder, folders, files in os.walk(top):
        hidden = [name for name in folders if is_leftover(name, True)]
        folders[:] = [name for name in folders if not name.startswith(".")]
        if but_runs_in is not None and folder.startswith(inner) and folder[len(inner) :].count(os.sep) == 1:
            task, month = folder[len(inner) :].split(os.sep)
            runs = ((name, parse_run_id(name, but_runs_in.name, task)) for name in folders)
            folders[:] = [name for name, run in runs if run is None or run.month != month]
        for name in [*hidden, *(name for name in files if is_leftover(name, False))]:
            path = Path(folder) / name
            if _last_change(path) < before:
                yield path


def is_leftover(name: str, is_folder: bool) -> bool:
    """Whether a name is that of something that was being written."""
    if is_folder:
        return name.startswith((f".{TRY_PREFIX}", ".prepare-", CLAIM_PREFIX))
    return name.startswith(".") and name.endswith(".part")


def record_removal(
    store: LocalStore, run: RunId, files: list[dict[str, Any]], time: str, by: str, row: dict[str, Any] | None = None
) -> None:
    """Add a tombstone of a run's files that are removed, and, if all are, of what became of it (``row`` of the history).

    Nothing is written of what earlier tombstones say already. What others write at the same time stays.
    """
    folder = store.run_folder(run)
    while True:
        names = store.files.list_names(folder)
        documents = (store.files.read_document(folder / name) for name in tombstone_names(names))
        earlier = merge_tombstones(document for document in documents if document is not None)
        known = {file["path"] for file in earlier.get("files") or ()}
        added = [file for file in files if file["path"] not in known]
        is_row_new = bool(row) and not earlier.get("run")
        if not added and not is_row_new:
            return
        tombstone = {"schema": SCHEMA, "run_id": str(run), "time": time, "by": by, "files": added}
        document = to_document({**tombstone, **({"run": row} if is_row_new else {})})
        if store.files.publish(folder / next_tombstone_name(names), document):
            return


def remove(store: LocalStore, path: Path) -> bool:
    """Remove a file or a folder of the store; False if it has gone already. Raises ValueError for what is outside."""
    if store.root.resolve() not in path.parent.resolve().parents and path.parent.resolve() != store.root.resolve():
        raise ValueError(f"{path} is not in {store.root}")
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


def set_aside(path: Path) -> Path:
    """Give a file that cannot be read a hidden name beside it, which is returned, so that its own name is free again."""
    hidden = path.with_name(f".{path.name}.damaged")
    rename_own(path, hidden)
    return hidden


def drop_index(store: LocalStore) -> None:
    """Remove the pages of the history's index: they are built anew."""
    shutil.rmtree(store.root / ".index", ignore_errors=True)


def _remove_folder(path: Path) -> None:
    """Remove a folder that is there.

    On NFS it may still hold, for a moment, the name of a file that a reader has open (ENOTEMPTY, or EBUSY where that name was
    listed). And what seems gone on the way was perhaps removed by us, and the reply was lost: then the rest is to be removed.
    """
    for retries in (3, 2, 1, 0):
        try:
            shutil.rmtree(path)
            return
        except OSError as error:
            if error.errno in MISSING_ERRNOS and not exists(path):
                return
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY, *MISSING_ERRNOS) or not retries:
                raise


def _last_change(path: Path) -> float:
    """When anything in it was last changed, in seconds since 1970; infinite for what has gone."""
    newest = 0.0
    try:
        newest = path.lstat().st_mtime
        for folder, _, files in os.walk(path):
            for name in [folder, *(os.path.join(folder, file) for file in files)]:
                newest = max(newest, os.lstat(name).st_mtime)
    except OSError as error:
        if error.errno not in MISSING_ERRNOS and not isinstance(as_unreadable(error, path), Unreadable):
            raise
        # Gone, or nobody knows: it is left alone.
        return float("inf")
    return newest
