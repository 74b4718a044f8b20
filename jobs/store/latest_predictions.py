"""`latest.csv` and `latest.json`: the newest accepted slot's predictions, whoever finishes when. Standard library, Python 3.9.

They are further names of the files that the archive has under the slot's date, so that whoever has one open reads on when it is
replaced; where there are no links they are copies. ``jobs.store.latest_protocol`` says why an older slot never replaces a newer.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract import CSV, ENSEMBLE_TASK, LAST_MINUTE, METADATA, RECORD, RECORD_TRACE, RESULT, RunId, RunKind
from jobs.store.checksums import damaged
from jobs.store.decisions import decision_names, refusal
from jobs.store.document_files import load_document
from jobs.store.files import MISSING_ERRNOS, fsync, holds, read_fresh_or_none, sha256_of, to_document, write_file
from jobs.store.latest_protocol import Contention, replacement_steps
from jobs.store.local_store import LocalStore
from jobs.store.ownership import share
from jobs.store.prediction_metadata import prediction_metadata
from jobs.store.regular_files import Unreadable, as_unreadable, is_regular, list_folder, unreadable
from jobs.store.result_files import recorded_sha256
from jobs.store.tombstones import load_tombstones

LATEST = "latest"
LATEST_CSV, LATEST_JSON = f"{LATEST}.csv", f"{LATEST}.json"
_CANDIDATE = re.compile(r"\.latest-(0|[1-9][0-9]{0,9})-([1-9][0-9]{0,8})-[0-9a-f]{32}\.(?:csv|json)\.part")
"""A file that is about to be the latest: the slot's minute, the attempt, a token. It ends as all that is being written."""
SCHEDULED_KINDS = (RunKind.SCHEDULED, RunKind.BACKFILL)
"""Of runs that a schedule asked for, at once or later."""


@dataclass(frozen=True)
class LatestUpdate:
    """What is under the names now: the files of ``run``, or none. ``problem``: why they were left as they were; else empty."""

    run: RunId | None
    problem: str = ""


def update_latest(store: LocalStore, experiment: str) -> LatestUpdate:
    """Have the newest accepted slot's predictions under the names `latest.csv` and `latest.json` of an experiment's archive.

    May be called by anybody at any time: after a run was published, accepted or refused, and to make up for a process that was
    killed before it had. Raises OSError for a store out of reach; what cannot be read only leaves all as it was.
    """
    files = LatestFiles(store, experiment)
    try:
        steps = replacement_steps(files)
        return LatestUpdate(_exhaust(steps))
    except Unreadable as error:
        files.remove_own()
        return LatestUpdate(None, f"{LATEST_CSV} stays as it is: {error.filename}: {error.why}")
    except Contention:
        files.remove_own()
        return LatestUpdate(None, f"{LATEST_CSV} stays as it is: other processes keep replacing it")


def _exhaust(steps: Generator[str, None, RunId | None]) -> RunId | None:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            run: RunId | None = stop.value
            return run


def may_be_latest(record: Mapping[str, Any]) -> bool:
    """Whether a published ensemble run is of those of which the newest is the latest: scheduled, or made up for by `backfill`."""
    return record.get("kind") in SCHEDULED_KINDS and not record.get("other_configuration")


def accepted_runs(store: LocalStore, experiment: str) -> Iterator[tuple[RunId, dict[str, Any]]]:
    """The runs that may be the latest, each with its record, the newest first; those that are refused now are left out.

    Raises Unreadable where it cannot be known whether a run is one, OSError.
    """
    for run in store.run_ids(experiment, ENSEMBLE_TASK):
        record = _published_record(store, run)
        if record is None:
            continue
        if not may_be_latest(record) or store.is_archive_removed(run, store.archive_path(run, record)):
            continue
        folder = store.run_folder(run)
        decisions = [load_document(folder / name) for name in decision_names(store.files.list_names(folder))]
        if not refusal(record, [decision for decision in decisions if decision is not None]):
            yield run, record


def _published_record(store: LocalStore, run: RunId) -> dict[str, Any] | None:
    """The record of a run; None for one that has published nothing, or was removed. Raises Unreadable, OSError."""
    folder = store.run_folder(run)
    path = folder / RESULT / RECORD
    record = load_document(path)
    if record is None and (RESULT in store.files.list_names(folder) or os.path.lexists(folder / RECORD_TRACE)):
        record = load_document(path)  # published just now
        if record is None and "run" not in load_tombstones(folder):
            # It may have been the latest: an older one must not take its place for that.
            raise unreadable(path, "it is missing", errno.EIO)
    if record is not None and record.get("run") not in (None, str(run)):
        raise unreadable(path, f"it is of {record['run']}", errno.EIO)
    return record


@dataclass
class LatestFiles:
    """The files under an experiment's names for the latest, as ``jobs.store.latest_protocol`` replaces them."""

    store: LocalStore
    experiment: str
    _records: dict[RunId, dict[str, Any]] = field(default_factory=dict)
    _own: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The experiment's archive."""
        return self.store.archive_folder(self.experiment)

    def newest(self) -> RunId | None:
        """The newest accepted run; raises Unreadable where that cannot be known, OSError."""
        for run, record in accepted_runs(self.store, self.experiment):
            self._records[run] = record
            return run
        return None

    def is_in_place(self, run: RunId) -> bool:
        """Whether the latest CSV and its metadata are this run's; raises Unreadable, OSError."""
        # Listed first, so that a client of NFS asks the server what the names are.
        names = self._names()
        if LATEST_CSV not in names or LATEST_JSON not in names:
            return False
        try:
            return self.is_csv_of(run) and self.is_json_of(run)
        except OSError as error:
            if error.errno not in MISSING_ERRNOS:
                raise
            return False  # removed or replaced meanwhile

    def is_csv_of(self, run: RunId) -> bool:
        """Whether the latest CSV is this run's; False also for one that is no file."""
        latest, record = self.folder / LATEST_CSV, self._record(run)
        if not is_regular(latest):
            return False
        archived = self.store.archive_path(run, record)
        if is_regular(archived) and os.path.samefile(latest, archived):
            return True
        digest = recorded_sha256(record, CSV)
        if digest is None:
            own = self._whole(run, CSV, archived) or self._whole(run, CSV)
            return own is not None and sha256_of(latest) == sha256_of(own)
        return sha256_of(latest) == digest

    def is_json_of(self, run: RunId) -> bool:
        """Whether the latest metadata is this run's; False also for one that is no file."""
        latest = self.folder / LATEST_JSON
        if not is_regular(latest):
            return False
        digest = recorded_sha256(self._record(run), METADATA)
        return holds(latest, self._made_metadata(run)) if digest is None else sha256_of(latest) == digest

    def candidates(self) -> list[tuple[str, RunId]]:
        """The files that are about to be the latest, of all processes; raises Unreadable, OSError."""
        matches = [match for match in map(_CANDIDATE.fullmatch, self._names()) if match is not None]
        runs = [RunId(int(match[1]), int(match[2]), self.experiment, ENSEMBLE_TASK) for match in matches]
        return [(match[0], run) for match, run in zip(matches, runs) if run.minute <= LAST_MINUTE]  # noqa: B905 (Python 3.9)

    def add_candidates(self, run: RunId) -> list[str]:
        """Name a run's CSV and its metadata as what is about to be the latest; raises Unreadable for a damaged CSV, OSError.

        The CSV takes its place first: once `latest.json` names a run, `latest.csv` is that run's or a newer one's.
        """
        csv = self._csv(run)
        token = f".latest-{run.minute}-{run.attempt}-{uuid.uuid4().hex}"
        names = [f"{token}.csv.part", f"{token}.json.part"]
        self._own += names
        _link_or_copy(csv, self.folder / names[0])
        metadata = self._metadata(run)
        if metadata is not None:
            _link_or_copy(metadata, self.folder / names[1])
        else:
            # Of an earlier version's run: made as it would have made it.
            write_file(self.folder / names[1], self._made_metadata(run))
            share(self.folder / names[1], read_only=True)
        return names

    def remove(self, candidate: str) -> None:
        """Remove a candidate, if it is there; raises OSError."""
        _unlink(self.folder / candidate)

    def take_place(self, candidate: str) -> bool:
        """Rename a candidate to the name that it is for; False if it has gone. Raises OSError."""
        target = self.folder / (LATEST_CSV if candidate.endswith(".csv.part") else LATEST_JSON)
        try:
            os.rename(self.folder / candidate, target)
        except OSError as error:
            if error.errno not in MISSING_ERRNOS:
                raise as_unreadable(error, target) from error
            return False
        # Two names of one file: then a rename leaves both.
        _unlink(self.folder / candidate)
        fsync(self.folder)
        return True

    def remove_own(self) -> None:
        """Remove the candidates that this process has left; raises OSError."""
        for name in self._own:
            self.remove(name)

    def clear(self) -> None:
        """Remove both, so that nobody takes predictions that are not accepted; raises OSError."""
        for name in (LATEST_JSON, LATEST_CSV):
            _unlink(self.folder / name)

    def _names(self) -> list[str]:
        return read_fresh_or_none(self.folder, list_folder) or []

    def _record(self, run: RunId) -> dict[str, Any]:
        if run not in self._records:
            self._records[run] = self.store.result(run) or {}
        return self._records[run]

    def _csv(self, run: RunId) -> Path:
        """A run's CSV, whole, in the archive or in its result; raises Unreadable where neither is, OSError."""
        record = self._record(run)
        archived = self.store.archive_path(run, record)
        if not is_regular(archived):
            with suppress(FileNotFoundError):
                self.store.publish_archive(run)
        # The one in the archive lies on the same file system for certain.
        path = self._whole(run, CSV, archived) or self._whole(run, CSV)
        if path is None:
            raise damaged(archived) if os.path.lexists(archived) else unreadable(archived, "it is missing", errno.EIO)
        return path

    def _metadata(self, run: RunId) -> Path | None:
        """A run's metadata, whole, in the archive or in its result; None where neither is."""
        if recorded_sha256(self._record(run), METADATA) is None:
            return None
        archived = self.store.archive_path(run, self._record(run)).with_suffix(".json")
        return self._whole(run, METADATA, archived) or self._whole(run, METADATA)

    def _whole(self, run: RunId, name: str, archived: Path | None = None) -> Path | None:
        """A file of a result, there or in the archive, if it is what the run wrote; raises OSError for a store out of reach."""
        path = archived or self.store.run_folder(run) / RESULT / name
        recorded = recorded_sha256(self._record(run), name)
        try:
            if is_regular(path) and recorded in (None, sha256_of(path)):
                return path
        except FileNotFoundError:
            return None
        except Unreadable:
            if archived is None:
                raise
        return None

    def _made_metadata(self, run: RunId) -> bytes:
        return to_document(prediction_metadata(run, self._record(run), self._csv(run)))


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name that only we know, or where that cannot be the name to a copy of it; raises OSError."""
    try:
        os.link(source, target)
        return
    except FileExistsError:
        return  # ours: the reply was lost
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK):
            raise
    shutil.copyfile(source, target)
    share(target, read_only=True)
    fsync(target)


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno not in MISSING_ERRNOS:
            raise
