"""What can be asked of the program that serves a store (``jobs.remote.server``), whatever the pipe to it is."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.remote import messages
from scheduler.kube.errors import KubeError


class Pipe(Protocol):
    """A program's stdin and stdout."""

    def write(self, data: bytes) -> None: ...

    def read(self, size: int) -> bytes: ...

    def error_output(self) -> str:
        """What it said beside its answers, as one line."""

    def close(self) -> None: ...


class ConnectionLost(KubeError):
    """The program ended in the middle."""


class RemoteStoreError(KubeError):
    """The program could not do what it was asked for; ``errno`` where the store's file system said so."""

    def __init__(self, text: str, errno: int | None = None) -> None:
        super().__init__(text)
        self.errno = errno


@dataclass(frozen=True)
class RemoteFile:
    """A file as the far side has it: its path relative to the store, its size, and its mtime in ns."""

    path: str
    size: int
    mtime: int


class StoreClient:
    """One conversation. ``name`` is what the other side is called in errors, e.g. ``pod x``."""

    def __init__(self, pipe: Pipe, name: str, program: bytes = b"") -> None:
        """``program`` is sent first where the other side waits for it."""
        self._pipe, self._name = pipe, name
        self.last_used = time.monotonic()
        """When it was last spoken with, by the monotonic clock."""
        self.received = 0
        """Bytes of answers so far, as they came."""
        try:
            if program:
                pipe.write(b"%d\n" % len(program) + program)
            self._greet()
        except BaseException:
            pipe.close()
            raise

    def __enter__(self) -> StoreClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pipe.close()

    def _greet(self) -> None:
        first = b""
        while len(first) < len(messages.MAGIC) and (part := self._pipe.read(len(messages.MAGIC) - len(first))):
            first += part
        if first != messages.MAGIC:
            said = " ".join(filter(None, (first.decode(errors="replace").strip("\0 \n"), self._pipe.error_output())))
            raise KubeError(f"{self._name}: what reads the store did not start: {said or 'it said nothing'}")
        hello = self._receive()[0]
        self.root = str(hello.get("root"))
        if not hello.get("there"):
            raise KubeError(f"{self._name}: {self.root} is no folder: is anything mounted there?")

    # -- asking

    def ask(self, op: str, body: bytes = b"", **head: Any) -> dict[str, Any]:
        """The final answer of an operation without data."""
        self.send(op, body, **head)
        return self.finish()

    def send(self, op: str, body: bytes = b"", **head: Any) -> None:
        """Ask without waiting; answers come in order, each by :meth:`finish`."""
        self._pipe.write(messages.encode_message({"op": op, **head}, body))
        self.last_used = time.monotonic()

    def finish(self) -> dict[str, Any]:
        final: dict[str, Any] = {}
        for _ in self._answers(final):
            pass
        return final

    def _answers(self, final: dict[str, Any]) -> Iterator[bytes]:
        """The data of an answer; then ``final`` holds its last message."""
        while True:
            head, body = self._receive()
            kind = head.pop("is", None)
            if kind == "data":
                yield body
            elif kind == "done":
                final.update(head)
                return
            elif kind == "error":
                raise RemoteStoreError(f"{self._name}: {head.get('text')}", head.get("errno"))
            elif kind != "working":
                raise ConnectionLost(f"{self._name}: an answer of an unknown kind: {kind!r}")

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        try:
            message = messages.read_message(self._pipe.read)
        except (EOFError, messages.MalformedMessage) as error:
            raise ConnectionLost(f"{self._name}: it broke off: {self._pipe.error_output() or error}") from error
        if message is None:
            raise ConnectionLost(f"{self._name}: it ended: {self._pipe.error_output() or 'without a word'}")
        self.last_used = time.monotonic()
        self.received += len(message[1])
        return message

    def _json(self, op: str, body: bytes = b"", **head: Any) -> Any:
        self.send(op, body, **head)
        unpack = zlib.decompressobj()
        return json.loads(b"".join(unpack.decompress(part) for part in self._answers({})) + unpack.flush())

    # -- reading

    def find_changes(self, experiment: str, held: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """See ``jobs.remote.changes.look``."""
        return dict(self._json("look", _packed(held), experiment=experiment))

    def stream_changes(self, experiment: str, wanted: Mapping[str, Collection[str]]) -> Iterator[bytes]:
        """See ``jobs.remote.changes.stream``; decompressed, in pieces of any size."""
        self.send("changed", _packed({unit: sorted(names) for unit, names in wanted.items()}), experiment=experiment)
        unpack = zlib.decompressobj()
        for part in self._answers({}):
            if data := unpack.decompress(part):
                yield data
        if not unpack.eof:
            raise ConnectionLost(f"{self._name}: the runs broke off")

    def list_files(self, folder: str) -> list[RemoteFile]:
        """Every file under a folder of the store; none if there is no such folder."""
        return [RemoteFile(str(path), int(size), int(mtime)) for path, size, mtime in self._json("tree", folder=folder)]

    def download(self, path: str, target: Path, progress: Callable[[int], None] | None = None) -> None:
        """A file of the store as ``target``, which appears whole, with the mtime that it has there."""
        self.send("get", path=path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f".{target.name[:200]}.{os.getpid()}.{id(self):x}.part"
        unpack, digest, final = zlib.decompressobj(), hashlib.sha256(), dict[str, Any]()
        try:
            with open(part, "wb") as file:
                for piece in self._answers(final):
                    data = unpack.decompress(piece)
                    digest.update(data)
                    file.write(data)
                    if progress is not None:
                        progress(len(data))
            if digest.hexdigest() != final.get("sha256"):
                raise RemoteStoreError(f"{self._name}: {path} came with another sha256 than it was sent with")
            os.utime(part, ns=(int(final["mtime"]), int(final["mtime"])))
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def check(self, experiment: str, quick: bool, repair: bool) -> list[dict[str, Any]]:
        """The damage in the store, by ``jobs.remote.check``."""
        return list(self._json("check", experiment=experiment, quick=quick, repair=repair))

    def sha256(self, path: str) -> str:
        return str(self.ask("sha256", path=path)["sha256"])

    # -- writing

    def claim_folder(self, path: str, name: str, data: bytes) -> bool:
        """Make a run's folder with one file in it, unless there is one of that name; whether it was free."""
        return bool(self.ask("claim", data, path=path, name=name)["free"])

    def publish(self, path: str, data: bytes) -> bool:
        """Make bytes visible under a name unless it is taken; whether it was free."""
        return bool(self.ask("publish", data, path=path)["free"])

    def replace(self, path: str, data: bytes) -> None:
        self.ask("replace", data, path=path)

    def append(self, path: str, value: Mapping[str, Any]) -> None:
        """Add an object as a line."""
        self.ask("append", json.dumps(value).encode(), path=path)


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode(), 3)
