"""Copies files into a store's ``data/`` piece by piece: resumable, checked by hash, whole when they appear.

Standard library alone, Python 3.9. Until it is whole, a file lies beside its place under a hidden name with the hash that it
must have: a second upload goes on with it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from jobs.store.files import MISSING_ERRNOS, fsync, make_folder, publish_file, rename_own, sha256_of
from jobs.store.ownership import share
from jobs.store.safe_paths import UnsafePath, open_inside, resolve_inside, split_path

FOLDER = "data"


class Uploads:
    """Uploads into the store at ``root``: names are relative to its ``data/``, ``sha256`` and ``size`` are the whole file's."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def inspect(self, name: str, sha256: str, size: int) -> dict[str, Any]:
        """What is there: ``state`` (absent, same, other), ``have`` (bytes of an unfinished upload), and their SHA-256, ``hash``.

        Raises UnsafePath.
        """
        path = self._path(name)
        state = "absent"
        if path.is_dir():
            raise UnsafePath(f"data/{name} is a folder in the store: name another place by --as")
        if path.exists():
            state = "same" if path.stat().st_size == size and sha256_of(path) == sha256 else "other"
        part = self._part(name, sha256)
        try:
            have = min(part.stat().st_size, size)
        except OSError as error:
            if error.errno not in MISSING_ERRNOS:
                raise
            return {"state": state, "have": 0, "hash": ""}
        return {"state": state, "have": have, "hash": sha256_of(part, have)}

    def write_piece(self, name: str, sha256: str, start: int, data: bytes) -> dict[str, Any]:
        """Write a piece; what was there from its ``start`` on is dropped. ``have``: how many bytes are there now."""
        part = self._part(name, sha256)
        make_folder(part.parent, self._root)
        with open(open_inside(self._root, part.relative_to(self._root).as_posix(), os.O_RDWR | os.O_CREAT), "r+b") as file:
            share(part)
            if os.fstat(file.fileno()).st_size < start:
                raise ValueError(f"data/{name}: a piece starts at byte {start}, and fewer bytes are there")
            file.seek(start)
            file.write(data)
            file.truncate()
        return {"have": start + len(data)}

    def finish(self, name: str, sha256: str, size: int, replace: bool) -> dict[str, Any]:
        """Give the whole file its name: ``state`` is done, same, other (refused), or damaged (it is dropped then)."""
        path, part = self._path(name), self._part(name, sha256)
        if not part.exists() and size == 0:
            self.write_piece(name, sha256, 0, b"")
        if part.stat().st_size != size or sha256_of(part) != sha256:
            part.unlink()
            return {"state": "damaged"}
        fsync(part)
        if replace:
            rename_own(part, path)
        else:
            if not publish_file(path, part) and not (path.is_file() and sha256_of(path) == sha256):
                return {"state": "other"}
            part.unlink()
        fsync(path.parent)
        return {"state": "done"}

    def _path(self, name: str) -> Path:
        if any(part.startswith(".") for part in split_path(name)):
            raise UnsafePath(f"data/{name}: a name must not begin with a dot")
        return resolve_inside(self._root, f"{FOLDER}/{name}")

    def _part(self, name: str, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError(f"{sha256!r} is no SHA-256")
        # The same bytes may be uploaded to two names at once; a name of 255 bytes leaves no room for a longer prefix.
        name_hash = hashlib.sha256(name.encode()).hexdigest()[:8]
        return self._path(name).with_name(f".{sha256[:32]}-{name_hash}.part")
