"""Makes a store as years of hourly runs of five members and their ensemble leave it, fast: two in a hundred failed.

python benchmarks/large_store.py FOLDER RUNS      `config.yaml` and `store/` in a new folder; a million runs take 16 GB

Documents have their checksums, results the files that their records list, so that `fsck` finds nothing wrong. What is the same in
all runs (logs, models, CSVs) is one file with many names, which no command can tell from copies.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.datasets import fingerprint_of
from jobs.store.document_checksum import fill
from jobs.store.files import to_document

EXPERIMENT = "digits"
MEMBERS = ["tensorflow", "jax", "torch", "theano", "cntk"]
TASKS = [*(f"train-{name}" for name in MEMBERS), "ensemble"]
CONFIG = "experiment: digits\nstore: ./store\nbackends: {%s}\nensemble: {quorum: 2}\n"
_LINKS = 30_000
"""Names of a file before another copy is made: ext4 allows 65,000."""
_SHARED = {c.START: b'{"schema": 1}\n', "model.keras": b"weights\n" * 8, c.CSV: b"item,class\n0,1\n"}
"""The files that are the same in all results."""


def build(root: Path, runs: int) -> None:
    """Make the store of a configuration in ``root``, with so many runs, the last of this hour."""
    store = LocalStore(root / "store")
    (root / "config.yaml").write_text(CONFIG % ", ".join(f"{name}: {{}}" for name in MEMBERS))
    now = int(time.time() // 3600) * 60
    began = now - (runs // len(TASKS) + 1) * 60
    plan = {"schedule": "0 * * * *", "timezone": "UTC", "concurrency": "Forbid", "starting_deadline": 3600, "deadline": 3600}
    digests = {kind: store.put_snapshot(kind, kind.encode()) for kind in ("program", "code")}
    digests["task"] = store.put_snapshot("task", b"{}")
    fingerprint = _add_dataset(store)
    revision = {"revision": 1, "time": _iso(began * 60 + 60), "engine": "host:bench", "what": "serve", "by": "bench", "folded": 1}
    tasks = {name: {**plan, **digests} for name in TASKS}
    store.ledger.add_revision(EXPERIMENT, {**revision, "program": digests["program"], "code": digests["code"], "tasks": tasks})
    store.ledger.take_ownership(EXPERIMENT, {"engine": "host:bench", "by": "bench", "time": _iso(began * 60)}, 0)
    store.archive_folder(EXPERIMENT).mkdir(parents=True)
    numbers = [range(n, runs, len(TASKS)) for n in range(len(TASKS))]
    with ProcessPoolExecutor() as pool:
        list(
            pool.map(
                _build_task,
                [root] * len(TASKS),
                TASKS,
                [now] * len(TASKS),
                numbers,
                [digests] * len(TASKS),
                [fingerprint] * len(TASKS),
            )
        )


def _build_task(root: Path, task: str, now: int, numbers: range, digests: dict[str, str], fingerprint: str) -> None:
    """The runs of a task: the numbers are those of all runs, newest first."""
    store = LocalStore(root / "store")
    record, end = _template(_record(task, digests, fingerprint)), _template(_end())
    shared = {name: _Copies(root / f".{task}-{name}", data) for name, data in _SHARED.items()}
    claim = _Copies(root / f".{task}-{c.CLAIM}", to_document({"schema": 1, "kind": "scheduled"}))
    begin = _template(_start())
    names = [c.START, c.CSV] if task == c.ENSEMBLE_TASK else [c.START, "model.keras"]
    months: dict[str, int] = {}
    for n in numbers:
        minute = now - n // len(TASKS) * 60
        run = RunId(minute, 1, EXPERIMENT, task)
        folder = str(store.run_folder(run))
        month = os.path.dirname(folder)
        if month not in months:
            os.makedirs(month)
            # The folder of a month changed last when its last run began.
            months[month] = minute * 60
        os.mkdir(folder)
        claim.link(f"{folder}/{c.CLAIM}")
        if _has_failed(n):
            os.mkdir(f"{folder}/try-a")
            _write(f"{folder}/try-a/{c.START}", begin(run, n))
            _write(f"{folder}/try-a/{c.END}", end(run, n))
            continue
        result = f"{folder}/{c.RESULT}"
        os.mkdir(result)
        _write(f"{result}/{c.RECORD}", record(run, n))
        os.link(f"{result}/{c.RECORD}", f"{folder}/{c.RECORD_TRACE}")
        for name in names:
            shared[name].link(f"{result}/{name}")
        if task == c.ENSEMBLE_TASK:
            shared[c.CSV].link(f"{store.archive_folder(EXPERIMENT)}/{run.dated_name}.csv")
    for month, changed in months.items():
        os.utime(month, (changed, changed))
    for copies in (*shared.values(), claim):
        copies.source.unlink(missing_ok=True)


def _has_failed(number: int) -> bool:
    return number % 50 == 7


def _add_dataset(store: LocalStore) -> str:
    """Prepared data of no bytes; its fingerprint."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }\n"
    source = store.root / "data.npz"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("train_x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    fingerprint = fingerprint_of(source)
    store.put_dataset(fingerprint, source)
    source.unlink()
    return fingerprint


class _Copies:
    """A file that gets many names."""

    def __init__(self, source: Path, data: bytes) -> None:
        self.source, self._data, self._left = source, data, 0

    def link(self, path: str) -> None:
        """Give it one more."""
        if not self._left:
            self.source.unlink(missing_ok=True)
            self.source.write_bytes(self._data)
            self._left = _LINKS
        os.link(self.source, path)
        self._left -= 1


def _write(path: str, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(handle, data)
    os.close(handle)


def _template(document: dict[str, Any]) -> Callable[[RunId, int], bytes]:
    """A function that gives the document of a run: its id, the members' runs of its slot and its times put in place."""
    text = to_document(document).decode()
    text = text[: text.index('"checksum": "') + 13] + "0" * 64 + text[text.index('"checksum": "') + 13 + 64 :]

    def of_run(run: RunId, number: int) -> bytes:
        start = run.minute * 60
        values = [("@run", str(run)), ("@started", _iso(start + 3)), ("@ended", _iso(start + 600))]
        for n, name in enumerate(MEMBERS):
            # An ensemble's number is five more than its first member's.
            has_failed = _has_failed(number - len(MEMBERS) + n)
            values.append((f"@{name}", str(run.minute - 60 if has_failed else run.minute)))
        filled = text
        for name, value in values:
            filled = filled.replace(name, value)
        return fill(filled.encode())

    return of_run


def _start() -> dict[str, Any]:
    return {"schema": 1, "run": "@run", "try": "a", "time": "@started", "kind": "scheduled", "process": {"host": "bench"}}


def _end() -> dict[str, Any]:
    return {"run_id": "@run", "try": "a", "time": "@ended", "status": "failed", "reason": "train ended with exit status 1"}


def _record(task: str, digests: dict[str, str], fingerprint: str) -> dict[str, Any]:
    metrics = {"metrics": {"accuracy": 0.97, "loss": 0.11, "epochs": 50}, "accuracy": 0.97, "model": {"file": "model.keras"}}
    members = [{"member": name, "run": f"{EXPERIMENT}-train-{name}-@{name}", "accuracy": 0.9} for name in MEMBERS]
    combined = {name: {"weight": 0.2, "accuracy": 0.9, "accuracy_here": 0.95, "loss": 0.2} for name in MEMBERS}
    ensemble = {"ensemble": {"accuracy": 0.98, "loss": 0.1, "members": combined}, "accuracy": 0.98, "members": members}
    own = [c.START, c.CSV] if task == c.ENSEMBLE_TASK else [c.START, "model.keras"]
    files = {name: {"size": len(_SHARED[name]), "sha256": hashlib.sha256(_SHARED[name]).hexdigest()} for name in own}
    return {
        "schema": 1,
        "run": "@run",
        "try": "a",
        "task": task,
        "kind": "scheduled",
        "started": "@started",
        "finished": "@ended",
        "snapshot": digests,
        "hyperparameters": {"epochs": 50, "batch_size": 32, "patience": 1, "optimizer": "rmsprop", "learning_rate": 0.001},
        "data": {"fingerprint": fingerprint, "files": {}, "class_names": [str(n) for n in range(10)]},
        "versions": {"keras": "3.12.0", "numpy": "2.3.5", "python": "3.12.8", "tensorflow": "2.20.0"},
        "files": files,
        **(ensemble if task == c.ENSEMBLE_TASK else metrics),
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> None:
    folder, runs = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True)
    began = time.monotonic()
    build(folder, runs)
    print(f"{runs} runs in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
