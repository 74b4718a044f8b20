"""A store: where its things are, which runs it has, what they left, and what is written beside them.

It stands on :class:`jobs.store.access.StoreFiles`, so it works wherever the files are; what only a store of this machine can do
is in ``jobs.store.local_store`` and ``jobs.store.removal``. Standard library alone, Python 3.9.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jobs.contract import (
    CANCELLED,
    CLAIM,
    DATA,
    OBSERVED,
    RECORD,
    RESULT,
    SCHEMA,
    SELECTION,
    START,
    TRY_PREFIX,
    VERDICT,
    WAIT,
    RunId,
    parse_run_id,
)
from jobs.store.access import StoreFiles
from jobs.store.checksums import read_checked
from jobs.store.decisions import decision_names, next_decision_name, refusal, unreadable_decision
from jobs.store.document_files import parse_document
from jobs.store.files import to_document, to_json
from jobs.store.ledger import Ledger
from jobs.store.names import name_part
from jobs.store.prediction_metadata import archive_name
from jobs.store.reading import Run, read_run
from jobs.store.regular_files import Unreadable
from jobs.store.result_files import recorded_sha256
from jobs.store.tombstones import tombstone_names
from jobs.store.try_claims import claim_name

_NO_MINUTES = (0, 0)
_MONTH = re.compile(r"[0-9]{4,}-[0-9]{2}$")


def snapshot_digests(task: Mapping[str, Any]) -> dict[str, str]:
    """What a run of this task needs to happen again, each by its hash: program, user code, the configuration itself."""
    return {**task["snapshot"], "task": hashlib.sha256(to_json(dict(task))).hexdigest()}


class Store:
    """The runs of a store and what belongs to them; ``ledger`` is what it holds of an experiment beside them."""

    def __init__(self, files: StoreFiles) -> None:
        self.files = files
        self.root = files.root
        self.ledger = Ledger(files)

    # -- where things are

    def task_folder(self, experiment: str, task: str) -> Path:
        """The folder of a task's months."""
        return self.root / "runs" / experiment / task

    def _run_folder(self, run: RunId) -> Path:
        return self.root / "runs" / run.experiment / run.task / run.month / str(run)

    def run_folder(self, run: RunId) -> Path:
        """A run's folder, with its small files in it on this machine; it may not be there."""
        return self.files.local_folder(self._run_folder(run))

    def try_folder(self, run: RunId, name: str) -> Path:
        """The folder that the try of that name works in."""
        return self.run_folder(run) / (TRY_PREFIX + name_part(name))

    def dataset_path(self, fingerprint: str) -> Path:
        """Prepared data, by the fingerprint of its arrays."""
        return self.root / "datasets" / f"{name_part(fingerprint)}.npz"

    def pin_path(self, experiment: str, date: str, key: str) -> Path:
        """Which bytes the tasks of one local date use; ``key`` differs by what the data was made from."""
        return self.root / "datasets" / experiment / f"{date}-{name_part(key)}.json"

    def snapshot_path(self, kind: str, digest: str) -> Path:
        """A part of a snapshot by its SHA-256; ``kind`` is program, code or task."""
        suffix = {"program": ".pyz", "code": ".zip", "task": ".json"}[kind]
        return self.root / "snapshots" / kind / (name_part(digest) + suffix)

    def archive_folder(self, experiment: str) -> Path:
        """The folder of an experiment's dated CSVs."""
        return self.root / "predictions" / experiment

    def archive_path(self, run: RunId, record: dict[str, Any]) -> Path:
        """The CSV of an ensemble run in the archive; its name says if another configuration than its own made it."""
        return self.archive_folder(run.experiment) / f"{archive_name(run, record)}.csv"

    # -- which runs there are

    def experiments(self) -> list[str]:
        """The experiments that have runs, by name; raises Unreadable, OSError."""
        return self.files.list_names(self.root / "runs")

    def tasks(self, experiment: str) -> list[str]:
        """The tasks that have runs, by name; raises Unreadable, OSError."""
        return self.files.list_names(self.root / "runs" / experiment)

    def months(self, experiment: str, task: str) -> list[str]:
        """The months (``2026-11``) that a task has runs of, oldest first; raises Unreadable, OSError."""
        names = self.files.list_names(self.task_folder(experiment, task))
        return [name for name in names if _MONTH.match(name) and _minutes_of(name) != _NO_MINUTES]

    def month_ids(self, experiment: str, task: str, month: str) -> list[RunId]:
        """The ids of a task's runs of a month, oldest first; names that are not such runs are passed over.

        Raises Unreadable, OSError.
        """
        low, high = _minutes_of(month)
        names = self.files.list_names(self.task_folder(experiment, task) / month)
        ids = (parse_run_id(name, experiment, task) for name in names)
        return sorted(run for run in ids if run is not None and low <= run.minute < high)

    def run_ids(self, experiment: str, task: str, skip_unreadable: bool = False) -> Iterator[RunId]:
        """Every run's id, newest slot first; names that are not runs are passed over.

        Raises OSError, and Unreadable for a folder that cannot be listed, unless ``skip_unreadable``.
        """
        try:
            months = self.months(experiment, task)
        except Unreadable:
            if not skip_unreadable:
                raise
            return
        for month in reversed(months):
            try:
                yield from reversed(self.month_ids(experiment, task, month))
            except Unreadable:
                if not skip_unreadable:
                    raise

    def unreadable_folders(self, experiment: str) -> Iterator[Unreadable]:
        """Why each folder of an experiment's tasks and months cannot be listed that cannot; raises OSError."""
        for task in self.tasks(experiment):
            try:
                months = self.months(experiment, task)
            except Unreadable as error:
                yield error
                continue
            for month in months:
                try:
                    self.month_ids(experiment, task, month)
                except Unreadable as error:
                    yield error

    def month_state(self, experiment: str, task: str, month: str) -> tuple[int, int] | None:
        """When a month's folder was last changed, in ns since 1970, and a number that differs where it was put back; or None."""
        return self.files.month_state(self.task_folder(experiment, task) / month)

    def run_states(self, runs: Sequence[RunId], only_record: bool = False) -> list[int]:
        """Of each run a number that differs once what became of it may read otherwise; 0 if it is gone.

        ``only_record``: that of its result's record, and whether something was put beside the result, which costs less.
        """
        return self.files.run_states([self._run_folder(run) for run in runs], only_record)

    # -- what they left

    def runs(self, experiment: str, task: str, skip_unreadable: bool = False) -> Iterator[Run]:
        """Every run, newest slot first; raises as :meth:`run_ids`."""
        for run in self.run_ids(experiment, task, skip_unreadable):
            yield self.read(run)

    def read(self, run: RunId) -> Run:
        """What became of a run."""
        return read_run(run, self.run_folder(run), lambda: self.result(run))

    def result(self, run: RunId) -> dict[str, Any] | None:
        """The record of a published success, or None."""
        record = self.files.read_document(self._run_folder(run) / RESULT / RECORD)
        # One that is of another run says nothing of this one.
        return record if record is None or record.get("run") in (None, str(run)) else None

    def result_file(self, run: RunId, name: str) -> Path:
        """Where this machine finds a file of a run's result; it may not be there."""
        self.download(run, f"{RESULT}/{name}")
        return self.run_folder(run) / RESULT / name

    def result_problem(self, run: Run, name: str) -> str:
        """What is wrong with a file of a run's result, by its hash in the record; empty where that has none. Needs the file.

        The hash is taken where the file is.
        """
        recorded, path = recorded_sha256(run.record, name), run.folder / RESULT / name
        try:
            if recorded is None or self.files.sha256(path) == recorded:
                return ""
        except OSError as error:
            return f"{self.files.display_path(path)} cannot be read: {error.strerror}"
        return f"{self.files.display_path(path)} is not what the run wrote: its sha256 differs from the record's"

    def list_files(self, run: RunId, folder: str) -> list[Path]:
        """Every file in one of the folders of a run, sorted, whether or not it is on this machine."""
        return self.files.list_files(self.run_folder(run) / folder)

    def download(self, run: RunId, *patterns: str) -> None:
        """Have those of a run's files on this machine whose path within its folder fits a pattern (``*`` also fits ``/``).

        Whoever opens a run's larger files (logs, epochs, arrays, models) by their path says so here first.
        """
        self.files.download(self.run_folder(run), *patterns)

    def pinned_data(self, run: RunId) -> dict[str, Any] | None:
        """What a run's prepare step pinned: by its result, else by the newest of its tries that came so far."""
        self.download(run, f"*/{DATA}")
        folder = self.run_folder(run)
        tries = [name for name in self.files.list_names(folder) if name.startswith(TRY_PREFIX)]
        started = {name: str((self.files.read_document(folder / name / START) or {}).get("time", "")) for name in tries}
        for name in [RESULT, *sorted(tries, key=lambda name: started[name], reverse=True)]:
            data = self.files.read_document(folder / name / DATA)
            if data is not None:
                return data
        return None

    def data_problem(self, pinned: dict[str, Any]) -> str:
        """What is wrong with the bytes that a run learnt from; empty if they are there and the same."""
        path = self.dataset_path(str(pinned["fingerprint"]))
        try:
            digest = self.files.sha256(path)
        except OSError as error:
            return f"its data {path} cannot be read: {error.strerror}"
        if pinned.get("sha256") not in (None, digest):
            return f"its data {path} is not what it was: the file's sha256 differs"
        return ""

    def model_selection(self, run: Run) -> list[dict[str, Any]]:
        """What an ensemble run took of each member, or why not; of its last try that came so far."""
        if run.record.get("members") is not None:
            return list(run.record["members"])
        for attempt in reversed(run.tries):
            selection = self.files.read_document(run.folder / (TRY_PREFIX + attempt["name"]) / SELECTION)
            if selection is not None:
                return list(selection.get("members") or [])
        return []

    def model_chosen_at(self, run: Run, member: str) -> str | None:
        """When an ensemble run chose a member's model (ISO 8601), if it came so far."""
        folders = [RESULT] if run.record else [TRY_PREFIX + attempt["name"] for attempt in reversed(run.tries)]
        for name in folders:
            start = self.files.read_document(run.folder / name / "probabilities" / member / START)
            if start is not None:
                return str(start.get("time"))
        started = run.record.get("started")
        return None if started is None else str(started)

    def is_removed(self, run: RunId, name: str) -> bool:
        """Whether gc took this file out of the run's folder."""
        folder = self._run_folder(run)
        documents = (self.files.read_document(folder / own) for own in tombstone_names(self.files.list_names(folder)))
        return any(file.get("path") == name for document in documents if document for file in document.get("files") or ())

    def is_archive_removed(self, run: RunId, path: Path) -> bool:
        """Whether gc took a run's CSV out of the archive."""
        return self.is_removed(run, path.relative_to(self.root).as_posix())

    # -- what was decided of them

    def decisions(self, run: RunId) -> list[dict[str, Any]]:
        """What was decided of a published run by hand, oldest first; one that cannot be read refuses. Raises OSError."""
        folder = self._run_folder(run)
        names = decision_names(self.files.list_names(folder))
        return [self.files.read_document(folder / name) or unreadable_decision(name) for name in names]

    def refusal(self, run: RunId, record: Mapping[str, Any], at: float | None = None) -> str:
        """Why a published run is refused, on one line; empty if it is accepted. ``at``: as of that time (seconds since 1970)."""
        return refusal(record, self.decisions(run), at)

    def decide(self, run: RunId, decision: Mapping[str, Any]) -> bool:
        """Add a decision about a published run: ``decision``, ``reason``, ``by``, ``time``. False: somebody decided meanwhile."""
        folder = self.run_folder(run)
        name = next_decision_name(self.files.list_names(folder))
        return self.files.publish(folder / name, to_document({"schema": SCHEMA, "run_id": str(run), **decision}))

    # -- snapshots

    def put_snapshot(self, kind: str, data: bytes) -> str:
        """Keep a part of a snapshot under its SHA-256, which is returned; other bytes that have this name are replaced."""
        digest = hashlib.sha256(data).hexdigest()
        self.files.ensure(self.snapshot_path(kind, digest), data)
        return digest

    def read_snapshot(self, kind: str, digest: str) -> bytes:
        """A part of a snapshot, whole; raises OSError, also for one that is damaged."""
        path = self.snapshot_path(kind, digest)
        self.files.download_files(path)
        return read_checked(path, digest)

    def snapshot_problem(self, kind: str, digest: str) -> str:
        """What is wrong with a part of a snapshot; empty if it is there and whole."""
        path = self.snapshot_path(kind, digest)
        try:
            actual = self.files.sha256(path)
        except OSError as error:
            return f"its {kind} {path} cannot be read: {error.strerror}"
        return "" if actual == digest else f"its {kind} {path} is damaged: the file's sha256 differs from its name"

    def task_configuration(self, record: dict[str, Any]) -> dict[str, Any]:
        """The resolved configuration that a run was made with, from its snapshot; empty if that is missing or damaged."""
        digest = str((record.get("snapshot") or {}).get("task") or "")
        if not digest:
            return {}
        path = self.snapshot_path("task", digest)
        try:
            return parse_document(path, read_checked(path, digest))
        except OSError:
            return {}

    # -- claims, and what is written beside a run's tries

    def claim(self, experiment: str, task: str, minute: int, mark: dict[str, Any] | None = None) -> RunId:
        """The next free attempt at a slot (its UTC minute since 1970); two claimers never get the same."""
        attempt = 1
        while True:
            run = RunId(minute, attempt, experiment, task)
            if self.claim_attempt(run, mark):
                return run
            attempt += 1

    def claim_attempt(self, run: RunId, mark: dict[str, Any] | None = None) -> bool:
        """Take exactly this attempt, unless somebody has it; ``mark`` says who, until its first try begins."""
        name = f".{CLAIM}" if mark is None else CLAIM
        return self.files.claim_folder(
            self._run_folder(run), name, to_document({"schema": SCHEMA, "run_id": str(run), **(mark or {})})
        )

    def claim_try(self, run: RunId, number: int, mark: dict[str, Any]) -> bool:
        """Claim a run's next try by the n-th claim (``jobs.store.try_claims``), unless somebody has it; ``mark`` says who."""
        return self.files.publish(
            self.run_folder(run) / claim_name(number), to_document({"schema": SCHEMA, "run_id": str(run), **mark})
        )

    def claim_of(self, run: RunId) -> dict[str, Any] | None:
        """Who claimed a run, if that was written down."""
        return self.files.read_document(self.run_folder(run) / CLAIM)

    def cancel(self, run: RunId, mark: dict[str, Any]) -> None:
        """Write down that a run was ended by hand: ``reason``, ``by`` and ``time``. Of several the first counts."""
        self.files.publish(self.run_folder(run) / CANCELLED, to_document({"run_id": str(run), **mark}))

    def cancelled(self, run: RunId) -> dict[str, Any] | None:
        """Who ended a run by hand, or None."""
        return self.files.read_document(self.run_folder(run) / CANCELLED)

    def record_observation(self, run: RunId, observed: dict[str, Any]) -> bool:
        """Keep what a command saw of a run's Job or pods when they had ended: ``time``, ``by``, ``what``, ``reason``, ``tries``.

        ``status`` stands in it if the run failed. Written once; False if it was known already.
        """
        path = self.run_folder(run) / OBSERVED
        # Most often it is there: a command that looks often need not write each time.
        if os.path.lexists(path):
            return False
        return self.files.publish(path, to_document({"schema": SCHEMA, "run_id": str(run), **observed}))

    def wait_of(self, run: RunId) -> dict[str, Any]:
        """For whom an ensemble's run waits, or has waited (``jobs.store.waits``); empty if it has not."""
        return self.files.read_document(self.run_folder(run) / WAIT) or {}

    def record_wait(self, run: RunId, mark: Mapping[str, Any]) -> None:
        """Write for whom an ensemble's run waits, or has waited; raises OSError."""
        self.files.replace(self.run_folder(run) / WAIT, to_document({"schema": SCHEMA, "run_id": str(run), **mark}))

    def record_verdict(self, run: RunId, verdict: dict[str, Any]) -> None:
        """Store the result of the comparison with the repeated run; the first one stays."""
        self.files.publish(self.run_folder(run) / VERDICT, to_document({"run_id": str(run), **verdict}))


def _minutes_of(month: str) -> tuple[int, int]:
    """The first minute of a month since 1970, and the first of the next."""
    year, number = int(month[:-3]), int(month[-2:])
    if not (1970 <= year < 9999 and 1 <= number <= 12):
        return _NO_MINUTES
    ends = (
        datetime(year, number, 1, tzinfo=timezone.utc),
        datetime(year + number // 12, number % 12 + 1, 1, tzinfo=timezone.utc),
    )
    return int(ends[0].timestamp()) // 60, int(ends[1].timestamp()) // 60
