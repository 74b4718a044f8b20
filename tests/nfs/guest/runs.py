"""Runs as their programs leave them in a store, made by the store's own interface."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.files import to_json, write_file
from jobs.store.process_identity import process_identity

MINUTE = 29_924_640
EXPERIMENT = "e"
TIME = "2026-11-23T06:00:00.000Z"


def run_of(number: int, task: str = c.ENSEMBLE_TASK, attempt: int = 1) -> RunId:
    return RunId(MINUTE + number, attempt, EXPERIMENT, task)


def csv_of(run: RunId, name: str) -> bytes:
    """Two kilobytes that tell whose they are."""
    return (f"{run} {name}\n" * 200)[:2000].encode()


def begin(store: LocalStore, run: RunId, name: str) -> Path:
    mark = {"schema": 1, "run": str(run), "try": name, "time": TIME, "kind": "scheduled", "process": process_identity()}
    store.begin_try(run, name, mark)
    return store.try_folder(run, name)


def write(store: LocalStore, run: RunId, name: str, **more: Any) -> None:
    """What a run's steps leave in a try's folder, up to the commit."""
    folder = begin(store, run, name)
    data = csv_of(run, name)
    (folder / c.MEMBERS).mkdir(exist_ok=True)
    # As a child writes: without fsync.
    (folder / c.CSV).write_bytes(data)
    (folder / c.MEMBERS / "m.csv").write_bytes(data)
    record = {"schema": 1, "run": str(run), "try": name, "finished": TIME, "kind": "scheduled", **more}
    write_file(folder / c.RECORD, to_json({**record, "sha256": hashlib.sha256(data).hexdigest()}))


def faults_of(folder: Path, run: RunId, record: Mapping[str, Any]) -> list[str]:
    """What is wrong with a result's files, as the server or a client has them."""
    expected = csv_of(run, str(record["try"]))
    paths = [folder / c.CSV, folder / c.MEMBERS / "m.csv"]
    return [f"{path} differs" for path in paths if path.read_bytes() != expected]
