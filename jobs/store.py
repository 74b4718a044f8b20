"""The store: layout, publishing and reading. The only code that touches the store's files.

Standard library alone, Python 3.9. What is visible under a stable name is whole: files appear by an
exclusive link, results by renaming a folder that is not empty. Readers take a name that vanished
between listing and opening as gone, and never wait for one by polling.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract import (
    CSV,
    DATA,
    END,
    ENSEMBLE_TASK,
    MEMBERS,
    RECORD,
    RESULT,
    START,
    TRY_PREFIX,
    RunId,
    parse_run_id,
)

_GONE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)


class StoreError(Exception):
    """The store cannot be used as it is; the text says where and what to do."""


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it: ``status`` is derived from the tries, never stored."""

    id: RunId
    folder: Path
    status: str  # succeeded | failed | interrupted | running | died
    reason: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    tries: tuple[dict[str, Any], ...] = ()


def process_identity() -> dict[str, Any]:
    """Who this process is, so that a reader on the same machine can tell whether it still lives."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "start": _started(os.getpid())}


def is_alive(identity: dict[str, Any]) -> bool | None:
    """Whether that process lives; None where this machine cannot know (another host)."""
    if identity.get("host") != socket.gethostname():
        return None
    if identity.get("boot") != _boot():
        return False
    started = _started(int(identity.get("pid", 0)))
    return started is not None and started == identity.get("start")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None if the file is absent, gone or does not hold one."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def snapshot_of(task: Mapping[str, Any]) -> dict[str, str]:
    """What a run of this task needs to happen again, each by its hash: program, user code, the configuration itself."""
    return {**task["snapshot"], "task": hashlib.sha256(to_json(dict(task))).hexdigest()}


def write_file(path: Path, data: bytes) -> None:
    """Write a file inside a folder of one's own, durably; the folder's rename makes it visible."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def publish_file(path: Path, source: Path) -> bool:
    """Make ``source``'s bytes visible as ``path`` unless that name is taken; says whether it was free.

    A link where the file systems allow it, else a copy.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _fsync(source)
    try:
        return _link(source, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK):
            raise
    part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        shutil.copyfile(source, part)
        _fsync(part)
        return _link(part, path)
    finally:
        part.unlink(missing_ok=True)


def publish_bytes(path: Path, data: bytes) -> bool:
    """Like :func:`publish_file` for bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        write_file(part, data)
        return _link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _link(part: Path, path: Path) -> bool:
    try:
        os.link(part, path)
    except FileExistsError:
        # A lost reply makes our own link look like another's.
        return _same_file(part, path)
    _fsync(path.parent)
    return True


def _same_file(left: Path, right: Path) -> bool:
    try:
        return os.path.samefile(left, right)
    except OSError:
        return False


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Store:
    """A store's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- where things are

    def task_folder(self, experiment: str, task: str) -> Path:
        return self.root / "runs" / experiment / task

    def run_folder(self, run: RunId) -> Path:
        return self.task_folder(run.experiment, run.task) / run.month / str(run)

    def try_folder(self, run: RunId, name: str) -> Path:
        return self.run_folder(run) / (TRY_PREFIX + name)

    def dataset(self, fingerprint: str) -> Path:
        return self.root / "datasets" / f"{fingerprint}.npz"

    def pin(self, experiment: str, date: str, key: str) -> Path:
        """Which bytes the tasks of one local date use; ``key`` tells apart what the data was made from."""
        return self.root / "datasets" / experiment / f"{date}-{key}.json"

    def snapshot(self, kind: str, digest: str) -> Path:
        suffix = {"program": ".pyz", "code": ".zip", "task": ".json"}[kind]
        return self.root / "snapshots" / kind / (digest + suffix)

    def archive(self, experiment: str) -> Path:
        return self.root / "predictions" / experiment

    def archived(self, run: RunId, record: dict[str, Any]) -> Path:
        """The CSV of an ensemble run in the archive; its name says if another configuration than its own made it."""
        mark = "-other-configuration" if record.get("other_configuration") else ""
        return self.archive(run.experiment) / f"{run.dated_name}{mark}.csv"

    # -- writing

    def put_snapshot(self, kind: str, data: bytes) -> str:
        """Keep these bytes under their hash and return it."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.snapshot(kind, digest)
        if not path.exists():
            publish_bytes(path, data)
        return digest

    def claim(self, experiment: str, task: str, minute: int) -> RunId:
        """The next free attempt at a slot; two claimers never get the same."""
        attempt = 1
        while True:
            run = RunId(minute, attempt, experiment, task)
            folder = self.run_folder(run)
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:
                attempt += 1
            else:
                return run

    def begin_try(self, run: RunId, name: str, mark: dict[str, Any]) -> None:
        """Make a try's folder appear with its start mark inside; later steps of the same try find it."""
        folder = self.try_folder(run, name)
        if folder.exists():
            return
        hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        hidden.mkdir(parents=True)
        write_file(hidden / START, to_json(mark))
        os.rename(hidden, folder)

    def publish(self, run: RunId, name: str) -> bool:
        """Commit a try's folder as the run's result; False if another try was first.

        The folder must hold the record, whose ``try`` is the token by which a try knows its own result.
        """
        source = self.try_folder(run, name)
        target = self.run_folder(run) / RESULT
        for folder, _, files in os.walk(source):
            for file in files:
                _fsync(Path(folder) / file)
            _fsync(Path(folder))
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT, errno.ESTALE):
                raise
            record = read_json(target / RECORD)
            if record is None:
                raise
            return bool(record.get("try") == name)
        _fsync(target.parent)
        return True

    def publish_archive(self, run: RunId) -> Path | None:
        """Link a published ensemble's CSV into the archive; None if a stranger's file has its name.

        Made after the commit, it can be made again at any time.
        """
        result = self.run_folder(run) / RESULT
        target = self.archived(run, self.result(run) or {})
        for csv in sorted((result / MEMBERS).glob("*.csv")):
            self._archive_file(csv, target.with_suffix(".members") / csv.name)
        return target if self._archive_file(result / CSV, target) else None

    def _archive_file(self, source: Path, target: Path) -> bool:
        return publish_file(target, source) or source.read_bytes() == target.read_bytes()

    def heal_archive(self, experiment: str) -> list[Path]:
        """Link what a process that died between commit and link left out of the archive."""
        healed = []
        for run in self.runs(experiment, ENSEMBLE_TASK):
            if run.status == "succeeded" and not self.archived(run.id, run.record).exists():
                path = self.publish_archive(run.id)
                if path is not None:
                    healed.append(path)
        return healed

    # -- reading

    def experiments(self) -> list[str]:
        return _names(self.root / "runs")

    def tasks(self, experiment: str) -> list[str]:
        return _names(self.root / "runs" / experiment)

    def run_ids(self, experiment: str, task: str) -> Iterator[RunId]:
        """Every run's id, newest slot first; names that are not runs are passed over."""
        folder = self.task_folder(experiment, task)
        for month in reversed(_names(folder)):
            found = (parse_run_id(name, experiment, task) for name in _names(folder / month))
            yield from sorted((run for run in found if run is not None), reverse=True)

    def runs(self, experiment: str, task: str) -> Iterator[Run]:
        for run in self.run_ids(experiment, task):
            yield self.read(run)

    def result(self, run: RunId) -> dict[str, Any] | None:
        """The record of a published success, or None."""
        return read_json(self.run_folder(run) / RESULT / RECORD)

    def data_of(self, run: RunId) -> dict[str, Any] | None:
        """What a run's prepare step pinned: by its result, else by the newest of its tries that came so far."""
        folder = self.run_folder(run)
        tries = [name for name in _names(folder) if name.startswith(TRY_PREFIX)]
        started = {name: str((read_json(folder / name / START) or {}).get("time", "")) for name in tries}
        for name in [RESULT, *sorted(tries, key=lambda name: started[name], reverse=True)]:
            known = read_json(folder / name / DATA)
            if known is not None:
                return known
        return None

    def data_problem(self, pinned: dict[str, Any]) -> str:
        """What is wrong with the bytes that a run learnt from; empty if they are there and the same."""
        path = self.dataset(str(pinned["fingerprint"]))
        try:
            digest = sha256_of(path)
        except OSError as error:
            return f"its data {path} cannot be read: {error.strerror}"
        if pinned.get("sha256") not in (None, digest):
            return f"its data {path} is not what it was: the file's sha256 differs"
        return ""

    def snapshot_problem(self, kind: str, digest: str) -> str:
        """What is wrong with a part of a snapshot; empty if it is there and whole."""
        path = self.snapshot(kind, digest)
        try:
            found = sha256_of(path)
        except OSError as error:
            return f"its {kind} {path} cannot be read: {error.strerror}"
        return "" if found == digest else f"its {kind} {path} is damaged: the file's sha256 differs from its name"

    def read(self, run: RunId) -> Run:
        folder = self.run_folder(run)
        tries: list[dict[str, Any]] = []
        for name in _names(folder):
            if name.startswith(TRY_PREFIX):
                start, end = read_json(folder / name / START), read_json(folder / name / END)
                tries.append({"name": name[len(TRY_PREFIX) :], "start": start or {}, "end": end})
        tries.sort(key=lambda each: str(each["start"].get("time", "")))
        record = self.result(run)
        if record is not None:
            return Run(run, folder, "succeeded", "", record, tuple(tries))
        if not tries:
            return Run(run, folder, "died", "ended before its first try began")
        last = tries[-1]
        if last["end"] is not None:
            status = str(last["end"].get("status", "failed"))
            return Run(run, folder, status, str(last["end"].get("reason", "")), {}, tuple(tries))
        alive = is_alive(last["start"].get("process", {}))
        if alive is False:
            return Run(run, folder, "died", "its process ended without a word", {}, tuple(tries))
        reason = "" if alive else "on " + str(last["start"].get("process", {}).get("host", "another machine"))
        return Run(run, folder, "running", reason, {}, tuple(tries))


def _names(folder: Path) -> list[str]:
    """The visible names in a folder, sorted; none if it is absent or gone."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise
