"""The mirror: a copy of the small files of a store that only a cluster can mount, in the user's cache.

An ordinary store as far as it goes, so that everything that reads one reads it. What is visible in it is whole: a new run
appears by a rename, and a unit's states are written once all of it is there (``jobs.changes`` says what a unit is). One
command at a time brings it up to date; what another reads meanwhile is as whole as ever.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.changes import LEDGER, LENGTH, SNAPSHOTS, digest_of
from jobs.files import names, read_json
from jobs.inside import parts_of, path_in
from scheduler.cluster.failures import ClusterError
from scheduler.cluster.session import Session
from scheduler.venvs import cache_folder

Progress = Callable[[int, int], None]
"""Called with the runs that have come so far, and how many there are."""


def place(server: str, namespace: str, store: Mapping[str, Any]) -> Path:
    """The folder of a store's mirror in the user's cache."""
    key = json.dumps([server, namespace, store], sort_keys=True)
    return cache_folder() / "stores" / hashlib.sha256(key.encode()).hexdigest()[:20]


class Mirror:
    """The copy in ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def seen(self, experiment: str) -> datetime | None:
        """When it was last brought up to date for an experiment, by this machine's clock."""
        told = read_json(self._states(experiment) / "seen.json")
        return datetime.fromisoformat(told["time"]) if told else None

    def update(self, session: Session, experiment: str, progress: Progress | None = None) -> None:
        """Bring it up to date: what has changed or is new comes, what is gone goes. Can be broken off at any time."""
        with self._alone():
            began = datetime.now(UTC)
            held = {unit: self._held(experiment, unit) for unit in self._units(experiment)}
            told = session.look(experiment, {unit: _told(states) for unit, states in held.items()})
            units: dict[str, dict[str, str] | None] = {_unit(unit): states for unit, states in told["units"].items()}
            for task in told["tasks"]:
                folder = self.root / "runs" / experiment / _name(task)
                folder.mkdir(parents=True, exist_ok=True)
                # What a command that was killed left: nobody else is at work here now.
                for left in folder.glob(".*"):
                    shutil.rmtree(left, ignore_errors=True)
            self._forget(experiment, set(told["tasks"]), set(units))
            wanted: dict[str, list[str]] = {}
            for unit, states in units.items():
                if states is not None:
                    known = held.get(unit, {})
                    self._drop(experiment, unit, known, states)
                    wanted[unit] = [name for name, state in states.items() if known.get(name, [None])[0] != state]
            self._receive(session, experiment, wanted, held, progress)
            _write(self._states(experiment) / "seen.json", {"time": began.isoformat(timespec="seconds")})

    def keep_revisions(self, experiment: str, found: list[dict[str, Any]]) -> None:
        """Remember the cluster's own revisions for when it cannot be asked."""
        _write(self._states(experiment) / "revisions.json", {"revisions": found})

    def revisions(self, experiment: str) -> list[dict[str, Any]]:
        return list((read_json(self._states(experiment) / "revisions.json") or {}).get("revisions", []))

    # -- what it holds of each unit: name → [state, whether the run is open]

    def _states(self, experiment: str) -> Path:
        return self.root / ".mirror" / experiment

    def _units(self, experiment: str) -> list[str]:
        folder = self._states(experiment) / "units"
        return [name.removesuffix(".json").replace("@", "/") for name in names(folder) if name.endswith(".json")]

    def _file(self, experiment: str, unit: str) -> Path:
        return self._states(experiment) / "units" / f"{unit.replace('/', '@')}.json"

    def _held(self, experiment: str, unit: str) -> dict[str, list[Any]]:
        return read_json(self._file(experiment, unit)) or {}

    def _forget(self, experiment: str, tasks: set[str], units: set[str]) -> None:
        """Drop the months and tasks that are gone."""
        for unit in set(self._units(experiment)) - units:
            self._file(experiment, unit).unlink(missing_ok=True)
            if unit not in (LEDGER, SNAPSHOTS):
                _remove(self.root / "runs" / experiment / unit)
        for task in set(names(self.root / "runs" / experiment)) - tasks:
            _remove(self.root / "runs" / experiment / task)

    def _drop(self, experiment: str, unit: str, known: Mapping[str, Any], states: Mapping[str, str]) -> None:
        """Drop what a unit no longer has."""
        if unit in (LEDGER, SNAPSHOTS):
            for name in set(known) - set(states):
                path_in(self.root, name).unlink(missing_ok=True)
            return
        folder = self.root / "runs" / experiment / unit
        for name in set(names(folder)) - set(states):
            _remove(folder / name)
        for left in folder.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)

    def _receive(
        self,
        session: Session,
        experiment: str,
        wanted: Mapping[str, list[str]],
        held: Mapping[str, dict[str, list[Any]]],
        progress: Progress | None,
    ) -> None:
        total, come = sum(map(len, wanted.values())), 0
        chosen = {unit: set(found) for unit, found in wanted.items()}
        news: dict[str, dict[str, list[Any]]] = {unit: {} for unit in wanted}
        folders: dict[str, Path] = {}
        for head, data in _entries(session.changed(experiment, wanted)):
            unit = head["unit"]
            if unit not in chosen:
                raise ClusterError(f"the store told of {unit}, which nobody asked for")
            if head.get("end"):
                if unit in folders:
                    _show(folders.pop(unit), self.root / "runs" / experiment / unit)
                # What was asked for and has not come is gone.
                kept = {name: state for name, state in held.get(unit, {}).items() if name not in chosen[unit]}
                present = {name: state for name, state in kept.items() if self._is_there(experiment, unit, name)}
                _write(self._file(experiment, unit), {**present, **news[unit]})
                continue
            name = head["name"]
            if name not in chosen[unit]:
                raise ClusterError(f"the store told of {name}, which nobody asked for")
            if unit in (LEDGER, SNAPSHOTS):
                if not name.startswith(("experiments/", "snapshots/")):
                    raise ClusterError(f"the store told of {name!r}, which is no name of ours")
                _replace(path_in(self.root, name), data)
            else:
                if unit not in folders:
                    folders[unit] = _hidden(self.root / "runs" / experiment / unit)
                _keep(folders[unit], _name(name), head, data)
            news[unit][name] = [head["state"], bool(head.get("open"))]
            come += 1
            if progress is not None:
                progress(come, total)

    def _is_there(self, experiment: str, unit: str, name: str) -> bool:
        path = self.root / name if unit in (LEDGER, SNAPSHOTS) else self.root / "runs" / experiment / unit / name
        return path.exists()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one command changes the mirror; the lock ends with its process."""
        # Others of this machine have no business in what a cluster's volume holds.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _told(states: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {
        "digest": digest_of({name: state for name, (state, _) in states.items()}),
        "open": [name for name, (_, is_open) in states.items() if is_open],
    }


def _entries(pieces: Iterator[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The entries of ``jobs.changes.stream``."""
    buffer = bytearray()

    def fill(size: int) -> bool:
        while len(buffer) < size:
            piece = next(pieces, None)
            if piece is None:
                return False
            buffer.extend(piece)
        return True

    while fill(LENGTH.size):
        end = LENGTH.size + LENGTH.unpack(buffer[: LENGTH.size])[0]
        if not fill(end):
            break
        head = json.loads(buffer[LENGTH.size : end])
        size = head.get("size", 0) + sum(size for _, size in head.get("files", ()))
        if not fill(end + size):
            break
        yield head, bytes(buffer[end : end + size])
        del buffer[: end + size]
    if buffer:
        raise ClusterError("what the store told broke off")


def _hidden(month: Path) -> Path:
    """Where a month's runs are written: itself, or as long as it is not there a hidden folder that then takes its name."""
    if month.exists():
        return month
    hidden = month.parent / f".{month.name}.{uuid.uuid4().hex}"
    hidden.mkdir(parents=True)
    return hidden


def _show(hidden: Path, month: Path) -> None:
    if hidden == month:
        return
    try:
        os.rename(hidden, month)
    except OSError:
        # Another command has claimed a run in it meanwhile.
        for each in hidden.iterdir():
            if not (month / each.name).exists():
                os.rename(each, month / each.name)
        shutil.rmtree(hidden, ignore_errors=True)


def _keep(month: Path, run: str, head: Mapping[str, Any], data: bytes) -> None:
    """A run's small files, and nothing else of it."""
    files, at = {}, 0
    for name, size in head["files"]:
        files["/".join(parts_of(name))] = data[at : at + size]
        at += size
    folders = [_name(name) for name in head["folders"]]
    folder = month / run
    if folder.exists():
        _change(folder, folders, files)
        return
    # Ten thousand of these are made at a first look: by the plainest means.
    hidden = f"{month}/.{run}" if not month.name.startswith(".") else f"{month}/{run}"
    os.mkdir(hidden)
    for name in folders:
        os.mkdir(f"{hidden}/{name}")
    for name, content in files.items():
        with open(f"{hidden}/{name}", "xb", buffering=0) as file:
            file.write(content)
    if hidden != str(folder):
        os.rename(hidden, folder)


def _change(folder: Path, folders: list[str], files: Mapping[str, bytes]) -> None:
    """Make a run's folder hold just these, each of them whole at every moment."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            if name not in folders and not any(each.startswith(f"{name}/") for each in files):
                _remove(path)
        elif name not in files:
            path.unlink(missing_ok=True)
    for each in folders:
        (folder / each).mkdir(exist_ok=True)
    for name, content in files.items():
        _replace(folder / name, content)


def _replace(path: Path, data: bytes) -> None:
    """Without waiting for the disk: what a crash takes comes again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{uuid.uuid4().hex}.part"
    part.write_bytes(data)
    os.replace(part, path)


def _write(path: Path, value: Any) -> None:
    _replace(path, json.dumps(value).encode())


def _remove(path: Path) -> None:
    """Out of sight at once."""
    hidden = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        os.rename(path, hidden)
    except FileNotFoundError:
        return
    if hidden.is_dir() and not hidden.is_symlink():
        shutil.rmtree(hidden, ignore_errors=True)
    else:
        hidden.unlink()


def _name(name: str) -> str:
    """A name of one part, from the far side: never a way out."""
    (part,) = parts_of(name)
    if part.startswith("."):
        raise ClusterError(f"the store told of {name!r}, which is no name of ours")
    return part


def _unit(unit: str) -> str:
    if len(parts_of(unit)) > 2 or "@" in unit:
        raise ClusterError(f"the store told of {unit!r}, which is no unit of ours")
    return unit
