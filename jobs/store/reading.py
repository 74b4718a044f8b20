"""What a store tells: where things are, its runs, and what became of each, by its tries. Standard library alone, Python 3.9.

A name that vanished between listing and opening counts as gone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jobs.contract import (
    CANCELLED,
    CLAIM,
    DATA,
    END,
    OBSERVED,
    RECORD,
    REMOVED,
    RESULT,
    SELECTION,
    START,
    TRY_PREFIX,
    Cause,
    Evidence,
    RunId,
    Status,
    parse_run_id,
)
from jobs.store.files import list_names, read_fresh_or_none, read_json
from jobs.store.process_identity import is_alive
from jobs.store.removal import StoreRemoval

_MONTH = re.compile(r"[0-9]{4,}-[0-9]{2}$")


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it: ``status`` is derived from the tries, never stored."""

    id: RunId
    folder: Path
    status: str  # succeeded | failed | no quorum | interrupted | running | died | unknown
    reason: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    tries: tuple[dict[str, Any], ...] = ()
    evidence: str = Evidence.RECORDED  # recorded by the run | observed in time by a command | inferred | unknown
    observed: dict[str, Any] = field(default_factory=dict)
    removed: dict[str, Any] = field(default_factory=dict)  # the tombstone that gc left
    cancelled: dict[str, Any] = field(default_factory=dict)  # who ended it by `cancel`
    claim: dict[str, Any] = field(default_factory=dict)  # who is to make it, until its first try begins


class StoreReading(StoreRemoval):
    """The part of a store that tells."""

    # -- where things are

    def task_folder(self, experiment: str, task: str) -> Path:
        return self.root / "runs" / experiment / task

    def try_folder(self, run: RunId, name: str) -> Path:
        return self.run_folder(run) / (TRY_PREFIX + name)

    def dataset_path(self, fingerprint: str) -> Path:
        return self.root / "datasets" / f"{fingerprint}.npz"

    def pin_path(self, experiment: str, date: str, key: str) -> Path:
        """Which bytes the tasks of one local date use; ``key`` tells apart what the data was made from."""
        return self.root / "datasets" / experiment / f"{date}-{key}.json"

    def snapshot_path(self, kind: str, digest: str) -> Path:
        suffix = {"program": ".pyz", "code": ".zip", "task": ".json"}[kind]
        return self.root / "snapshots" / kind / (digest + suffix)

    def archive_folder(self, experiment: str) -> Path:
        return self.root / "predictions" / experiment

    def archive_path(self, run: RunId, record: dict[str, Any]) -> Path:
        """The CSV of an ensemble run in the archive; its name says if another configuration than its own made it."""
        mark = "-other-configuration" if record.get("other_configuration") else ""
        return self.archive_folder(run.experiment) / f"{run.dated_name}{mark}.csv"

    # -- what is there

    def experiments(self) -> list[str]:
        return list_names(self.root / "runs")

    def tasks(self, experiment: str) -> list[str]:
        return list_names(self.root / "runs" / experiment)

    def run_ids(self, experiment: str, task: str) -> Iterator[RunId]:
        """Every run's id, newest slot first; names that are not runs are passed over."""
        for month in reversed(self.months(experiment, task)):
            yield from reversed(self.month_ids(experiment, task, month))

    def months(self, experiment: str, task: str) -> list[str]:
        """The months (``2026-11``) that a task has runs of, oldest first."""
        return [name for name in list_names(self.task_folder(experiment, task)) if _MONTH.match(name)]

    def month_ids(self, experiment: str, task: str, month: str) -> list[RunId]:
        """The ids of a task's runs of a month, oldest first; names that are not such runs are passed over."""
        low, high = _minutes_of(month)
        found = (parse_run_id(name, experiment, task) for name in list_names(self.task_folder(experiment, task) / month))
        return sorted(run for run in found if run is not None and low <= run.minute < high)

    def month_state(self, experiment: str, task: str, month: str) -> tuple[int, int] | None:
        """When a month's folder was last changed, in ns, and its inode; None if there is none.

        It is opened for that: a client of NFS then asks the server.
        """
        return _state(self.task_folder(experiment, task) / month)

    def run_state(self, run: RunId) -> int:
        """When a run's folder was last changed, in ns: a try or a result that comes or goes changes it; 0 if it is gone."""
        state = _state(self.run_folder(run))
        return state[0] if state else 0

    def runs(self, experiment: str, task: str) -> Iterator[Run]:
        for run in self.run_ids(experiment, task):
            yield self.read(run)

    def result(self, run: RunId) -> dict[str, Any] | None:
        """The record of a published success, or None."""
        return read_json(self.run_folder(run) / RESULT / RECORD)

    def result_file(self, run: RunId, name: str) -> Path:
        """Where this machine finds a file of a run's result; it may not be there."""
        self.download(run, f"{RESULT}/{name}")
        return self.run_folder(run) / RESULT / name

    def pinned_data(self, run: RunId) -> dict[str, Any] | None:
        """What a run's prepare step pinned: by its result, else by the newest of its tries that came so far."""
        self.download(run, f"*/{DATA}")
        folder = self.run_folder(run)
        tries = [name for name in list_names(folder) if name.startswith(TRY_PREFIX)]
        started = {name: str((read_json(folder / name / START) or {}).get("time", "")) for name in tries}
        for name in [RESULT, *sorted(tries, key=lambda name: started[name], reverse=True)]:
            known = read_json(folder / name / DATA)
            if known is not None:
                return known
        return None

    def data_problem(self, pinned: dict[str, Any]) -> str:
        """What is wrong with the bytes that a run learnt from; empty if they are there and the same."""
        path = self.dataset_path(str(pinned["fingerprint"]))
        try:
            digest = self.sha256(path)
        except OSError as error:
            return f"its data {path} cannot be read: {error.strerror}"
        if pinned.get("sha256") not in (None, digest):
            return f"its data {path} is not what it was: the file's sha256 differs"
        return ""

    def read_snapshot(self, kind: str, digest: str) -> bytes:
        """A part of a snapshot, whole."""
        path = self.snapshot_path(kind, digest)
        self.download_files(path)
        return path.read_bytes()

    def snapshot_problem(self, kind: str, digest: str) -> str:
        """What is wrong with a part of a snapshot; empty if it is there and whole."""
        path = self.snapshot_path(kind, digest)
        try:
            found = self.sha256(path)
        except OSError as error:
            return f"its {kind} {path} cannot be read: {error.strerror}"
        return "" if found == digest else f"its {kind} {path} is damaged: the file's sha256 differs from its name"

    def model_selection(self, run: Run) -> list[dict[str, Any]]:
        """What an ensemble run took of each member, or why not; of its last try that came so far."""
        if "members" in run.record:
            return list(run.record["members"])
        for each in reversed(run.tries):
            told = read_json(run.folder / (TRY_PREFIX + each["name"]) / SELECTION)
            if told is not None:
                return list(told.get("members", []))
        return []

    def model_chosen_at(self, run: Run, member: str) -> str | None:
        """When an ensemble run chose a member's model, if it came so far."""
        folders = [RESULT] if run.record else [TRY_PREFIX + each["name"] for each in reversed(run.tries)]
        for name in folders:
            told = read_json(run.folder / name / "probabilities" / member / START)
            if told is not None:
                return str(told.get("time"))
        return run.record.get("started")

    def task_configuration(self, record: dict[str, Any]) -> dict[str, Any]:
        """The resolved configuration that a run was made with, from its snapshot; empty if that is not there."""
        digest = (record.get("snapshot") or {}).get("task")
        return (read_json(self.snapshot_path("task", str(digest))) or {}) if digest else {}

    def read(self, run: RunId) -> Run:
        folder = self.run_folder(run)
        found = list_names(folder)
        tries = tuple(self._tries(folder, found))
        record = self.result(run)
        if record is None and RESULT in found:
            # Perhaps gc has taken it since; its tombstone came first.
            found = list_names(folder)
        observed = (read_json(folder / OBSERVED) or {}) if OBSERVED in found else {}
        removed = (read_json(folder / REMOVED) or {}) if REMOVED in found else {}
        cancelled = (read_json(folder / CANCELLED) or {}) if CANCELLED in found else {}
        claim = (read_json(folder / CLAIM) or {}) if CLAIM in found else {}

        def told(status: str, reason: str, evidence: str = "recorded") -> Run:
            return Run(run, folder, status, reason, record or {}, tries, evidence, observed, removed, cancelled, claim)

        if record is not None:
            return told("succeeded", "")
        if "run" in removed:
            row = removed["run"]
            return told(str(row.get("status", "unknown")), str(row.get("reason", "")), str(row.get("evidence", "unknown")))
        if RESULT in found:
            return told("unknown", f"{RESULT}/{RECORD} is missing or damaged: see cronsemble fsck", "unknown")
        if cancelled:
            return told("interrupted", str(cancelled.get("reason", "cancelled")), "observed")
        last = tries[-1] if tries else None
        if last is not None and last["end"] is not None and not _is_outdone(last["end"], observed):
            return told(str(last["end"].get("status", "failed")), str(last["end"].get("reason", "")))
        if observed.get("status"):
            return told(str(observed["status"]), str(observed.get("reason", "")), "observed")
        if last is None:
            alive = is_alive(claim.get("process", {})) if claim else None
            if claim and alive is not False:
                return told("running", "waits for free CPUs", "observed" if alive else "recorded")
            return told("died", "ended before its first try began", "inferred")
        if last["damaged"]:
            name = TRY_PREFIX + last["name"]
            return told("unknown", f"{name}/{last['damaged']} is missing or damaged: see cronsemble fsck", "unknown")
        alive = is_alive(last["start"].get("process", {}))
        if alive is False:
            return told("died", "its process ended without a word", "inferred")
        if alive:
            return told("running", "", "observed")
        return told("running", "on " + str(last["start"].get("process", {}).get("host", "another machine")))

    def _tries(self, folder: Path, found: list[str]) -> list[dict[str, Any]]:
        tries: list[dict[str, Any]] = []
        for name in found:
            if not name.startswith(TRY_PREFIX):
                continue
            start, end = read_json(folder / name / START), read_json(folder / name / END)
            # A mark that is there but cannot be read tells that something happened, not what.
            damaged = END if end is None and END in list_names(folder / name) else "" if start is not None else START
            tries.append({"name": name[len(TRY_PREFIX) :], "start": start or {}, "end": end, "damaged": damaged})
        return sorted(tries, key=lambda each: str(each["start"].get("time", "")))


def _is_outdone(end: dict[str, Any], observed: dict[str, Any]) -> bool:
    """Whether what was seen of a run's Job says more than how its last try ended: who stopped it, or that its time was over."""
    return bool(observed.get("status")) and (end.get("status") == Status.INTERRUPTED or observed.get("what") == Cause.DEADLINE)


def _minutes_of(month: str) -> tuple[int, int]:
    """The first minute of a month since 1970, and the first of the next."""
    year, number = int(month[:-3]), int(month[-2:])
    if not (1970 <= year < 9999 and 1 <= number <= 12):
        return 0, 0
    ends = (
        datetime(year, number, 1, tzinfo=timezone.utc),
        datetime(year + number // 12, number % 12 + 1, 1, tzinfo=timezone.utc),
    )
    return int(ends[0].timestamp()) // 60, int(ends[1].timestamp()) // 60


def _state(folder: Path) -> tuple[int, int] | None:
    def state(path: Path) -> tuple[int, int]:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            told = os.fstat(handle)
        finally:
            os.close(handle)
        return told.st_mtime_ns, told.st_ino

    return read_fresh_or_none(folder, state)
