"""SHA-256 of stored files: of one against the hash that its name or a record gives it. Standard library alone, Python 3.9."""

from __future__ import annotations

import errno
import hashlib
import re
from pathlib import Path
from typing import IO

from jobs.store.files import BLOCK, read_fresh
from jobs.store.regular_files import DamagedContent, open_regular, read_regular

LARGEST = 1 << 30
"""Bytes of the largest part of a snapshot."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def damaged(path: Path) -> DamagedContent:
    """The error for a file whose bytes are not those that its name or a record gives the hash of."""
    return DamagedContent(errno.EIO, "it is damaged: its sha256 is not the recorded one", str(path))


def is_sha256(text: object) -> bool:
    """Whether it is a SHA-256 in hexadecimal."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def read_checked(path: Path, sha256: str) -> bytes:
    """A file's bytes, whose hash this is; raises OSError, DamagedContent for other bytes."""
    data = read_fresh(path, lambda path: read_regular(path, LARGEST))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise damaged(path)
    return data


def copy_checked(path: Path, sha256: str, target: Path) -> None:
    """Copy a file whose hash this is, so that what was checked is what is used, whatever takes its name meanwhile.

    Raises OSError, DamagedContent for other bytes: ``target`` is then not to be used.
    """
    digest = hashlib.sha256()

    def copy(path: Path) -> None:
        with open(open_regular(path), "rb") as source, open(target, "wb") as copied:
            _copy_blocks(source, copied, digest)

    read_fresh(path, copy)
    if digest.hexdigest() != sha256:
        target.unlink()
        raise damaged(path)


def _copy_blocks(source: IO[bytes], target: IO[bytes], digest: hashlib._Hash) -> None:
    for block in iter(lambda: source.read(BLOCK), b""):
        digest.update(block)
        target.write(block)
