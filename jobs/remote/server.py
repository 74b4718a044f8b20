"""Serves a store over stdin and stdout to a tool that cannot mount it. Standard library alone, Python 3.9.

Each message requests one operation (``op``); the answer is any number of messages ``data``, and then ``done``, or ``error``
with ``text``. While an operation takes long, ``working`` is sent every few seconds. It writes to the store as a run would:
exclusive links, renames, appended lines. No name leads out of the store.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import zlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from jobs.contract import CLAIM
from jobs.remote import changes, check, gc, messages
from jobs.store import LocalStore
from jobs.store.files import sha256_of_stream
from jobs.store.latest_predictions import update_latest
from jobs.store.safe_paths import UnsafePath, open_inside, resolve_inside, split_path, walk_files
from jobs.store.uploads import Uploads

WORKING_INTERVAL = 5.0
"""Seconds between two messages that an operation is still running."""
CHUNK = 1 << 18
"""Bytes that are sent at a time."""
WRITABLE_FOLDERS = ("runs", "experiments", "snapshots")
"""Folders of the store that the tool may write in; uploads go into ``data``."""

Answer = Generator[bytes, None, dict[str, Any]]
"""The data of an answer; what it returns is in its last message."""
Fields = dict[str, Any]
"""What the last message of an answer says, where there is no other."""


def main(argv: Sequence[str]) -> int:
    """Serve the store in a folder until stdin ends, and touch a file with each message; the exit status."""
    if not argv or len(argv) > 2:
        print("usage: jobs serve-store FOLDER [ALIVE]", file=sys.stderr)
        return 64
    alive = Path(argv[1]) if len(argv) > 1 else None
    # What else is printed must not stand between our messages.
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    try:
        StoreServer(LocalStore(Path(argv[0])), sys.stdin.buffer.read, out.write, out.flush, alive).serve()
    except (EOFError, BrokenPipeError):
        return 0
    except messages.MalformedMessage as error:
        print(f"not a message: {error}", file=sys.stderr)
        return 1
    return 0


class StoreServer:
    """Answers the messages of one connection."""

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
        """Answer until the other side closes the connection; raises EOFError, BrokenPipeError or MalformedMessage."""
        with self._lock:
            self._write(messages.MAGIC)
        self._send({"is": "hello", "root": str(self._store.root), "there": self._store.root.is_dir()})
        while True:
            first = self._read(1)
            if not first:
                return
            ended = threading.Event()
            # Also while the rest of a message arrives, which may take long over a slow line.
            thread = threading.Thread(target=self._send_working, args=(ended,), daemon=True)
            thread.start()
            try:
                head, body = messages.read_rest(first, self._read)
                answer = self._answer(head, body)
            finally:
                ended.set()
                thread.join()
            self._send(answer)

    def _answer(self, head: dict[str, Any], body: bytes) -> dict[str, Any]:
        try:
            operation = OPERATIONS.get(str(head.get("op")))
            if operation is None:
                return {"is": "error", "text": f"{head.get('op')}: no such operation"}
            answer = operation(self, head, body)
            if isinstance(answer, dict):
                return {"is": "done", **answer}
            while True:
                try:
                    data = next(answer)
                except StopIteration as stop:
                    return {"is": "done", **(stop.value or {})}
                self._send({"is": "data"}, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            path = str(error.filename or self._store.root)
            return {"is": "error", "errno": error.errno, "path": path, "text": f"{path}: {error.strerror or error}"}
        except (UnsafePath, KeyError, TypeError, ValueError) as error:
            return {"is": "error", "text": str(error) or repr(error)}

    def _send(self, head: dict[str, Any], body: bytes = b"") -> None:
        with self._lock:
            self._write(messages.encode_message(head, body))
            self._flush()
        self._touch()

    def _send_working(self, ended: threading.Event) -> None:
        while not ended.wait(WORKING_INTERVAL):
            self._send({"is": "working"})

    def _touch(self) -> None:
        if self._alive is not None:
            self._alive.touch()

    # -- reading

    def find_changes(self, head: dict[str, Any], body: bytes) -> Answer:
        """What the tool's copy lacks, as JSON."""
        changed = changes.find_changes(self._store, _name(head["experiment"]), json.loads(zlib.decompress(body)))
        return (yield from _json_answer(changed))

    def stream_changes(self, head: dict[str, Any], body: bytes) -> Answer:
        """What has changed in the tool's copy."""
        yield from changes.stream_changes(self._store, _name(head["experiment"]), json.loads(zlib.decompress(body)))
        return {}

    def list_files(self, head: dict[str, Any], body: bytes) -> Answer:
        """Every file under a folder: path, size and change time in ns, as JSON."""
        files = walk_files(self._store.root, head["folder"], skip_unreadable=True)
        return (yield from _json_answer([(name, status.st_size, status.st_ctime_ns) for name, status in files]))

    def download(self, head: dict[str, Any], body: bytes) -> Answer:
        """A file, or a range of it, compressed; then the hash of the bytes that were sent, and its size and change time."""
        start, length = int(head.get("start", 0)), head.get("length")
        compressor, digest = zlib.compressobj(1), hashlib.sha256()
        with open(open_inside(self._store.root, head["path"]), "rb") as file:
            status = os.fstat(file.fileno())
            file.seek(start)
            left = status.st_size if length is None else int(length)
            while left > 0 and (data := file.read(min(CHUNK, left))):
                left -= len(data)
                digest.update(data)
                if part := compressor.compress(data):
                    yield part
        yield compressor.flush()
        return {"sha256": digest.hexdigest(), "size": status.st_size, "changed": status.st_ctime_ns}

    def sha256(self, head: dict[str, Any], body: bytes) -> Fields:
        """The hash of a whole file."""
        with open(open_inside(self._store.root, head["path"]), "rb") as file:
            return {"sha256": sha256_of_stream(file)}

    def check(self, head: dict[str, Any], body: bytes) -> Answer:
        """The damage in the store, repaired where that is requested, as JSON."""
        return (yield from _json_answer(check.check_store(self._store, head)))

    def plan_gc(self, head: dict[str, Any], body: bytes) -> Answer:
        """What a rule of `gc` removes, as JSON."""
        return (yield from _json_answer(gc.plan(self._store, head)))

    # -- writing

    def gc(self, head: dict[str, Any], body: bytes) -> Answer:
        """Remove items of such a plan; what became of them, as it comes."""
        yield from gc.remove(self._store, head, json.loads(zlib.decompress(body)))
        return {}

    def claim(self, head: dict[str, Any], body: bytes) -> Fields:
        """Make a run's folder with one file in it, unless somebody has; ``free``: whether nobody had."""
        folder, name = self._writable(head["path"]), head["name"]
        if len(folder.relative_to(self._store.root / "runs").parts) != 4 or name not in (CLAIM, f".{CLAIM}"):
            raise UnsafePath(f"{head['path']!r}: only a run is claimed, by {CLAIM}")
        return {"free": self._store.files.claim_folder(folder, name, body)}

    def publish(self, head: dict[str, Any], body: bytes) -> Fields:
        """Make the body visible as a file, unless there is one; ``free``: whether there was none."""
        return {"free": self._store.files.publish(self._writable(head["path"]), body)}

    def replace(self, head: dict[str, Any], body: bytes) -> Fields:
        """Put the body in the place of a file."""
        self._store.files.replace(self._writable(head["path"]), body)
        return {}

    def append(self, head: dict[str, Any], body: bytes) -> Fields:
        """Add the body, an object, as a line to a file."""
        self._store.files.append_line(self._writable(head["path"]), json.loads(body))
        return {}

    def update_latest(self, head: dict[str, Any], body: bytes) -> Fields:
        """Have the newest accepted run's predictions under the names for the latest (``jobs.store.latest_predictions``)."""
        update = update_latest(self._store, _name(head["experiment"]))
        return {"run": None if update.run is None else str(update.run), "problem": update.problem}

    def _writable(self, name: Any) -> Path:
        parts = split_path(name)
        if parts[0] not in WRITABLE_FOLDERS or any(part.startswith(".") for part in parts):
            raise UnsafePath(f"{name!r}: nothing may be written there from outside")
        return resolve_inside(self._store.root, name)

    # -- uploads: see jobs.store.uploads

    def upload_inspect(self, head: dict[str, Any], body: bytes) -> Fields:
        """What is there of a file."""
        return self._uploads.inspect(head["path"], head["sha256"], int(head["size"]))

    def upload_piece(self, head: dict[str, Any], body: bytes) -> Fields:
        """Write a piece of a file."""
        return self._uploads.write_piece(head["path"], head["sha256"], int(head["start"]), body)

    def upload_finish(self, head: dict[str, Any], body: bytes) -> Fields:
        """Give a whole file its name."""
        return self._uploads.finish(head["path"], head["sha256"], int(head["size"]), bool(head.get("replace")))


OPERATIONS: dict[str, Callable[[StoreServer, dict[str, Any], bytes], Answer | Fields]] = {
    "find-changes": StoreServer.find_changes,
    "stream-changes": StoreServer.stream_changes,
    "list-files": StoreServer.list_files,
    "download": StoreServer.download,
    "sha256": StoreServer.sha256,
    "check": StoreServer.check,
    "plan-gc": StoreServer.plan_gc,
    "gc": StoreServer.gc,
    "claim": StoreServer.claim,
    "publish": StoreServer.publish,
    "replace": StoreServer.replace,
    "append": StoreServer.append,
    "update-latest": StoreServer.update_latest,
    "upload-inspect": StoreServer.upload_inspect,
    "upload-piece": StoreServer.upload_piece,
    "upload-finish": StoreServer.upload_finish,
}


def _name(value: Any) -> str:
    (name,) = split_path(value)
    return name


def _json_answer(value: Any) -> Answer:
    data = zlib.compress(json.dumps(value).encode(), 3)
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]
    return {}
