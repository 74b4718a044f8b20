"""`put`: copies files into a store's data folder, resumable and checked, whatever is between here and there."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.store import Store
from jobs.store.safe_paths import UnsafePath, split_path
from jobs.store.uploads import Uploads
from scheduler.console.progress import Progress
from scheduler.errors import CronsembleError
from scheduler.times import format_bytes

PIECE = 1 << 20

ReportProgress = Callable[[int], None]
"""Hears how many bytes are there."""
Read = Callable[[int], Iterator[bytes]]
"""The pieces of a file from a byte on."""


class UploadTarget(Protocol):
    """A store's data folder; what each does is said in ``jobs.store.uploads``."""

    def inspect(self, name: str, sha256: str, size: int) -> dict[str, Any]: ...

    def write_pieces(self, name: str, sha256: str, start: int, read: Read, progress: ReportProgress) -> None:
        """Write what ``read`` gives from ``start`` on; ``progress`` hears how many bytes are there."""

    def finish(self, name: str, sha256: str, size: int, replace: bool) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Upload:
    """A file of this machine and the name that it gets under data/."""

    path: Path
    name: str


def choose_uploads(files: list[Path], name: str | None) -> list[Upload]:
    """What is to be copied where; ``name`` is ``--as``: a path, or a folder if it ends in /. Raises CronsembleError."""
    if name is not None and not name.endswith("/") and len(files) > 1:
        raise CronsembleError(f"--as {name}: {len(files)} files cannot have one name: end it with / to make it a folder")
    found = []
    for path in files:
        if not path.is_file():
            what = "a folder: name its files" if path.is_dir() else "no such file"
            raise CronsembleError(f"{path}: {what}")
        own = path.name if name is None else name + path.name if name.endswith("/") else name
        try:
            if any(part.startswith(".") for part in split_path(own)):
                raise UnsafePath("it must not begin with a dot")
        except UnsafePath as error:
            raise CronsembleError(f"--as {own}: a place under data/ in the store, e.g. inputs/{path.name}: {error}") from error
        found.append(Upload(path, own))
    names = [item.name for item in found]
    for name in names:
        if names.count(name) > 1:
            raise CronsembleError(f"{name}: two files would have this name: put them one by one, with --as")
    return found


def upload(target: UploadTarget, item: Upload, replace: bool) -> None:
    """Copy one file, and say what became of it; raises CronsembleError."""
    size, digest = item.path.stat().st_size, _sha256(item.path)
    there = target.inspect(item.name, digest, size)
    if there["state"] == "same":
        print(f"data/{item.name}: there already, {format_bytes(size)}, sha256 {digest[:12]}")
        return
    if there["state"] == "other" and not replace:
        raise CronsembleError(f"data/{item.name}: another file is there: --replace puts this one in its place, --as beside it")
    start = int(there["have"])
    if start and _sha256(item.path, start) != there["hash"]:
        start = 0
    if start:
        print(f"data/{item.name}: going on from {format_bytes(start)} of {format_bytes(size)}", file=sys.stderr, flush=True)
    began = time.monotonic()
    with Progress(f"data/{item.name}", size, in_bytes=True) as progress:
        progress.update(start)
        target.write_pieces(item.name, digest, start, lambda at: _pieces(item.path, at), progress.update)
    state = target.finish(item.name, digest, size, replace)["state"]
    if state == "damaged":
        raise CronsembleError(
            f"data/{item.name}: what arrived is not what was sent, or {item.path} changed meanwhile: put it again"
        )
    if state == "other":
        raise CronsembleError(f"data/{item.name}: another file has come there meanwhile: --replace puts this one in its place")
    rate = (size - start) / max(time.monotonic() - began, 1e-3)
    print(f"data/{item.name}: {format_bytes(size)}, sha256 {digest[:12]}, {format_bytes(rate)}/s")


def _sha256(path: Path, size: int | None = None) -> str:
    """Of a file, or of its first bytes."""
    digest = hashlib.sha256()
    left = path.stat().st_size if size is None else size
    with open(path, "rb") as file:
        while left > 0 and (block := file.read(min(PIECE, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def _pieces(path: Path, start: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(start)
        while piece := file.read(PIECE):
            yield piece


class LocalUpload:
    """The data folder of a store that this machine has."""

    def __init__(self, store: Store) -> None:
        self._uploads = Uploads(store.root)
        self.inspect, self.finish = self._uploads.inspect, self._uploads.finish

    def write_pieces(self, name: str, sha256: str, start: int, read: Read, progress: ReportProgress) -> None:
        for piece in read(start):
            start = int(self._uploads.write_piece(name, sha256, start, piece)["have"])
            progress(start)


def upload_all(chosen: list[Upload], target: UploadTarget, replace: bool) -> None:
    for item in chosen:
        upload(target, item, replace)
