"""The mirror: a copy of the small files of a store that only a cluster can mount, in the user's cache.

An ordinary store as far as it goes, so that everything that reads one reads it; but a run's folder is made when it is first
looked into, and until then its files lie in its month's pack. What is visible is whole: each pack takes the place of the one
before once all of its unit is there (``jobs.remote.changes`` says what a unit is). One command at a time brings it up to
date; what another reads meanwhile is as whole as ever.
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
from jobs.contract import RunId
from jobs.remote.changes import LEDGER, LENGTH, SNAPSHOTS, digest_of
from jobs.store.files import list_names, read_json, replace_file, to_json
from jobs.store.safe_paths import resolve_inside, split_path
from scheduler.cache import cache_folder
from scheduler.kube.errors import KubeError
from scheduler.stores.remote import packs
from scheduler.stores.remote.client import StoreClient
from scheduler.stores.remote.mirror_files import change_folder, make_folder_with, remove_at_once
from scheduler.stores.remote.packs import PackEntry

Progress = Callable[[int, int], None]
"""Called with the runs that have come so far, and how many there are."""


def mirror_path(server: str, namespace: str, store: StoreVolume) -> Path:
    """The folder of a store's mirror in the user's cache."""
    key = json.dumps([server, namespace, store.as_mapping()], sort_keys=True)
    return cache_folder() / "stores" / hashlib.sha256(key.encode()).hexdigest()[:20]


class Mirror:
    """The copy in ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._packs: dict[tuple[str, str], dict[str, PackEntry]] = {}

    def updated(self, experiment: str) -> datetime | None:
        """When it was last brought up to date for an experiment, by this machine's clock."""
        told = read_json(self._states(experiment) / "seen.json")
        return datetime.fromisoformat(told["time"]) if told else None

    def update(self, session: StoreClient, experiment: str, progress: Progress | None = None) -> None:
        """Bring it up to date: what has changed or is new comes, what is gone goes. Can be broken off at any time."""
        with self._alone():
            began = datetime.now(UTC)
            self._packs.clear()
            held = {unit: packs.read_states(self._file(experiment, unit)) for unit in self._units(experiment)}
            told = session.find_changes(experiment, {unit: _told(states) for unit, states in held.items()})
            units: dict[str, dict[str, str] | None] = {_unit(unit): states for unit, states in told["units"].items()}
            for task in told["tasks"]:
                folder = self.root / "runs" / experiment / _name(task)
                folder.mkdir(parents=True, exist_ok=True)
                # What a command that was killed left: nobody else is at work here now.
                for left in folder.glob(".*"):
                    shutil.rmtree(left, ignore_errors=True)
            self._forget(experiment, set(told["tasks"]), set(units))
            wanted: dict[str, list[str]] = {}
            kept: dict[str, set[str]] = {}
            for unit, states in units.items():
                if states is not None:
                    known = held.get(unit, {})
                    self._drop(experiment, unit, known, states)
                    same = [name for name, state in states.items() if name in known and known[name][0] == state]
                    kept[unit] = set(same)
                    wanted[unit] = [name for name in states if name not in kept[unit]]
            self._receive(session, experiment, wanted, kept, progress)
            updated = to_json({"time": began.isoformat(timespec="seconds")})
            replace_file(self._states(experiment) / "seen.json", updated, durable=False)

    def keep_revisions(self, experiment: str, found: list[dict[str, Any]]) -> None:
        """Remember the cluster's own revisions for when it cannot be asked."""
        replace_file(self._states(experiment) / "revisions.json", to_json({"revisions": found}), durable=False)

    def revisions(self, experiment: str) -> list[dict[str, Any]]:
        return list((read_json(self._states(experiment) / "revisions.json") or {}).get("revisions", []))

    # -- its packs

    def tasks(self, experiment: str) -> list[str]:
        return sorted({unit.partition("/")[0] for unit in self._units(experiment) if "/" in unit})

    def months(self, experiment: str, task: str) -> list[str]:
        return sorted(month for each, slash, month in (unit.partition("/") for unit in self._units(experiment)) if each == task)

    def pack(self, experiment: str, task: str, month: str) -> dict[str, PackEntry]:
        """The runs of a task and month by name."""
        key = (experiment, f"{task}/{month}")
        if key not in self._packs:
            self._packs[key] = packs.read_pack(self._file(*key))
        return self._packs[key]

    def pack_file(self, experiment: str, task: str, month: str) -> Path:
        return self._file(experiment, f"{task}/{month}")

    def unpack(self, run: RunId, folder: Path) -> None:
        """Make a run's folder, if the mirror has the run and nobody was first."""
        if str(run) not in self.pack(run.experiment, run.task, run.month):
            return
        with self._alone():
            # As it is by now: another command may have brought it up to date.
            known = packs.read_pack(self.pack_file(run.experiment, run.task, run.month)).get(str(run))
            if known is not None and not folder.exists():
                make_folder_with(folder, known.folders, known.files)

    # -- what it holds of each unit

    def _states(self, experiment: str) -> Path:
        return self.root / ".mirror" / experiment

    def _units(self, experiment: str) -> list[str]:
        folder = self._states(experiment) / "units"
        return [name.removesuffix(".pack").replace("@", "/") for name in list_names(folder) if name.endswith(".pack")]

    def _file(self, experiment: str, unit: str) -> Path:
        return self._states(experiment) / "units" / f"{unit.replace('/', '@')}.pack"

    def _forget(self, experiment: str, tasks: set[str], units: set[str]) -> None:
        """Drop the months and tasks that are gone."""
        for unit in set(self._units(experiment)) - units:
            self._file(experiment, unit).unlink(missing_ok=True)
            if unit not in (LEDGER, SNAPSHOTS):
                remove_at_once(self.root / "runs" / experiment / unit)
        for task in set(list_names(self.root / "runs" / experiment)) - tasks:
            remove_at_once(self.root / "runs" / experiment / task)

    def _drop(self, experiment: str, unit: str, known: Mapping[str, Any], states: Mapping[str, str]) -> None:
        """Drop what a unit no longer has."""
        if unit in (LEDGER, SNAPSHOTS):
            for name in set(known) - set(states):
                resolve_inside(self.root, name).unlink(missing_ok=True)
            return
        folder = self.root / "runs" / experiment / unit
        for name in set(list_names(folder)) - set(states):
            remove_at_once(folder / name)
        for left in folder.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)

    def _receive(
        self,
        session: StoreClient,
        experiment: str,
        wanted: Mapping[str, list[str]],
        kept: Mapping[str, set[str]],
        progress: Progress | None,
    ) -> None:
        total, come = sum(map(len, wanted.values())), 0
        chosen = {unit: set(found) for unit, found in wanted.items()}
        news: dict[str, dict[str, PackEntry]] = {unit: {} for unit in wanted}
        for head, data in _entries(session.stream_changes(experiment, wanted)):
            unit = head["unit"]
            if unit not in chosen:
                raise KubeError(f"the store told of {unit}, which nobody asked for")
            if head.get("end"):
                # What was asked for and has not come is gone.
                before = packs.read_pack(self._file(experiment, unit)) if kept[unit] else {}
                same = {name: each for name, each in before.items() if name in kept[unit]}
                packs.write_pack(self._file(experiment, unit), {**same, **news.pop(unit)})
                continue
            name = head["name"]
            if name not in chosen[unit]:
                raise KubeError(f"the store told of {name}, which nobody asked for")
            if unit in (LEDGER, SNAPSHOTS):
                if not name.startswith(("experiments/", "snapshots/")):
                    raise KubeError(f"the store told of {name!r}, which is no name of ours")
                replace_file(resolve_inside(self.root, name), data, durable=False)
                news[unit][name] = PackEntry(head["state"])
            else:
                news[unit][name] = self._keep(self.root / "runs" / experiment / unit / _name(name), head, data)
            come += 1
            if progress is not None:
                progress(come, total)

    def _keep(self, folder: Path, head: Mapping[str, Any], data: bytes) -> PackEntry:
        """A run's small files; its folder, if there is one, holds nothing else then."""
        files, at = {}, 0
        for name, size in head["files"]:
            files["/".join(split_path(name))] = data[at : at + size]
            at += size
        folders = tuple(_name(name) for name in head["folders"])
        if folder.exists():
            change_folder(folder, folders, files)
        return PackEntry(head["state"], bool(head["open"]), folders, files)

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


def _told(states: Mapping[str, tuple[str, bool]]) -> dict[str, Any]:
    return {
        "digest": digest_of({name: state for name, (state, _) in states.items()}),
        "open": [name for name, (_, is_open) in states.items() if is_open],
    }


def _entries(pieces: Iterator[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The entries of ``jobs.remote.changes.stream``."""
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
        raise KubeError("what the store told broke off")


def _name(name: str) -> str:
    """A name of one part, from the far side: never a way out."""
    (part,) = split_path(name)
    if part.startswith("."):
        raise KubeError(f"the store told of {name!r}, which is no name of ours")
    return part


def _unit(unit: str) -> str:
    if len(split_path(unit)) > 2 or "@" in unit:
        raise KubeError(f"the store told of {unit!r}, which is no unit of ours")
    return unit
