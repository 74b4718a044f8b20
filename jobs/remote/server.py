"""Serves a store over stdin and stdout to a tool that cannot mount it. Standard library alone, Python 3.9.

Each message asks for one thing (``op``); the answer is any number of messages ``data``, and then ``done``, or ``error`` with
``text``. While something takes long, ``working`` is said every few seconds. What it does to the store it does as a run
would: exclusive links, renames, appended lines. No name leads out of the store.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.contract import CLAIM
from jobs.remote import changes, check, messages
from jobs.store import LocalStore
from jobs.store.files import sha256_of_stream
from jobs.store.safe_paths import UnsafePath, open_inside, resolve_inside, split_path, walk_files
from jobs.store.uploads import Uploads

WORKING = 5.0
"""Seconds after which it is said that something is still being done."""
CHUNK = 1 << 18
WRITABLE = ("runs", "experiments", "snapshots")

Answer = Generator[bytes, None, dict[str, Any]]


def main(argv: Sequence[str]) -> int:
    """Serve the store in the folder that is given until stdin ends; ``alive``: a file to touch with each message."""
    if not argv or len(argv) > 2:
        print("usage: jobs serve-store FOLDER [ALIVE]", file=sys.stderr)
        return 64
    alive = Path(argv[1]) if len(argv) > 1 else None
    # What else is printed must not stand between our messages.
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    try:
        Server(LocalStore(Path(argv[0])), sys.stdin.buffer.read, out.write, out.flush, alive).serve()
    except (EOFError, BrokenPipeError):
        return 0
    except messages.MalformedMessage as error:
        print(f"the tool said what is no message: {error}", file=sys.stderr)
        return 1
    return 0


class Server:
    """One conversation."""

    def __init__(
        self,
        store: LocalStore,
        read: Callable[[int], bytes],
        write: Callable[[bytes], object],
        flush: Callable[[], object],
        alive: Path | None,
    ) -> None:
        self._store, self._read, self._alive = store, read, alive
        self._write, self._flush = write, flush
        self._lock = threading.Lock()
        self._uploads = Uploads(store.root)

    def serve(self) -> None:
        with self._lock:
            self._write(messages.MAGIC)
        self._say({"is": "hello", "root": str(self._store.root), "there": self._store.root.is_dir()})
        while True:
            message = messages.read_message(self._read)
            if message is None:
                return
            head, body = message
            ended = threading.Event()
            beat = threading.Thread(target=self._beat, args=(ended,), daemon=True)
            beat.start()
            try:
                answer = self._answer(head, body)
            finally:
                ended.set()
                beat.join()
            self._say(answer)

    def _answer(self, head: dict[str, Any], body: bytes) -> dict[str, Any]:
        try:
            operation = OPERATIONS.get(str(head.get("op")))
            if operation is None:
                return {"is": "error", "text": f"{head.get('op')}: no such operation"}
            parts = operation(self, head, body)
            while True:
                try:
                    data = next(parts)
                except StopIteration as stop:
                    return {"is": "done", **(stop.value or {})}
                self._say({"is": "data"}, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = str(error.filename or self._store.root)
            return {"is": "error", "errno": error.errno, "path": where, "text": f"{where}: {error.strerror or error}"}
        except (UnsafePath, KeyError, TypeError, ValueError) as error:
            return {"is": "error", "text": str(error) or repr(error)}

    def _say(self, head: dict[str, Any], body: bytes = b"") -> None:
        with self._lock:
            self._write(messages.encode_message(head, body))
            self._flush()
        self._touch()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(WORKING):
            self._say({"is": "working"})

    def _touch(self) -> None:
        if self._alive is not None:
            self._alive.touch()

    # -- reading

    def look(self, head: dict[str, Any], body: bytes) -> Answer:
        told = changes.find_changes(self._store, _name(head["experiment"]), json.loads(zlib.decompress(body)))
        yield from _chunks(zlib.compress(json.dumps(told).encode(), 3))
        return {}

    def changed(self, head: dict[str, Any], body: bytes) -> Answer:
        yield from changes.stream_changes(self._store, _name(head["experiment"]), json.loads(zlib.decompress(body)))
        return {}

    def tree(self, head: dict[str, Any], body: bytes) -> Answer:
        found = list(walk_files(self._store.root, head["folder"]))
        yield from _chunks(zlib.compress(json.dumps(found).encode(), 3))
        return {}

    def get(self, head: dict[str, Any], body: bytes) -> Answer:
        """A file, or a range of it, compressed; then the hash of the bytes that were sent, and its size and mtime."""
        start, length = int(head.get("start", 0)), head.get("length")
        packer, digest = zlib.compressobj(1), hashlib.sha256()
        with open(open_inside(self._store.root, head["path"]), "rb") as file:
            told = os.fstat(file.fileno())
            file.seek(start)
            left = told.st_size if length is None else int(length)
            while left > 0 and (data := file.read(min(CHUNK, left))):
                left -= len(data)
                digest.update(data)
                if part := packer.compress(data):
                    yield part
        yield packer.flush()
        return {"sha256": digest.hexdigest(), "size": told.st_size, "mtime": told.st_mtime_ns}

    def sha256(self, head: dict[str, Any], body: bytes) -> Answer:
        with open(open_inside(self._store.root, head["path"]), "rb") as file:
            return {"sha256": sha256_of_stream(file)}
        yield b""

    def check(self, head: dict[str, Any], body: bytes) -> Answer:
        """The damage in the store, mended where that is asked for."""
        findings = check.check_store(self._store, head)
        yield from _chunks(zlib.compress(json.dumps(findings).encode(), 3))
        return {}

    # -- writing

    def claim(self, head: dict[str, Any], body: bytes) -> Answer:
        folder, name = self._writable(head["path"]), head["name"]
        if len(folder.relative_to(self._store.root / "runs").parts) != 4 or name not in (CLAIM, f".{CLAIM}"):
            raise UnsafePath(f"{head['path']!r}: only a run is claimed, by {CLAIM}")
        return {"free": self._store.files.claim_folder(folder, name, body)}
        yield b""

    def publish(self, head: dict[str, Any], body: bytes) -> Answer:
        return {"free": self._store.files.publish(self._writable(head["path"]), body)}
        yield b""

    def replace(self, head: dict[str, Any], body: bytes) -> Answer:
        self._store.files.replace(self._writable(head["path"]), body)
        return {}
        yield b""

    def append(self, head: dict[str, Any], body: bytes) -> Answer:
        self._store.files.append_line(self._writable(head["path"]), json.loads(body))
        return {}
        yield b""

    def _writable(self, name: Any) -> Path:
        parts = split_path(name)
        if parts[0] not in WRITABLE or any(part.startswith(".") for part in parts):
            raise UnsafePath(f"{name!r}: nothing is written there from outside")
        return resolve_inside(self._store.root, name)

    # -- putting data

    def put_look(self, head: dict[str, Any], body: bytes) -> Answer:
        return self._uploads.inspect(head["path"], head["sha256"], int(head["size"]))
        yield b""

    def put_part(self, head: dict[str, Any], body: bytes) -> Answer:
        return self._uploads.write_piece(head["path"], head["sha256"], int(head["start"]), body)
        yield b""

    def put_end(self, head: dict[str, Any], body: bytes) -> Answer:
        return self._uploads.finish(head["path"], head["sha256"], int(head["size"]), bool(head.get("replace")))
        yield b""


OPERATIONS: dict[str, Callable[[Server, dict[str, Any], bytes], Answer]] = {
    "look": Server.look,
    "changed": Server.changed,
    "tree": Server.tree,
    "get": Server.get,
    "sha256": Server.sha256,
    "check": Server.check,
    "claim": Server.claim,
    "publish": Server.publish,
    "replace": Server.replace,
    "append": Server.append,
    "put-look": Server.put_look,
    "put-part": Server.put_part,
    "put-end": Server.put_end,
}


def _name(value: Any) -> str:
    (name,) = split_path(value)
    return name


def _chunks(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), CHUNK):
        yield data[at : at + CHUNK]
