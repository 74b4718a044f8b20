"""What a copy of a store's small files lacks: states of what may change, and a stream of what has changed.

Standard library alone, Python 3.9. A copy is kept in units: ``ledger`` (what the store has of the experiment beside its
runs), ``snapshots`` (the tasks' configurations) and ``<task>/<month>``. A unit's states are its names, each with a text that
differs when what has the name does; their digest shows whether a copy is current without sending them.

What may still change in a run: everything that comes beside its result (observed, removed, verdict) changes its folder's
mtime, and so do tries and the result itself. A run without a result may also get a new end inside a try, so that the states
of its tries count too while it is open.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.contract import END, RECORD, RESULT, SELECTION, START, TRY_PREFIX, RunId, Status, parse_run_id
from jobs.store import LocalStore
from jobs.store.files import MISSING_ERRNOS, list_names
from jobs.store.reading import SETTLED
from jobs.store.safe_paths import read_inside, walk_files

LEDGER, SNAPSHOTS = "ledger", "snapshots"
FRESH = 60
"""What changed within so many seconds of now may change again without its mtime differing: it is sent again."""
LARGEST = 1 << 24
"""Bytes of a file that is part of a copy."""
CHUNK = 1 << 18
"""Bytes that are sent at a time."""
LENGTH = struct.Struct(">I")
"""Before each head in the stream: its length."""

States = dict[str, str]


def digest_of(states: Mapping[str, str]) -> str:
    """The same for the same names and states, in whatever order."""
    return hashlib.sha256("\n".join(f"{name} {states[name]}" for name in sorted(states)).encode()).hexdigest()[:24]


# -- states


def list_units(store: LocalStore, experiment: str) -> list[str]:
    """Every unit that an experiment has now."""
    months = [f"{task}/{month}" for task in store.tasks(experiment) for month in store.months(experiment, task)]
    return [LEDGER, SNAPSHOTS, *months]


def unit_states(store: LocalStore, experiment: str, unit: str, open_runs: Collection[str], now: float) -> States:
    """The states of a unit; ``open_runs`` are those that a copy holds as open, ``now`` is in seconds since 1970."""
    if unit == LEDGER:
        files = {name: (size, mtime) for name, size, mtime in walk_files(store.root, f"experiments/{experiment}")}
        owner = f"experiments/{experiment}.json"
        status = _lstat(store.root / owner)
        if status is not None and stat.S_ISREG(status.st_mode):
            files[owner] = (status.st_size, status.st_mtime_ns)
        return {name: _file_state(size, mtime, now) for name, (size, mtime) in files.items()}
    if unit == SNAPSHOTS:
        # Named by their content.
        return {name: "" for name, _, _ in walk_files(store.root, "snapshots/task") if name.endswith(".json")}
    task, _, month = unit.partition("/")
    folder = store.task_folder(experiment, task) / month
    runs = {str(run) for run in store.month_ids(experiment, task, month)}
    states = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in runs and entry.is_dir(follow_symlinks=False):
                    states[entry.name] = run_state(Path(entry.path), entry.name in open_runs, now)
    except OSError as error:
        if error.errno not in MISSING_ERRNOS:
            raise
    return states


def run_state(folder: Path, is_open: bool, now: float) -> str:
    """The state of a run's folder; of one that is open, with those of its tries."""
    # Listed first: else a client of NFS may give the mtimes of up to a minute ago.
    names = list_names(folder) if is_open else []
    status = _lstat(folder)
    state = "" if status is None else _state(status.st_mtime_ns, now)
    for name in names:
        if name.startswith(TRY_PREFIX):
            list_names(folder / name)
            status = _lstat(folder / name)
            state += "" if status is None else f" {name}:{_state(status.st_mtime_ns, now)}"
    return state


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in MISSING_ERRNOS:
            return None
        raise


def _state(mtime: int, now: float) -> str:
    # With the present time in it, it differs the next time.
    return str(mtime) if mtime / 1e9 < now - FRESH else f"{mtime}@{now:.0f}"


def _file_state(size: int, mtime: int, now: float) -> str:
    return f"{size}-{_state(mtime, now)}"


# -- changes


def find_changes(store: LocalStore, experiment: str, copy: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a copy lacks that holds of each unit ``digest`` and ``open`` (runs): ``tasks``, ``units`` and ``now``.

    ``units`` has of each its states, or None where the copy is current.
    """
    now = time.time()
    changed: dict[str, States | None] = {}
    for unit in list_units(store, experiment):
        copied = copy.get(unit, {})
        states = unit_states(store, experiment, unit, set(copied.get("open", ())), now)
        changed[unit] = None if copied.get("digest") == digest_of(states) else states
    return {"tasks": store.tasks(experiment), "units": changed, "now": now}


def stream_changes(store: LocalStore, experiment: str, requested: Mapping[str, Collection[str]]) -> Iterator[bytes]:
    """What is requested of each unit, compressed (zlib): of each name a length (32 bits, big-endian), a head as JSON, and bytes.

    A head says ``unit``, ``name``, ``state``, and either ``files`` (names within a run, and sizes), ``folders`` and ``open``,
    or ``size``; one that says ``end`` ends its unit. What has gone meanwhile is left out.
    """
    compressor = zlib.compressobj(3)
    parts, size = [], 0
    for entry in _entries(store, experiment, requested):
        part = compressor.compress(entry)
        parts.append(part)
        size += len(part)
        if size >= CHUNK:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join([*parts, compressor.flush()])


def _entries(store: LocalStore, experiment: str, requested: Mapping[str, Collection[str]]) -> Iterator[bytes]:
    now = time.time()
    for unit, names in requested.items():
        task, _, month = unit.partition("/")
        for name in sorted(names):
            if unit in (LEDGER, SNAPSHOTS):
                yield from _file_entry(store, experiment, unit, name, now)
                continue
            run = parse_run_id(name, experiment, task)
            if run is not None and run.month == month:
                yield from _run_entry(store, run, unit, now)
        yield _entry({"unit": unit, "end": True})


def _file_entry(store: LocalStore, experiment: str, unit: str, name: str, now: float) -> Iterator[bytes]:
    is_owner = name == f"experiments/{experiment}.json"
    if not is_owner and not name.startswith((f"experiments/{experiment}/", "snapshots/task/")):
        return
    status = _lstat(store.root / name)
    data = read_inside(store.root, name, LARGEST)
    if status is not None and data is not None:
        state = "" if unit == SNAPSHOTS else _file_state(status.st_size, status.st_mtime_ns, now)
        yield _entry({"unit": unit, "name": name, "state": state, "size": len(data)}, data)


def _run_entry(store: LocalStore, run: RunId, unit: str, now: float) -> Iterator[bytes]:
    folder = store.run_folder(run)
    # Before the files: what changes while they are read is sent again.
    closed_state, open_state = run_state(folder, False, now), run_state(folder, True, now)
    names = list_names(folder)
    paths = [name for name in names if name.endswith(".json")]
    folders = [name for name in names if name == RESULT or name.startswith(TRY_PREFIX)]
    for name in folders:
        paths += [f"{name}/{file}" for file in ([RECORD] if name == RESULT else [START, END, SELECTION])]
    prefix = folder.relative_to(store.root).as_posix()
    contents = {path: read_inside(store.root, f"{prefix}/{path}", LARGEST) for path in paths}
    files = {path: data for path, data in contents.items() if data is not None}
    if not names and _lstat(folder) is None:
        return
    is_open = f"{RESULT}/{RECORD}" not in files and not _is_settled(store, run, now)
    head = {
        "unit": unit,
        "name": str(run),
        "state": open_state if is_open else closed_state,
        "open": is_open,
        "folders": folders,
        "files": [[path, len(data)] for path, data in files.items()],
    }
    yield _entry(head, b"".join(files.values()))


def _entry(head: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return LENGTH.pack(len(text)) + text + data


def _is_settled(store: LocalStore, run_id: RunId, now: float) -> bool:
    """Whether a run without a result is taken to stay as it is, but for what comes beside its tries."""
    run = store.read(run_id)
    if "run" in run.removed:
        return True
    if run.status in (Status.RUNNING, Status.UNKNOWN, Status.DIED) or not run.tries:
        return False
    ends = [str((attempt["end"] or {}).get("time", "")) for attempt in run.tries]
    try:
        return all(datetime.fromisoformat(end.replace("Z", "+00:00")).timestamp() < now - SETTLED for end in ends)
    except ValueError:
        return False
