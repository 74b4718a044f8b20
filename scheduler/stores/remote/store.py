"""A store that only the cluster can mount: its mirror on this machine, and a reader pod for what is not in that."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from jobs.contract import CANCELLED, OBSERVED, RECORD, RESULT, SCHEMA, VERDICT, RunId, parse_run_id
from jobs.store import Store
from jobs.store.files import to_json
from scheduler.kube.errors import KubeError
from scheduler.kube.exec import StreamBroken
from scheduler.stores.remote.client import ConnectionLost, RemoteFile, RemoteStoreError, StoreClient
from scheduler.stores.remote.mirror import Mirror
from scheduler.stores.remote.packs import Packed

T = TypeVar("T")


class RemoteStore(Store):
    """A store whose ``root`` is a mirror. What is written goes to the cluster first, and then into the mirror.

    ``connect`` gives a conversation with the far side, or is the reason why only the mirror can be asked; a conversation
    that has rested for ``idle`` seconds is taken to be over.
    """

    def __init__(self, root: Path, name: str, connect: Callable[[], StoreClient] | str, idle: float = 30.0) -> None:
        super().__init__(root)
        self.name, self.mirror = name, Mirror(root)
        self._connect, self._idle = connect, idle
        self._session: StoreClient | None = None
        self._listed: dict[RunId, list[RemoteFile]] = {}

    @property
    def is_offline(self) -> bool:
        return isinstance(self._connect, str)

    def close(self) -> None:
        """End the conversation; a later question begins another."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    @property
    def received(self) -> int:
        """Bytes of answers in this conversation."""
        return self._session.received if self._session is not None else 0

    def connect(self) -> None:
        """Begin the conversation now, and not with the first question."""
        self.converse(lambda session: None)

    def update(self, experiment: str, progress: Callable[[int, int], None] | None = None) -> None:
        """Bring the mirror up to date."""
        self.converse(lambda session: self.mirror.update(session, experiment, progress))
        self._listed.clear()

    # -- what the mirror has in its packs

    def tasks(self, experiment: str) -> list[str]:
        return sorted({*super().tasks(experiment), *self.mirror.tasks(experiment)})

    def months(self, experiment: str, task: str) -> list[str]:
        return sorted({*super().months(experiment, task), *self.mirror.months(experiment, task)})

    def month_ids(self, experiment: str, task: str, month: str) -> list[RunId]:
        packed = (parse_run_id(name, experiment, task) for name in self.mirror.pack(experiment, task, month))
        return sorted({*super().month_ids(experiment, task, month), *(run for run in packed if run is not None)})

    def month_state(self, experiment: str, task: str, month: str) -> tuple[int, int] | None:
        states = [super().month_state(experiment, task, month)]
        with suppress(FileNotFoundError):
            told = self.mirror.pack_file(experiment, task, month).stat()
            states.append((told.st_mtime_ns, told.st_ino))
        # What changes is newer than either was.
        return max((state for state in states if state is not None), default=None)

    def run_state(self, run: RunId) -> int:
        packed = self._packed(run)
        told = 0 if packed is None else int(hashlib.sha256(packed.state.encode()).hexdigest()[:12], 16)
        with suppress(FileNotFoundError):
            # What was written from here is in its folder alone until the next look.
            told ^= super().run_folder(run).stat().st_mtime_ns
        return told

    def result(self, run: RunId) -> dict[str, Any] | None:
        packed = self._packed(run)
        if packed is None or super().run_folder(run).exists():
            return super().result(run)
        try:
            found = json.loads(packed.files.get(f"{RESULT}/{RECORD}", b"null"))
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def run_folder(self, run: RunId) -> Path:
        """Its files lie in it from now on."""
        folder = super().run_folder(run)
        if not folder.exists():
            self.mirror.unpack(run, folder)
        return folder

    def _packed(self, run: RunId) -> Packed | None:
        return self.mirror.pack(run.experiment, run.task, run.month).get(str(run))

    # -- what is not in the mirror

    def download(self, run: RunId, *patterns: str) -> None:
        if self.is_offline:
            return
        within = self._name_of(self.run_folder(run))
        told = self._tree(run)
        wanted = [each for each in told if any(fnmatch.fnmatch(each.path[len(within) + 1 :], one) for one in patterns)]
        for each in wanted:
            self._get(each)
        # What is gone there must not be told from here.
        there = {each.path for each in told}
        for path in self.run_folder(run).rglob("*"):
            if path.is_file() and not path.name.startswith(".") and self._name_of(path) not in there:
                path.unlink(missing_ok=True)

    def download_files(self, *paths: Path) -> None:
        if self.is_offline:
            return
        for folder in sorted({path.parent for path in paths}):
            told = {each.path: each for each in self._list(folder)}
            for path in paths:
                if self._name_of(path) in told:
                    self._get(told[self._name_of(path)])
                else:
                    path.unlink(missing_ok=True)

    def list_files(self, run: RunId, folder: str) -> list[Path]:
        if self.is_offline:
            return super().list_files(run, folder)
        within = self._name_of(self.run_folder(run) / folder) + "/"
        return sorted(self.root / each.path for each in self._tree(run) if each.path.startswith(within))

    def display_path(self, path: Path) -> str:
        return self.name if path == self.root else f"{self.name}:{self._name_of(path)}"

    def check_remotely(self, experiment: str, quick: bool, repair: bool) -> list[dict[str, Any]]:
        return self.converse(lambda session: session.check(experiment, quick, repair))

    def sha256(self, path: Path) -> str:
        if self.is_offline:
            return super().sha256(path)
        try:
            return self.converse(lambda session: session.sha256(self._name_of(path)))
        except RemoteStoreError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno), self.display_path(path)) from error

    def _tree(self, run: RunId) -> list[RemoteFile]:
        if run not in self._listed:
            self._listed[run] = self._list(self.run_folder(run))
        return self._listed[run]

    def _list(self, folder: Path) -> list[RemoteFile]:
        return self.converse(lambda session: session.tree(self._name_of(folder)))

    def _get(self, told: RemoteFile) -> None:
        path = self.root / told.path
        try:
            known = path.lstat()
            if (known.st_size, known.st_mtime_ns) == (told.size, told.mtime):
                return
        except FileNotFoundError:
            pass
        self.converse(lambda session: session.get(told.path, path))

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    # -- writing

    def put_snapshot(self, kind: str, data: bytes) -> str:
        digest = super().put_snapshot(kind, data)
        name = self._name_of(self.snapshot_path(kind, digest))
        self.converse(lambda session: session.publish(name, data))
        return digest

    def claim_attempt(self, run: RunId, mark: dict[str, Any] | None = None) -> bool:
        # Not tried again where the answer was lost: it may be ours or another's.
        if not self.converse(lambda session: session.claim(run, mark), again=False):
            return False
        super().claim_attempt(run, mark)
        return True

    def add_revision(self, experiment: str, revision: dict[str, Any]) -> bool:
        name = self._name_of(self._revision_file(experiment, revision))
        data = to_json({"schema": SCHEMA, **revision})
        self.converse(lambda session: session.publish(name, data))
        return super().add_revision(experiment, revision)

    def add_note(self, experiment: str, writer: str, note: dict[str, Any]) -> None:
        name = self._name_of(self._note_file(experiment, writer, note))
        self.converse(lambda session: session.append(name, {"schema": SCHEMA, **note}), again=False)
        super().add_note(experiment, writer, note)

    def record_observation(self, run: RunId, seen: dict[str, Any]) -> bool:
        path = self.run_folder(run) / OBSERVED
        if path.exists():
            return False
        self.converse(lambda session: session.publish(self._name_of(path), to_json({"schema": SCHEMA, **seen})))
        return super().record_observation(run, seen)

    def cancel(self, run: RunId, told: dict[str, Any]) -> None:
        name = self._name_of(self.run_folder(run) / CANCELLED)
        self.converse(lambda session: session.publish(name, to_json(told)))
        super().cancel(run, told)

    def record_verdict(self, run: RunId, told: dict[str, Any]) -> None:
        name = self._name_of(self.run_folder(run) / VERDICT)
        self.converse(lambda session: session.publish(name, to_json(told)))
        super().record_verdict(run, told)

    # -- the conversation

    def converse(self, act: Callable[[StoreClient], T], again: bool = True) -> T:
        """With the far side; once more with a new conversation if the old one broke and that does no harm."""
        while True:
            session = self._open()
            try:
                return act(session)
            except RemoteStoreError:
                raise
            except (StreamBroken, ConnectionLost):
                self.close()
                if not again:
                    raise
                again = False
            except BaseException:
                # Half an answer may still be on its way.
                self.close()
                raise

    def _open(self) -> StoreClient:
        if self._session is not None and time.monotonic() - self._session.used > self._idle:
            self.close()
        if self._session is None:
            if isinstance(self._connect, str):
                raise KubeError(f"{self.name}: this needs the cluster: {self._connect}")
            self._session = self._connect()
        return self._session
