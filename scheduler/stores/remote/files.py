"""The files of a store that only a cluster can mount: the small ones in a mirror on this machine, the others by a reader pod."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from jobs.contract import parse_run_id
from jobs.remote.changes import LEDGER
from jobs.store.document_files import parse_document
from jobs.store.local_files import LocalFiles
from jobs.store.regular_files import Unreadable, unreadable
from jobs.store.states import number_of, run_state
from scheduler.kube.errors import KubeError
from scheduler.kube.exec import StreamBroken
from scheduler.stores.remote.client import ConnectionLost, RemoteFile, RemoteStoreError, StoreClient
from scheduler.stores.remote.mirror import Mirror, ReportProgress
from scheduler.stores.remote.packs import PackEntry

T = TypeVar("T")

_MONTH_DEPTH, _RUN_DEPTH = 4, 5
"""Parts of ``runs/<experiment>/<task>/<month>`` and of a run's folder in it."""


class RemoteFiles:
    """``jobs.store.access.StoreFiles`` of a store elsewhere: what is written goes there first, and then into the mirror.

    ``root`` is the mirror, ``name`` what people call the store. ``connect`` opens a connection to the program beside the store,
    or is the reason why only the mirror can be asked; one that was idle for ``idle`` seconds is taken to be closed.
    """

    def __init__(self, root: Path, name: str, connect: Callable[[], StoreClient] | str, idle: float = 30.0) -> None:
        self.root, self.name, self.mirror = root, name, Mirror(root)
        self._local = LocalFiles(root)
        self._prefix = len(f"{root}/")
        self._connect, self._idle = connect, idle
        self._client: StoreClient | None = None
        self._listings: dict[Path, list[RemoteFile]] = {}
        self.is_cluster_down = self.is_offline
        """Whether the cluster is not to be asked for anything else either."""

    @property
    def is_offline(self) -> bool:
        """Whether only the mirror can be asked."""
        return isinstance(self._connect, str)

    def updated(self, experiment: str) -> datetime | None:
        """When the mirror was last brought up to date."""
        return self.mirror.updated(experiment)

    # -- the connection

    def call(self, operation: Callable[[StoreClient], T], retry: bool = True) -> T:
        """What an operation on the far side returns; tried once more over a new connection if the old one broke.

        ``retry=False`` for what must not be done twice. Raises KubeError.
        """
        while True:
            client = self._open()
            try:
                return operation(client)
            except RemoteStoreError:
                raise
            except (StreamBroken, ConnectionLost):
                self.close()
                if not retry:
                    raise
                retry = False
            except BaseException:
                # Half an answer may still be on its way.
                self.close()
                raise

    def _open(self) -> StoreClient:
        if self._client is not None and time.monotonic() - self._client.last_used > self._idle:
            self.close()
        if self._client is None:
            if isinstance(self._connect, str):
                raise KubeError(f"{self.name}: this needs the cluster: {self._connect}")
            self._client = self._connect()
        return self._client

    def connect(self) -> None:
        """Open the connection now, and not with the first call."""
        self.call(lambda client: None)

    def close(self) -> None:
        """Close the connection; a later call opens another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def received(self) -> int:
        """Bytes of answers over this connection."""
        return self._client.received if self._client is not None else 0

    # -- reading

    def list_names(self, folder: Path) -> list[str]:
        """What the mirror has, in folders and in packs."""
        parts = self._parts(folder)
        self._require_readable(folder, parts)
        if len(parts) == _RUN_DEPTH and parts[0] == "runs" and not self._run_folder(parts).exists():
            # Answered from the pack: the history looks into every run for what was decided of it.
            entry = self._packed(parts)
            names = set() if entry is None else {name.partition("/")[0] for name in (*entry.folders, *entry.files)}
            return sorted(name for name in names if not name.startswith("."))
        if parts[0] != "runs" or not 1 < len(parts) <= _MONTH_DEPTH:
            return self._local.list_names(self.local_folder(folder))
        packed = (self.mirror.tasks, self.mirror.months, self.mirror.pack)[len(parts) - 2](*parts[1:])
        prefix = "/".join([*parts[2:], ""])
        unlisted = [unit[len(prefix) :] for unit in self.mirror.unreadable(parts[1]) if "/" in unit and unit.startswith(prefix)]
        return sorted({*self._local.list_names(folder), *packed, *(unit.partition("/")[0] for unit in unlisted)} - {""})

    def _require_readable(self, folder: Path, parts: Sequence[str]) -> None:
        """Raise Unreadable for a folder that the far side could not list."""
        unit = LEDGER if parts[0] == "experiments" else f"{parts[2]}/{''.join(parts[3:4])}" if len(parts) > 2 else ""
        why = self.mirror.unreadable(parts[1]).get(unit) if unit and len(parts) > 1 else None
        if why is not None:
            raise unreadable(folder, why)

    def read_document(self, path: Path) -> dict[str, Any] | None:
        """From the mirror: a run's file out of its pack, unless the run has a folder."""
        parts = self._parts(path)
        packed = self._packed(parts)
        if packed is None or self._run_folder(parts).exists():
            return self._local.read_document(path)
        data = packed.files.get("/".join(parts[_RUN_DEPTH:]))
        try:
            return None if data is None else parse_document(path, data)
        except Unreadable:
            return None

    def read_lines(self, path: Path) -> list[dict[str, Any]]:
        """From the mirror."""
        return self._local.read_lines(self.local_folder(path))

    def month_state(self, folder: Path) -> tuple[int, int] | None:
        """Of a month its newest change in the mirror."""
        self._require_readable(folder, self._parts(folder))
        states = [self._local.month_state(folder)]
        with suppress(FileNotFoundError):
            status = self.mirror.pack_file(*self._parts(folder)[1:]).stat()
            states.append((status.st_mtime_ns, status.st_ino))
        # What changes is newer than either was.
        return max((state for state in states if state is not None), default=None)

    def run_states(self, folders: Sequence[Path], only_record: bool) -> list[int]:
        """By the state in the pack, and that of the folder: what was written from here is in it alone until the next update."""
        return [number_of(self._run_state(folder)) for folder in folders]

    def _run_state(self, folder: Path) -> str:
        packed = self._packed(self._parts(folder))
        states = ("" if packed is None else packed.state, run_state(folder) if folder.exists() else "")
        return " ".join(filter(None, states))

    def local_folder(self, folder: Path) -> Path:
        """The same path; a run's folder is made of what its pack has of it."""
        parts = self._parts(folder)
        if parts[0] == "runs" and len(parts) >= _RUN_DEPTH:
            own = self._run_folder(parts)
            run = parse_run_id(parts[4], parts[1], parts[2])
            if run is not None and not own.exists():
                self.mirror.unpack(run, own)
        return folder

    def list_files(self, folder: Path) -> list[Path]:
        """As the far side has them; offline what the mirror has."""
        if self.is_offline:
            return self._local.list_files(self.local_folder(folder))
        within = self._name_of(folder) + "/"
        listing = self._list_run(self._run_folder(self._parts(folder)))
        return sorted(self.root / file.path for file in listing if file.path.startswith(within))

    def sha256(self, path: Path) -> str:
        """Taken on the far side; offline of what the mirror has."""
        if self.is_offline:
            return self._local.sha256(path)
        try:
            return self.call(lambda client: client.sha256(self._name_of(path)))
        except RemoteStoreError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno), self.display_path(path)) from error

    def display_path(self, path: Path) -> str:
        """The store's name, and the path in it."""
        return self.name if path == self.root else f"{self.name}:{self._name_of(path)}"

    # -- copying to this machine

    def update(self, experiment: str, progress: ReportProgress | None = None) -> None:
        """Bring the mirror up to date."""
        self.call(lambda client: self.mirror.update(client, experiment, progress))
        self._listings.clear()

    def download(self, folder: Path, *patterns: str) -> None:
        """Copy them, and remove from the mirror what the far side no longer has; nothing offline."""
        if self.is_offline:
            return
        within = len(self._name_of(self.local_folder(folder))) + 1
        listing = self._list_run(folder)
        for file in listing:
            if any(fnmatch.fnmatch(file.path[within:], pattern) for pattern in patterns):
                self._get(file)
        # What is gone there must not be shown from here.
        remaining = {file.path for file in listing}
        for path in folder.rglob("*"):
            if path.is_file() and not path.name.startswith(".") and self._name_of(path) not in remaining:
                path.unlink(missing_ok=True)

    def download_files(self, *paths: Path) -> None:
        """Copy them, and remove from the mirror what the far side no longer has; nothing offline."""
        if self.is_offline:
            return
        for folder in sorted({path.parent for path in paths}):
            files = {file.path: file for file in self._list(folder)}
            for path in paths:
                if path.parent == folder:
                    if self._name_of(path) in files:
                        self._get(files[self._name_of(path)])
                    else:
                        path.unlink(missing_ok=True)

    def _list_run(self, folder: Path) -> list[RemoteFile]:
        """The files of a run, as they were when they were first asked for since the last update."""
        if folder not in self._listings:
            self._listings[folder] = self._list(folder)
        return self._listings[folder]

    def _list(self, folder: Path) -> list[RemoteFile]:
        return self.call(lambda client: client.list_files(self._name_of(folder)))

    def _get(self, file: RemoteFile) -> None:
        path = self.root / file.path
        try:
            status = path.lstat()
            if (status.st_size, status.st_mtime_ns) == (file.size, file.changed):
                return
        except FileNotFoundError:
            pass
        self.call(lambda client: client.download(file.path, path))

    # -- writing

    def publish(self, path: Path, data: bytes) -> bool:
        """There, and then into the mirror; if the name is taken there, what it has is copied."""
        is_free = self.call(lambda client: client.publish(self._name_of(path), data))
        self.local_folder(path)
        if is_free:
            self._local.publish(path, data)
        else:
            self.download_files(path)
        return is_free

    def ensure(self, path: Path, data: bytes) -> None:
        """There, and then into the mirror."""
        name = self._name_of(path)
        if not self.call(lambda client: client.publish(name, data)) and self.sha256(path) != hashlib.sha256(data).hexdigest():
            self.call(lambda client: client.replace(name, data))
        self._local.ensure(path, data)

    def replace(self, path: Path, data: bytes) -> None:
        """There, and then into the mirror."""
        self.call(lambda client: client.replace(self._name_of(path), data))
        self.local_folder(path)
        self._local.replace(path, data)

    def append_line(self, path: Path, value: dict[str, Any]) -> None:
        """There, and then into the mirror; raises KubeError if the connection breaks, and it may have been added."""
        # Not tried again: a second line would be a second note.
        self.call(lambda client: client.append(self._name_of(path), value), retry=False)
        self._local.append_line(path, value)

    def claim_folder(self, folder: Path, name: str, data: bytes) -> bool:
        """There, and then into the mirror; raises KubeError if the connection breaks, and it may be claimed."""
        # Not tried again where the answer was lost: it may be ours or another's.
        if not self.call(lambda client: client.claim_folder(self._name_of(folder), name, data), retry=False):
            return False
        self._local.claim_folder(self.local_folder(folder), name, data)
        return True

    # -- what a store of this machine needs no operation for

    def run_check(self, experiment: str, quick: bool, repair: bool) -> list[dict[str, Any]]:
        """What `fsck` finds, as the program beside the store says it (``jobs.remote.check``)."""
        return self.call(lambda client: client.check(experiment, quick, repair))

    def update_latest(self, experiment: str) -> tuple[str | None, str]:
        """Have the newest accepted run's predictions under the names for the latest: that run, or why they stay as they are."""
        return self.call(lambda client: client.update_latest(experiment))

    def plan_gc(self, **request: Any) -> dict[str, Any]:
        """What `gc` removes, as the program beside the store says it (``jobs.remote.gc``)."""
        return self.call(lambda client: client.plan_gc(**request))

    def run_gc(self, items: Sequence[Mapping[str, Any]], **request: Any) -> Iterator[tuple[int, str]]:
        """Remove them there: of each its number, and what kept it; raises KubeError, also where the connection breaks."""
        # Not tried again: what has gone would be reported as gone, but nobody would know by whom.
        try:
            yield from self._open().gc(items, **request)
        except BaseException:
            self.close()
            raise

    # -- paths

    def _name_of(self, path: Path) -> str:
        """A path relative to the store."""
        return path.relative_to(self.root).as_posix()

    def _parts(self, path: Path) -> list[str]:
        return str(path)[self._prefix :].split("/")

    def _run_folder(self, parts: list[str]) -> Path:
        return self.root.joinpath(*parts[:_RUN_DEPTH])

    def _packed(self, parts: list[str]) -> PackEntry | None:
        """What the mirror's packs have of the run that a path is of."""
        if parts[0] != "runs" or len(parts) < _RUN_DEPTH:
            return None
        return self.mirror.pack(*parts[1:_MONTH_DEPTH]).get(parts[4])
