"""The mirror: a copy of the small files of a store that only a cluster can mount, in the user's cache.

An ordinary store as far as it goes, so that everything that reads one reads it; but a run's folder is made when it is first
looked into, and until then its files lie in its month's pack. What is visible is whole: each pack takes the place of the one
before once all of its unit is there (``jobs.remote.changes`` says what a unit is). One command at a time brings it up to
date; what another reads meanwhile is whole too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cronjobs.experiment import StoreVolume
from jobs.contract import RunId, parse_time
from jobs.remote.changes import LEDGER, LENGTH, SNAPSHOTS, digest_of
from jobs.store.files import list_names, read_json, replace_file, to_json
from jobs.store.safe_paths import resolve_inside, split_path, walk_files
from scheduler.cache import cache_folder
from scheduler.kube.errors import KubeError
from scheduler.stores.remote import packs
from scheduler.stores.remote.client import StoreClient
from scheduler.stores.remote.mirror_files import change_folder, make_folder_with, remove_at_once
from scheduler.stores.remote.packs import PackEntry

ReportProgress = Callable[[int, int], None]
"""Called with the number of runs that have arrived so far, and how many there are."""


def mirror_path(server: str, namespace: str, store: StoreVolume) -> Path:
    """The folder of a store's mirror in the user's cache."""
    key = json.dumps([server, namespace, store.as_mapping()], sort_keys=True)
    return cache_folder() / "stores" / hashlib.sha256(key.encode()).hexdigest()[:20]


class Mirror:
    """The copy in ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._packs: dict[tuple[str, str], dict[str, PackEntry]] = {}
        self._unreadable: dict[str, dict[str, str]] = {}

    def updated(self, experiment: str) -> datetime | None:
        """When it was last brought up to date for an experiment, by this machine's clock."""
        time = parse_time((read_json(self._folder(experiment) / "seen.json") or {}).get("time"))
        return None if time is None else datetime.fromtimestamp(time, UTC)

    def update(self, client: StoreClient, experiment: str, progress: ReportProgress | None = None) -> None:
        """Bring it up to date: what has changed or is new is received, what is gone is removed. Can be broken off at any time.

        Raises KubeError.
        """
        with self._locked():
            started = datetime.now(UTC)
            self._packs.clear()
            copied = {unit: packs.read_states(self._unit_file(experiment, unit)) for unit in self._units(experiment)}
            changes = client.find_changes(experiment, {unit: digest_of(states) for unit, states in copied.items()})
            units: dict[str, dict[str, str] | None] = {_checked_unit(unit): states for unit, states in changes["units"].items()}
            for task in changes["tasks"]:
                folder = self.root / "runs" / experiment / _checked_name(task)
                folder.mkdir(parents=True, exist_ok=True)
                _remove_leftovers(folder)
            self._remove_units(experiment, set(changes["tasks"]), set(units))
            requested: dict[str, list[str]] = {}
            unchanged: dict[str, set[str]] = {}
            for unit, changed in units.items():
                known = copied.get(unit, {})
                states = known if changed is None else changed
                self._remove_names(experiment, unit, states)
                current = {name for name, state in states.items() if known.get(name) == state}
                current -= self._lost(unit, current)
                if changed is not None or len(current) < len(states):
                    unchanged[unit] = current
                    requested[unit] = [name for name in states if name not in current]
            self._receive(client, experiment, requested, unchanged, progress)
            self._unreadable.pop(experiment, None)
            unreadable = to_json({"units": changes.get("unreadable") or {}})
            replace_file(self._folder(experiment) / "unreadable.json", unreadable, durable=False)
            updated = to_json({"time": started.isoformat(timespec="seconds")})
            replace_file(self._folder(experiment) / "seen.json", updated, durable=False)

    def keep_revisions(self, experiment: str, revisions: list[dict[str, Any]]) -> None:
        """Remember the cluster's own revisions for when it cannot be asked."""
        replace_file(self._folder(experiment) / "revisions.json", to_json({"revisions": revisions}), durable=False)

    def revisions(self, experiment: str) -> list[dict[str, Any]]:
        """The cluster's own revisions, as they were kept last."""
        revisions = (read_json(self._folder(experiment) / "revisions.json") or {}).get("revisions")
        return [each for each in revisions if isinstance(each, dict)] if isinstance(revisions, list) else []

    def unreadable(self, experiment: str) -> Mapping[str, str]:
        """By unit why it could not be listed in the store; ``<task>/`` where none of a task's could."""
        if experiment not in self._unreadable:
            units = (read_json(self._folder(experiment) / "unreadable.json") or {}).get("units")
            self._unreadable[experiment] = {str(unit): str(why) for unit, why in units.items()} if isinstance(units, dict) else {}
        return self._unreadable[experiment]

    # -- its packs

    def tasks(self, experiment: str) -> list[str]:
        """The tasks that there are packs of."""
        return sorted({unit.partition("/")[0] for unit in self._units(experiment) if "/" in unit})

    def months(self, experiment: str, task: str) -> list[str]:
        """The months of a task that there are packs of."""
        return sorted(unit.partition("/")[2] for unit in self._units(experiment) if unit.startswith(f"{task}/"))

    def pack(self, experiment: str, task: str, month: str) -> dict[str, PackEntry]:
        """The runs of a task and month by name."""
        key = (experiment, f"{task}/{month}")
        if key not in self._packs:
            self._packs[key] = packs.read_pack(self._unit_file(*key))
        return self._packs[key]

    def pack_file(self, experiment: str, task: str, month: str) -> Path:
        """The file of a month's pack."""
        return self._unit_file(experiment, f"{task}/{month}")

    def unpack(self, run: RunId, folder: Path) -> None:
        """Make a run's folder, if the mirror has the run and nobody was first."""
        if str(run) not in self.pack(run.experiment, run.task, run.month):
            return
        with self._locked():
            # Read again: another command may have brought it up to date.
            entry = packs.read_pack(self.pack_file(run.experiment, run.task, run.month)).get(str(run))
            if entry is not None and not folder.exists():
                make_folder_with(folder, entry.folders, entry.files)

    # -- what it holds of each unit

    def _folder(self, experiment: str) -> Path:
        return self.root / ".mirror" / experiment

    def _units(self, experiment: str) -> list[str]:
        names = list_names(self._folder(experiment) / "units")
        return [name.removesuffix(".pack").replace("@", "/") for name in names if name.endswith(".pack")]

    def _unit_file(self, experiment: str, unit: str) -> Path:
        return self._folder(experiment) / "units" / f"{unit.replace('/', '@')}.pack"

    def _remove_units(self, experiment: str, tasks: set[str], units: set[str]) -> None:
        """Remove the months and tasks that are not among these."""
        for unit in set(self._units(experiment)) - units:
            self._unit_file(experiment, unit).unlink(missing_ok=True)
            if unit not in (LEDGER, SNAPSHOTS):
                remove_at_once(self.root / "runs" / experiment / unit)
        for task in set(list_names(self.root / "runs" / experiment)) - tasks:
            remove_at_once(self.root / "runs" / experiment / task)

    def _remove_names(self, experiment: str, unit: str, states: Mapping[str, str]) -> None:
        """Remove what a unit has no longer, also what was written from here and has gone there since."""
        if unit == SNAPSHOTS:
            names = {f"snapshots/task/{name}" for name in list_names(self.root / "snapshots" / "task")}
        elif unit == LEDGER:
            owner = f"experiments/{experiment}.json"
            names = {name for name, _ in walk_files(self.root, f"experiments/{experiment}")}
            names |= {owner} if (self.root / owner).exists() else set()
        else:
            folder = self.root / "runs" / experiment / unit
            for name in set(list_names(folder)) - set(states):
                remove_at_once(folder / name)
            _remove_leftovers(folder)
            return
        for name in names - set(states):
            resolve_inside(self.root, name).unlink(missing_ok=True)

    def _lost(self, unit: str, names: set[str]) -> set[str]:
        """Those files of a unit that somebody took out of the mirror."""
        return {name for name in names if not (self.root / name).is_file()} if unit in (LEDGER, SNAPSHOTS) else set()

    def _receive(
        self,
        client: StoreClient,
        experiment: str,
        requested: Mapping[str, list[str]],
        unchanged: Mapping[str, set[str]],
        progress: ReportProgress | None,
    ) -> None:
        total, received = sum(map(len, requested.values())), 0
        expected = {unit: set(names) for unit, names in requested.items()}
        entries: dict[str, dict[str, PackEntry]] = {unit: {} for unit in requested}
        for head, data in _read_entries(client.stream_changes(experiment, requested)):
            unit = head["unit"]
            if unit not in expected:
                raise KubeError(f"the store sent {unit}, which was not requested")
            if head.get("end"):
                # What was requested and has not arrived is gone.
                before = packs.read_pack(self._unit_file(experiment, unit)) if unchanged[unit] else {}
                kept = {name: entry for name, entry in before.items() if name in unchanged[unit]}
                packs.write_pack(self._unit_file(experiment, unit), {**kept, **entries.pop(unit)})
                continue
            name = head["name"]
            if name not in expected[unit]:
                raise KubeError(f"the store sent {name}, which was not requested")
            if unit in (LEDGER, SNAPSHOTS):
                if not name.startswith(("experiments/", "snapshots/")):
                    raise KubeError(f"the store sent {name!r}, which is not the name of a file in a store")
                replace_file(resolve_inside(self.root, name), data, durable=False)
                entries[unit][name] = PackEntry(head["state"])
            else:
                folder = self.root / "runs" / experiment / unit / _checked_name(name)
                entries[unit][name] = self._keep_run(folder, head, data)
            received += 1
            if progress is not None:
                progress(received, total)

    def _keep_run(self, folder: Path, head: Mapping[str, Any], data: bytes) -> PackEntry:
        """A run's small files; its folder, if there is one, holds nothing else then."""
        files, position = {}, 0
        for name, size in head["files"]:
            files["/".join(split_path(name))] = data[position : position + size]
            position += size
        folders = tuple(_checked_name(name) for name in head["folders"])
        if folder.exists():
            change_folder(folder, folders, files)
        return PackEntry(head["state"], folders, files)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one command changes the mirror; the lock ends with its process."""
        # Other users of this machine must not read what a cluster's volume holds.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """Remove what a command that was killed left; nobody else changes the mirror now."""
    for path in folder.glob(".*"):
        shutil.rmtree(path, ignore_errors=True)


def _read_entries(pieces: Iterator[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The entries of :func:`jobs.remote.changes.stream_changes`; raises KubeError if the last one is not whole."""
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
        raise KubeError("what the store sent did not arrive whole")


def _checked_name(name: str) -> str:
    """A name of one part that the server sent; raises KubeError or UnsafePath for one that leads elsewhere."""
    (part,) = split_path(name)
    if part.startswith("."):
        raise KubeError(f"the store sent {name!r}, which is not the name of a file in a store")
    return part


def _checked_unit(unit: str) -> str:
    if len(split_path(unit)) > 2 or "@" in unit:
        raise KubeError(f"the store sent {unit!r}, which is not the name of a part of a store")
    return unit
