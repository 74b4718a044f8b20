"""A store that this machine mounts: where tries work, results are published, and predictions archived.

Standard library alone, Python 3.9. A result is published by renaming a try's folder, which is not empty; the archive is made of
exclusive links.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.contract import CSV, ENSEMBLE_TASK, MEMBERS, METADATA, RECORD, RECORD_TRACE, RESULT, START, RunId, Status
from jobs.store.checksums import damaged
from jobs.store.document_files import read_document
from jobs.store.files import (
    MISSING_ERRNOS,
    exists,
    fsync,
    have_same_bytes,
    make_folder,
    rename_own,
    replace_by_copy,
    sha256_of,
    to_document,
    write_file,
)
from jobs.store.local_files import LocalFiles
from jobs.store.ownership import access_problem, share
from jobs.store.reading import Run
from jobs.store.regular_files import Unreadable, is_regular
from jobs.store.result_files import recorded_files, recorded_sha256
from jobs.store.store import Store


class LocalStore(Store):
    """The store in the folder ``root``: a :class:`Store` that runs can be made in."""

    files: LocalFiles

    def __init__(self, root: Path) -> None:
        super().__init__(LocalFiles(root))

    def access_problem(self, experiment: str) -> str:
        """Why this user cannot make runs of an experiment here, and what helps; empty if it can.

        The user root first gives what its earlier runs kept for themselves to the store's owner. Raises OSError.
        """
        runs = self.root / "runs" / experiment
        tasks = [task for task in self.tasks(experiment) if (runs / task).is_dir()]
        months = [runs / task / month for task in tasks for month in ["", *self._latest_month(experiment, task)]]
        ledger = self.ledger.folder(experiment)
        folders = [*months, runs, *(self.root / "snapshots" / kind for kind in ("program", "code", "task"))]
        folders += [self.root / "datasets" / experiment, self.archive_folder(experiment), ledger / "revisions", ledger / "notes"]
        for path in dict.fromkeys([self.root, *(path for folder in folders for path in _inside(folder, self.root))]):
            if path.is_dir() and path != self.root:
                make_folder(path, self.root)
            if problem := access_problem(path, self.root):
                return problem
        return ""

    def _latest_month(self, experiment: str, task: str) -> list[str]:
        try:
            folder = self.task_folder(experiment, task)
            # A file by that name costs the runs of its month, and no other.
            return [month for month in self.months(experiment, task) if (folder / month).is_dir()][-1:]
        except Unreadable:
            # The task's folder itself is what this user has no access to.
            return []

    # -- tries and results

    def begin_try(self, run: RunId, name: str, mark: dict[str, Any]) -> None:
        """Make a try's folder appear with its start mark inside; later steps of the same try find it."""
        folder = self.try_folder(run, name)
        if exists(folder):
            return
        hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            make_folder(hidden, self.root)
            write_file(hidden / START, to_document(mark))
            rename_own(hidden, folder)
        except OSError:
            shutil.rmtree(hidden, ignore_errors=True)
            raise

    def publish(self, run: RunId, name: str) -> bool:
        """Commit a try's folder as the run's result; False if another try was first.

        The folder must hold the record, whose ``try`` is the token by which a try knows its own result. Raises OSError.
        """
        source = self.try_folder(run, name)
        target = self.run_folder(run) / RESULT
        for folder, _, names in os.walk(source):
            for file in names:
                if is_regular(Path(folder) / file):
                    share(Path(folder) / file, read_only=True)
                    fsync(Path(folder) / file)
            fsync(Path(folder))
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, *MISSING_ERRNOS):
                raise
            record = read_document(target / RECORD)
            if record is None:
                raise
            return bool(record.get("try") == name)
        fsync(target.parent)
        self._keep_trace(run)
        return True

    def _keep_trace(self, run: RunId) -> None:
        """Give a result's record a second, hidden name beside it: if the result goes, this says that there was one."""
        with suppress(OSError):  # the result is published
            self.files.publish_file(self.run_folder(run) / RECORD_TRACE, self.run_folder(run) / RESULT / RECORD, read_only=True)

    def put_dataset(self, fingerprint: str, source: Path) -> str:
        """Keep prepared data by the fingerprint of its arrays; a damaged file of that name is replaced. Returns its SHA-256.

        Raises OSError.
        """
        path, digest = self.dataset_path(fingerprint), sha256_of(source)
        if not self.files.publish_file(path, source) and sha256_of(path) != digest:
            replace_by_copy(path, source)
        return digest

    # -- the archive

    def publish_archive(self, run: RunId) -> Path | None:
        """Link a published ensemble's CSV into the archive; None if another file, which no run of ours made, has its name.

        Made after the commit, it can be made again at any time. Raises OSError, also for a CSV that is not the one that the run
        wrote: it is not archived.
        """
        result, record = self.run_folder(run) / RESULT, self.result(run) or {}
        target = self.archive_path(run, record)
        for csv in sorted((result / MEMBERS).glob("*.csv")):
            self._archive_file(record, result, csv, target.with_suffix(".members") / csv.name)
        # The CSV comes last: where it is, all of the run is. Runs of earlier versions have no metadata.
        if METADATA in recorded_files(record):
            self._archive_file(record, result, result / METADATA, target.with_suffix(".json"))
        return target if self._archive_file(record, result, result / CSV, target) else None

    def _archive_file(self, record: dict[str, Any], result: Path, source: Path, target: Path) -> bool:
        recorded = recorded_sha256(record, source.relative_to(result).as_posix())
        if recorded is not None and sha256_of(source) != recorded:
            raise damaged(source)
        return self.files.publish_file(target, source, read_only=True) or have_same_bytes(source, target)

    def repair_archives(self, experiment: str) -> list[Path]:
        """Archive what a process that died between commit and link did not; the paths of the CSVs."""
        repaired = []
        for run in self.runs(experiment, ENSEMBLE_TASK, skip_unreadable=True):
            # What a damaged run lacks is for fsck to say.
            with suppress(Unreadable, FileNotFoundError):
                path = self.repair_archive(run)
                repaired += [path] if path is not None else []
        return repaired

    def repair_archive(self, run: Run) -> Path | None:
        """The same for one run; None if nothing was missing."""
        target = self.archive_path(run.id, run.record)
        if run.status != Status.SUCCEEDED or exists(target) or self.is_archive_removed(run.id, target):
            return None
        return self.publish_archive(run.id)


def _inside(folder: Path, root: Path) -> list[Path]:
    """The folders from below ``root`` down to ``folder``."""
    return [*(parent for parent in reversed(folder.parents) if root in parent.parents), folder]
