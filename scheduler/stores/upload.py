"""`put`: copies files into a store's data folder, resumable and checked, wherever the store is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.store import LocalStore
from jobs.store.files import sha256_of
from jobs.store.safe_paths import UnsafePath, split_path
from jobs.store.uploads import Uploads
from scheduler.console.messages import print_line
from scheduler.console.progress import Progress
from scheduler.errors import CronsembleError
from scheduler.times import format_bytes

PIECE = 1 << 20
"""Bytes that are written or sent at a time."""

ReportProgress = Callable[[int], None]
"""Called with how many bytes are there."""
Read = Callable[[int], Iterator[bytes]]
"""Returns the pieces of a file from a byte on."""


class UploadTarget(Protocol):
    """A store's data folder, as :class:`jobs.store.uploads.Uploads` has it."""

    def inspect(self, name: str, sha256: str, size: int) -> dict[str, Any]:
        """See ``Uploads.inspect``."""

    def write_pieces(self, name: str, sha256: str, start: int, read: Read, progress: ReportProgress) -> None:
        """Write what ``read`` returns from ``start`` on; ``progress`` is called with how many bytes are there."""

    def finish(self, name: str, sha256: str, size: int, replace: bool) -> dict[str, Any]:
        """See ``Uploads.finish``."""


@dataclass(frozen=True)
class Upload:
    """A file of this machine, and its name under data/ in the store."""

    path: Path
    name: str


def choose_uploads(files: list[Path], name: str | None) -> list[Upload]:
    """Which files get which names; ``name`` is ``--as``: a path, or a folder if it ends in /. Raises CronsembleError."""
    if name is not None and not name.endswith("/") and len(files) > 1:
        raise CronsembleError(f"--as {name}: {len(files)} files cannot have one name: end it with / to make it a folder")
    uploads = []
    for path in files:
        if not path.is_file():
            problem = "a folder: name its files" if path.is_dir() else "no such file"
            raise CronsembleError(f"{path}: {problem}")
        target = path.name if name is None else name + path.name if name.endswith("/") else name
        try:
            if any(part.startswith(".") for part in split_path(target)):
                raise UnsafePath("it must not begin with a dot")
        except UnsafePath as error:
            raise CronsembleError(f"--as {target}: a path under data/ in the store, e.g. inputs/{path.name}: {error}") from error
        uploads.append(Upload(path, target))
    names = [upload.name for upload in uploads]
    for target in names:
        if names.count(target) > 1:
            raise CronsembleError(f"{target}: two files would have this name: put them one by one, with --as")
    return uploads


def upload_all(target: UploadTarget, uploads: list[Upload], replace: bool) -> None:
    """Copy the files one after another; raises CronsembleError."""
    for upload in uploads:
        upload_file(target, upload, replace)


def upload_file(target: UploadTarget, upload: Upload, replace: bool) -> None:
    """Copy one file, and print what became of it; raises CronsembleError."""
    size, digest = upload.path.stat().st_size, sha256_of(upload.path)
    present = target.inspect(upload.name, digest, size)
    if present["state"] == "same":
        print_line(f"data/{upload.name}: already there, {format_bytes(size)}, sha256 {digest[:12]}")
        return
    if present["state"] == "other" and not replace:
        raise CronsembleError(
            f"data/{upload.name}: another file is there: --replace puts this one in its place, --as gives this one another name"
        )
    start = int(present["have"])
    if start and sha256_of(upload.path, start) != present["hash"]:
        start = 0
    if start:
        print_line(f"data/{upload.name}: resuming at {format_bytes(start)} of {format_bytes(size)}", sys.stderr)
    began = time.monotonic()
    with Progress(f"data/{upload.name}", size, in_bytes=True) as progress:
        progress.update(start)
        target.write_pieces(upload.name, digest, start, lambda first: _pieces(upload.path, first), progress.update)
    state = target.finish(upload.name, digest, size, replace)["state"]
    if state == "damaged":
        raise CronsembleError(
            f"data/{upload.name}: what arrived is not what was sent, or {upload.path} changed meanwhile: put it again"
        )
    if state == "other":
        raise CronsembleError(
            f"data/{upload.name}: another file has been put there meanwhile: --replace puts this one in its place"
        )
    rate = (size - start) / max(time.monotonic() - began, 1e-3)
    print_line(f"data/{upload.name}: {format_bytes(size)}, sha256 {digest[:12]}, {format_bytes(rate)}/s")


def _pieces(path: Path, start: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(start)
        while piece := file.read(PIECE):
            yield piece


class LocalUpload:
    """:class:`UploadTarget` in a store of this machine."""

    def __init__(self, store: LocalStore) -> None:
        self._uploads = Uploads(store.root)
        self.inspect, self.finish = self._uploads.inspect, self._uploads.finish

    def write_pieces(self, name: str, sha256: str, start: int, read: Read, progress: ReportProgress) -> None:
        """Write them one by one."""
        for piece in read(start):
            start = int(self._uploads.write_piece(name, sha256, start, piece)["have"])
            progress(start)
