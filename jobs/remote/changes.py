"""What a copy of a store's small files lacks: states of what may change, and a stream of what has changed.

Standard library alone, Python 3.9. A copy is kept in units: ``ledger`` (what the store has of the experiment beside its
runs), ``snapshots`` (the tasks' configurations) and ``<task>/<month>``. A unit's states are its names, each with a text that
differs when what has the name does; their digest tells whether a copy is current without sending them.

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
from jobs.store.safe_paths import read_inside, walk_files

LEDGER, SNAPSHOTS = "ledger", "snapshots"
SETTLED = 14 * 86400
"""Seconds after its end from which on a failed run is taken to get no other try."""
FRESH = 60
"""What changed within so many seconds of now may change again without its mtime telling: it is sent again."""
LARGEST = 1 << 24
"""Bytes of a file that is part of a copy."""
CHUNK = 1 << 18
LENGTH = struct.Struct(">I")

States = dict[str, str]


def digest_of(states: Mapping[str, str]) -> str:
    """The same for the same names and states, in whatever order."""
    return hashlib.sha256("\n".join(f"{name} {states[name]}" for name in sorted(states)).encode()).hexdigest()[:24]


def list_units(store: LocalStore, experiment: str) -> list[str]:
    """Every unit that an experiment has now."""
    months = [f"{task}/{month}" for task in store.tasks(experiment) for month in store.months(experiment, task)]
    return [LEDGER, SNAPSHOTS, *months]


def unit_states(store: LocalStore, experiment: str, unit: str, is_open: Collection[str], now: float) -> States:
    """The states of a unit; ``is_open`` are the runs that a copy holds as open."""
    if unit == LEDGER:
        found = {name: (size, mtime) for name, size, mtime in walk_files(store.root, f"experiments/{experiment}")}
        owner = f"experiments/{experiment}.json"
        told = _stat(store.root / owner)
        if told is not None and stat.S_ISREG(told.st_mode):
            found[owner] = (told.st_size, told.st_mtime_ns)
        return {name: f"{size}-{_state(mtime, now)}" for name, (size, mtime) in found.items()}
    if unit == SNAPSHOTS:
        # Named by their content.
        return {name: "" for name, _, _ in walk_files(store.root, "snapshots/task") if name.endswith(".json")}
    task, _, month = unit.partition("/")
    folder = store.task_folder(experiment, task) / month
    known = {str(run) for run in store.month_ids(experiment, task, month)}
    states = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in known and entry.is_dir(follow_symlinks=False):
                    states[entry.name] = run_state(Path(entry.path), entry.name in is_open, now)
    except OSError as error:
        if error.errno not in MISSING_ERRNOS:
            raise
    return states


def run_state(folder: Path, is_open: bool, now: float) -> str:
    """The state of a run's folder; of one that is open, with those of its tries."""
    # Listed first: else a client of NFS may tell the mtimes of up to a minute ago.
    found = list_names(folder) if is_open else []
    told = _stat(folder)
    state = "" if told is None else _state(told.st_mtime_ns, now)
    if is_open:
        for name in found:
            if name.startswith(TRY_PREFIX):
                list_names(folder / name)
                inner = _stat(folder / name)
                state += "" if inner is None else f" {name}:{_state(inner.st_mtime_ns, now)}"
    return state


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in MISSING_ERRNOS:
            return None
        raise


def _state(mtime: int, now: float) -> str:
    # With the time of this look in it, it differs at the next.
    return str(mtime) if mtime / 1e9 < now - FRESH else f"{mtime}@{now:.0f}"


def find_changes(store: LocalStore, experiment: str, held: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a copy that holds ``held`` (unit: ``digest``, ``open``) lacks: of each unit its states, or None if it is current."""
    now = time.time()
    told: dict[str, Any] = {}
    for unit in list_units(store, experiment):
        has = held.get(unit, {})
        states = unit_states(store, experiment, unit, set(has.get("open", ())), now)
        told[unit] = None if has.get("digest") == digest_of(states) else states
    return {"tasks": store.tasks(experiment), "units": told, "now": now}


def stream_changes(store: LocalStore, experiment: str, wanted: Mapping[str, Collection[str]]) -> Iterator[bytes]:
    """What is wanted of each unit, compressed (zlib): entries of a length (32 bits, big-endian), a head as JSON, and bytes.

    A head says ``unit``, ``name``, ``state``, and either ``files`` (names within a run, and sizes), ``folders`` and ``open``,
    or ``size``; one that says ``end`` ends its unit. What has gone meanwhile is left out.
    """
    packer = zlib.compressobj(3)
    waiting, size = [], 0
    for entry in _entries(store, experiment, wanted):
        part = packer.compress(entry)
        waiting.append(part)
        size += len(part)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join([*waiting, packer.flush()])


def _entries(store: LocalStore, experiment: str, wanted: Mapping[str, Collection[str]]) -> Iterator[bytes]:
    now = time.time()
    for unit, chosen in wanted.items():
        task, _, month = unit.partition("/")
        for name in sorted(chosen):
            if unit in (LEDGER, SNAPSHOTS):
                if name in (f"experiments/{experiment}.json",) or name.startswith(
                    (f"experiments/{experiment}/", "snapshots/task/")
                ):
                    told = _stat(store.root / name)
                    data = read_inside(store.root, name, LARGEST)
                    if told is not None and data is not None:
                        state = "" if unit == SNAPSHOTS else f"{told.st_size}-{_state(told.st_mtime_ns, now)}"
                        yield _entry({"unit": unit, "name": name, "state": state, "size": len(data)}, data)
                continue
            run = parse_run_id(name, experiment, task)
            if run is not None and run.month == month:
                yield from _run(store, run, unit, now)
        yield _entry({"unit": unit, "end": True})


def _entry(head: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return LENGTH.pack(len(text)) + text + data


def _run(store: LocalStore, run: RunId, unit: str, now: float) -> Iterator[bytes]:
    folder = store.run_folder(run)
    # Before the files: what changes while they are read is sent again.
    simple = run_state(folder, False, now)
    inner = run_state(folder, True, now)
    found = list_names(folder)
    base = [name for name in found if name.endswith(".json")]
    folders = [name for name in found if name == RESULT or name.startswith(TRY_PREFIX)]
    for name in folders:
        own = [RECORD] if name == RESULT else [START, END, SELECTION]
        base += [f"{name}/{each}" for each in own]
    within = folder.relative_to(store.root).as_posix()
    files = {name: read_inside(store.root, f"{within}/{name}", LARGEST) for name in base}
    there = {name: data for name, data in files.items() if data is not None}
    if not found and _stat(folder) is None:
        return
    is_open = f"{RESULT}/{RECORD}" not in there and not _is_settled(store, run, now)
    head = {
        "unit": unit,
        "name": str(run),
        "state": inner if is_open else simple,
        "open": is_open,
        "folders": folders,
        "files": [[name, len(data)] for name, data in there.items()],
    }
    yield _entry(head, b"".join(there.values()))


def _is_settled(store: LocalStore, run: RunId, now: float) -> bool:
    """Whether a run without a result is taken to stay as it is, but for what comes beside its tries."""
    told = store.read(run)
    if "run" in told.removed:
        return True
    if told.status in (Status.RUNNING, Status.UNKNOWN, Status.DIED) or not told.tries:
        return False
    ends = [str((each["end"] or {}).get("time", "")) for each in told.tries]
    try:
        return all(datetime.fromisoformat(end.replace("Z", "+00:00")).timestamp() < now - SETTLED for end in ends)
    except ValueError:
        return False
