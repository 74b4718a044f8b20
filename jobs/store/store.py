"""The store: what claims, publishes and archives, on top of what reads. The only code that touches the store's files.

Standard library alone, Python 3.9. What is visible under a stable name is whole: files appear by an
exclusive link, results by renaming a folder that is not empty. Readers take a name that vanished
between listing and opening as gone, and never wait for one by polling.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.contract import (
    CANCELLED,
    CLAIM,
    CLAIM_PREFIX,
    CSV,
    ENSEMBLE_TASK,
    MEMBERS,
    RECORD,
    RESULT,
    SCHEMA,
    START,
    RunId,
    Status,
)
from jobs.store.files import (
    MISSING_ERRNOS,
    exists,
    fsync,
    publish_bytes,
    publish_file,
    read_fresh_or_none,
    read_json,
    rename_own,
    to_json,
    write_file,
)
from jobs.store.reading import Run, StoreReading


def snapshot_digests(task: Mapping[str, Any]) -> dict[str, str]:
    """What a run of this task needs to happen again, each by its hash: program, user code, the configuration itself."""
    return {**task["snapshot"], "task": hashlib.sha256(to_json(dict(task))).hexdigest()}


class Store(StoreReading):
    """A store's folder."""

    def put_snapshot(self, kind: str, data: bytes) -> str:
        """Keep these bytes under their hash and return it."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.snapshot_path(kind, digest)
        if not exists(path):
            publish_bytes(path, data)
        return digest

    def claim(self, experiment: str, task: str, minute: int, mark: dict[str, Any] | None = None) -> RunId:
        """The next free attempt at a slot; two claimers never get the same."""
        attempt = 1
        while True:
            run = RunId(minute, attempt, experiment, task)
            if self.claim_attempt(run, mark):
                return run
            attempt += 1

    def claim_attempt(self, run: RunId, mark: dict[str, Any] | None = None) -> bool:
        """Take exactly this attempt, unless somebody has it; ``mark`` tells who, until its first try begins.

        A folder that is not empty takes the name: of two, one is refused, and it knows its own by the inode.
        """
        folder = self.run_folder(run)
        if exists(folder):
            return False
        hidden = folder.with_name(f"{CLAIM_PREFIX}{run}.{uuid.uuid4().hex}")
        self._make_folder(hidden)
        try:
            name = f".{CLAIM}" if mark is None else CLAIM
            write_file(hidden / name, to_json({"schema": SCHEMA, **(mark or {})}))
            own = os.stat(hidden)
            try:
                os.rename(hidden, folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, *MISSING_ERRNOS):
                    raise
                taken = read_fresh_or_none(folder, os.stat)
                if taken is None:
                    raise
                return os.path.samestat(own, taken)
            fsync(folder.parent)
            return True
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    def cancel(self, run: RunId, told: dict[str, Any]) -> None:
        """Write down that a run was ended by hand: ``reason``, ``by`` and ``time``. Of several the first counts."""
        self._make_folder(self.run_folder(run))
        publish_bytes(self.run_folder(run) / CANCELLED, to_json(told))

    def cancelled(self, run: RunId) -> dict[str, Any] | None:
        """Who ended a run by hand, or None."""
        return read_json(self.run_folder(run) / CANCELLED)

    def claim_of(self, run: RunId) -> dict[str, Any] | None:
        """Who claimed a run, if that was written down."""
        return read_json(self.run_folder(run) / CLAIM)

    def begin_try(self, run: RunId, name: str, mark: dict[str, Any]) -> None:
        """Make a try's folder appear with its start mark inside; later steps of the same try find it."""
        folder = self.try_folder(run, name)
        if exists(folder):
            return
        hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        self._make_folder(hidden)
        write_file(hidden / START, to_json(mark))
        rename_own(hidden, folder)

    def publish(self, run: RunId, name: str) -> bool:
        """Commit a try's folder as the run's result; False if another try was first.

        The folder must hold the record, whose ``try`` is the token by which a try knows its own result.
        """
        source = self.try_folder(run, name)
        target = self.run_folder(run) / RESULT
        for folder, _, files in os.walk(source):
            for file in files:
                fsync(Path(folder) / file)
            fsync(Path(folder))
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, *MISSING_ERRNOS):
                raise
            record = read_json(target / RECORD)
            if record is None:
                raise
            return bool(record.get("try") == name)
        fsync(target.parent)
        return True

    def publish_archive(self, run: RunId) -> Path | None:
        """Link a published ensemble's CSV into the archive; None if a stranger's file has its name.

        Made after the commit, it can be made again at any time.
        """
        result = self.run_folder(run) / RESULT
        target = self.archive_path(run, self.result(run) or {})
        for csv in sorted((result / MEMBERS).glob("*.csv")):
            self._archive_file(csv, target.with_suffix(".members") / csv.name)
        return target if self._archive_file(result / CSV, target) else None

    def _archive_file(self, source: Path, target: Path) -> bool:
        return publish_file(target, source) or source.read_bytes() == target.read_bytes()

    def repair_archives(self, experiment: str) -> list[Path]:
        """Link what a process that died between commit and link left out of the archive."""
        healed = (self.repair_archive(run) for run in self.runs(experiment, ENSEMBLE_TASK))
        return [path for path in healed if path is not None]

    def repair_archive(self, run: Run) -> Path | None:
        """The same for one run: the path that it got."""
        target = self.archive_path(run.id, run.record)
        if run.status != Status.SUCCEEDED or exists(target) or self.is_archive_removed(run.id, target):
            return None
        return self.publish_archive(run.id)

    def write_index_page(self, path: Path, data: bytes) -> None:
        """Keep a page of an index: it is no truth, so it need not survive a crash."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
        try:
            part.write_bytes(data)
            rename_own(part, path)
        finally:
            part.unlink(missing_ok=True)
