"""The client of the server beside a store (``jobs.remote.server``), over whatever connects them."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.remote import messages
from scheduler.kube.errors import KubeError


class Pipe(Protocol):
    """A program's stdin, stdout and stderr."""

    def write(self, data: bytes) -> None:
        """Write all of it to stdin."""

    def read(self, size: int) -> bytes:
        """At most so many bytes of stdout, at least one; none at its end."""

    def error_output(self) -> str:
        """What it printed on stderr, as one line."""

    def close(self) -> None:
        """End the program's input and the connection."""


class ConnectionLost(KubeError):
    """The program ended, or the connection broke, before an answer was complete."""


class RemoteStoreError(KubeError):
    """The program could not do what was requested; ``errno`` where it is an error of the store's file system."""

    def __init__(self, text: str, errno: int | None = None) -> None:
        super().__init__(text)
        self.errno = errno


@dataclass(frozen=True)
class RemoteFile:
    """A file as the far side has it: its path relative to the store, its size, and its change time in ns since 1970."""

    path: str
    size: int
    changed: int


class StoreClient:
    """One connection to the server.

    All methods raise ConnectionLost, RemoteStoreError, or what the pipe raises.
    """

    def __init__(self, pipe: Pipe, name: str, program: bytes = b"") -> None:
        """``name`` is what the server is called in errors, e.g. ``pod x``; ``program`` is sent first where it waits for one."""
        self._pipe, self._name = pipe, name
        self.last_used = time.monotonic()
        """When a message was last sent or received, by the monotonic clock."""
        self.received = 0
        """Bytes of answers so far, compressed where they are."""
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
        """Close the connection, which ends the server."""
        self._pipe.close()

    def _greet(self) -> None:
        first = b""
        while len(first) < len(messages.MAGIC) and (part := self._pipe.read(len(messages.MAGIC) - len(first))):
            first += part
        if first != messages.MAGIC:
            output = " ".join(filter(None, (first.decode(errors="replace").strip("\0 \n"), self._pipe.error_output())))
            raise KubeError(f"{self._name}: the program beside the store did not start: {output or 'it printed nothing'}")
        hello = self._receive()[0]
        self.root = str(hello.get("root"))
        if not hello.get("there"):
            raise KubeError(f"{self._name}: {self.root} is not a folder: is anything mounted there?")

    # -- messages

    def request(self, op: str, body: bytes = b"", **head: Any) -> dict[str, Any]:
        """The final message of an operation's answer, whose data is dropped."""
        self.send(op, body, **head)
        return self.finish()

    def send(self, op: str, body: bytes = b"", **head: Any) -> None:
        """Request an operation without waiting; answers come in order, each by :meth:`finish`."""
        self._pipe.write(messages.encode_message({"op": op, **head}, body))
        self.last_used = time.monotonic()

    def finish(self) -> dict[str, Any]:
        """The final message of the oldest answer that is due; its data is dropped."""
        final: dict[str, Any] = {}
        for _ in self._answers(final):
            pass
        return final

    def _answers(self, final: dict[str, Any]) -> Iterator[bytes]:
        """The data of an answer, piece by piece; then ``final`` holds its last message."""
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
                raise ConnectionLost(f"{self._name}: an unknown kind of answer: {kind!r}")

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        try:
            message = messages.read_message(self._pipe.read)
        except (EOFError, messages.MalformedMessage) as error:
            raise ConnectionLost(f"{self._name}: the connection broke: {self._pipe.error_output() or error}") from error
        if message is None:
            raise ConnectionLost(f"{self._name}: it ended: {self._pipe.error_output() or 'it printed nothing'}")
        self.last_used = time.monotonic()
        self.received += len(message[1])
        return message

    def _json(self, op: str, body: bytes = b"", **head: Any) -> Any:
        self.send(op, body, **head)
        decompressor = zlib.decompressobj()
        return json.loads(b"".join(decompressor.decompress(part) for part in self._answers({})) + decompressor.flush())

    # -- reading

    def find_changes(self, experiment: str, copy: Mapping[str, str]) -> dict[str, Any]:
        """See :func:`jobs.remote.changes.find_changes`."""
        return dict(self._json("find-changes", _compress(copy), experiment=experiment))

    def stream_changes(self, experiment: str, requested: Mapping[str, Collection[str]]) -> Iterator[bytes]:
        """See :func:`jobs.remote.changes.stream_changes`; decompressed, in pieces of any size."""
        body = _compress({unit: sorted(names) for unit, names in requested.items()})
        self.send("stream-changes", body, experiment=experiment)
        decompressor = zlib.decompressobj()
        for part in self._answers({}):
            if data := decompressor.decompress(part):
                yield data
        if not decompressor.eof:
            raise ConnectionLost(f"{self._name}: the runs did not arrive whole")

    def list_files(self, folder: str) -> list[RemoteFile]:
        """Every file under a folder of the store; none if there is no such folder."""
        return [RemoteFile(str(path), int(size), int(changed)) for path, size, changed in self._json("list-files", folder=folder)]

    def download(self, path: str, target: Path, progress: Callable[[int], None] | None = None) -> None:
        """Copy a file of the store to ``target``, which appears whole; its mtime is the change time that it has there.

        ``progress`` is called with the bytes of each piece.
        """
        self.send("download", path=path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f".{target.name[:200]}.{os.getpid()}.{id(self):x}.part"
        decompressor, digest, final = zlib.decompressobj(), hashlib.sha256(), dict[str, Any]()
        try:
            with open(part, "wb") as file:
                for piece in self._answers(final):
                    data = decompressor.decompress(piece)
                    digest.update(data)
                    file.write(data)
                    if progress is not None:
                        progress(len(data))
            if digest.hexdigest() != final.get("sha256"):
                raise RemoteStoreError(f"{self._name}: {path} arrived with another sha256 than it was sent with")
            os.utime(part, ns=(int(final["changed"]), int(final["changed"])))
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def check(self, experiment: str, quick: bool, repair: bool) -> list[dict[str, Any]]:
        """See :func:`jobs.remote.check.check_store`."""
        return list(self._json("check", experiment=experiment, quick=quick, repair=repair))

    def plan_gc(self, **request: Any) -> dict[str, Any]:
        """See :func:`jobs.remote.gc.plan`."""
        return dict(self._json("plan-gc", **request))

    def gc(self, items: Sequence[Mapping[str, Any]], **request: Any) -> Iterator[tuple[int, str]]:
        """See :func:`jobs.remote.gc.remove`."""
        self.send("gc", _compress(items), **request)
        for part in self._answers({}):
            yield from (tuple(json.loads(line)) for line in part.splitlines())

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file, in hexadecimal."""
        return str(self.request("sha256", path=path)["sha256"])

    # -- writing

    def claim_folder(self, path: str, name: str, data: bytes) -> bool:
        """Make a run's folder with one file in it, unless there is one of that name; whether it was free."""
        return bool(self.request("claim", data, path=path, name=name)["free"])

    def publish(self, path: str, data: bytes) -> bool:
        """Make bytes visible under a name unless it is taken; whether it was free."""
        return bool(self.request("publish", data, path=path)["free"])

    def replace(self, path: str, data: bytes) -> None:
        """Put bytes in the place of a file."""
        self.request("replace", data, path=path)

    def append(self, path: str, value: Mapping[str, Any]) -> None:
        """Add an object as a line."""
        self.request("append", json.dumps(value).encode(), path=path)

    def update_latest(self, experiment: str) -> tuple[str | None, str]:
        """See :func:`jobs.store.latest_predictions.update_latest`: the run, and the problem."""
        answer = self.request("update-latest", experiment=experiment)
        return answer["run"], str(answer["problem"])


def _compress(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode(), 3)
