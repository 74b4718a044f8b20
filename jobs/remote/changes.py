"""What a copy of a store's small files lacks: states of what may change, and a stream of what has changed.

Standard library alone, Python 3.9. A copy is kept in units: ``ledger`` (what the store has of the experiment beside its
runs), ``snapshots`` (the tasks' configurations) and ``<task>/<month>``. A unit's states are its names, each with the state of
what has the name (``jobs.store.states``); their digest shows whether a copy is current without sending them.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jobs.contract import RunId, parse_run_id
from jobs.store import LocalStore
from jobs.store.files import MISSING_ERRNOS, unreadable_copy
from jobs.store.regular_files import Unreadable, as_unreadable
from jobs.store.safe_paths import read_inside, walk_files
from jobs.store.states import file_state, fresh_mark, run_state, small_files, stat_state, states_of

LEDGER, SNAPSHOTS = "ledger", "snapshots"
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


def list_units(store: LocalStore, experiment: str, unreadable: dict[str, str]) -> list[str]:
    """Every unit that an experiment has now; a task whose months cannot be listed is added to ``unreadable`` (``<task>/``)."""
    units = [LEDGER, SNAPSHOTS]
    for task in store.tasks(experiment):
        try:
            units += [f"{task}/{month}" for month in store.months(experiment, task)]
        except Unreadable as error:
            unreadable[f"{task}/"] = error.why
    return units


def unit_states(store: LocalStore, experiment: str, unit: str, now: float) -> States:
    """The states of a unit; ``now`` is in seconds since 1970."""
    if unit == LEDGER:
        owner = f"experiments/{experiment}.json"
        states = {owner: file_state(store.root / owner, now), **_file_states(store, f"experiments/{experiment}", now)}
        return {name: state for name, state in states.items() if state}
    if unit == SNAPSHOTS:
        return {name: state for name, state in _file_states(store, "snapshots/task", now).items() if name.endswith(".json")}
    task, _, month = unit.partition("/")
    folder = store.task_folder(experiment, task) / month
    ids = {str(run) for run in store.month_ids(experiment, task, month)}
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name in ids and entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno not in MISSING_ERRNOS:
            raise as_unreadable(error, folder) from error
        return {}
    run_states = states_of([folder / name for name in names], lambda run: run_state(run, now))
    return {name: state_digest(state) for name, state in zip(names, run_states) if state}  # noqa: B905 (Python 3.9 has none)


def state_digest(state: str) -> str:
    """A run's state as it is sent: whole ones would be longer than the files."""
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def _file_states(store: LocalStore, folder: str, now: float) -> States:
    files = walk_files(store.root, folder)
    return {name: stat_state(status) + fresh_mark(status.st_mtime_ns, now) for name, status in files}


# -- changes


def find_changes(store: LocalStore, experiment: str, copy: Mapping[str, str]) -> dict[str, Any]:
    """What a copy lacks that holds of each unit the ``digest`` of its states: ``tasks``, ``units``, ``unreadable`` and ``now``.

    ``units`` has of each its states, or None where the copy is current; ``unreadable`` says of each that cannot be listed why.
    """
    now = time.time()
    changed: dict[str, States | None] = {}
    unreadable: dict[str, str] = {}
    for unit in list_units(store, experiment, unreadable):
        try:
            states = unit_states(store, experiment, unit, now)
        except Unreadable as error:
            unreadable[unit] = error.why
            continue
        changed[unit] = None if copy.get(unit) == digest_of(states) else states
    return {"tasks": store.tasks(experiment), "units": changed, "unreadable": unreadable, "now": now}


def stream_changes(store: LocalStore, experiment: str, requested: Mapping[str, Collection[str]]) -> Iterator[bytes]:
    """What is requested of each unit, compressed (zlib): of each name a length (32 bits, big-endian), a head as JSON, and bytes.

    A head says ``unit``, ``name``, ``state``, and either ``files`` (names within a run, and sizes) and ``folders``,
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
    # Before the bytes: what changes while they are read is sent again.
    state = file_state(store.root / name, now)
    data = _read(store, name)
    if state and data is not None:
        yield _entry({"unit": unit, "name": name, "state": state, "size": len(data)}, data)


def _run_entry(store: LocalStore, run: RunId, unit: str, now: float) -> Iterator[bytes]:
    folder = store.run_folder(run)
    # Before the files: what changes while they are read is sent again.
    state = run_state(folder, now)
    folders, paths = small_files(folder)
    prefix = folder.relative_to(store.root).as_posix()
    contents = {path: _read(store, f"{prefix}/{path}") for path in paths}
    files = {path: data for path, data in contents.items() if data is not None}
    if not state:
        return
    head = {
        "unit": unit,
        "name": str(run),
        "state": state_digest(state),
        "folders": folders,
        "files": [[path, len(data)] for path, data in files.items()],
    }
    yield _entry(head, b"".join(files.values()))


def _read(store: LocalStore, name: str) -> bytes | None:
    """The bytes of a file, or why they cannot be read, in their place; None if it has gone."""
    try:
        return read_inside(store.root, name, LARGEST)
    except Unreadable as error:
        return unreadable_copy(error.why)


def _entry(head: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return LENGTH.pack(len(text)) + text + data
