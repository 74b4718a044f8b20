"""Files of the store: written so that what is visible under a stable name is whole, and read as others may change them.

Standard library alone, Python 3.9. A file appears by an exclusive link, or takes another's place by a rename. A name that
vanishes between listing and opening counts as gone, and none is waited for by polling.

A client of NFS may believe for a minute that a name is not there, though another client has made it since, or is told that a file
is stale that another client has just replaced. Opening the folder makes it ask the server, so whoever misses a name looks twice.
And a server that restarted repeats what it had done but whose reply was lost: then a name that only we use seems taken or gone.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

MISSING_ERRNOS = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)
_T = TypeVar("_T")


def read_fresh(path: Path, how: Callable[[Path], _T]) -> _T:
    """What ``how`` finds at a path; that it is absent or gone is raised by the server's word only."""
    try:
        return how(path)
    except OSError as error:
        if error.errno not in MISSING_ERRNOS or not _ask(path.parent):
            raise
    return how(path)


def read_fresh_or_none(path: Path, how: Callable[[Path], _T]) -> _T | None:
    """Like :func:`reach`, but None for what is absent or gone."""
    try:
        return read_fresh(path, how)
    except OSError as error:
        if error.errno in MISSING_ERRNOS:
            return None
        raise


def exists(path: Path) -> bool:
    """Whether there is a file or a folder, by the server's word."""
    return _ask(path.parent) and read_fresh_or_none(path, os.lstat) is not None


def _ask(folder: Path) -> bool:
    """Have a client of NFS ask the server what a folder holds; says whether there is such a folder."""
    for again in (True, False):
        try:
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            return True
        except OSError as error:
            # Perhaps it is the folder itself that this client has missed.
            if error.errno not in MISSING_ERRNOS or not again or folder == folder.parent or not _ask(folder.parent):
                return False
    return False


def rename_own(source: Path, target: Path) -> None:
    """Rename what only we know the name of: if it has gone, it was renamed and the reply was lost."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in MISSING_ERRNOS or exists(source) or not exists(target):
            raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None if the file is absent, gone or does not hold one."""
    data = read_fresh_or_none(path, Path.read_bytes)
    try:
        value = json.loads(data or b"")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def sha256_of(path: Path) -> str:
    return read_fresh(path, _sha256)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write a file inside a folder of one's own, durably; the folder's rename makes it visible."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def publish_file(path: Path, source: Path) -> bool:
    """Make ``source``'s bytes visible as ``path`` unless that name is taken; says whether it was free.

    A link where the file systems allow it, else a copy.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fsync(source)
    try:
        return _link(source, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK):
            raise
    part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        shutil.copyfile(source, part)
        fsync(part)
        return _link(part, path)
    finally:
        part.unlink(missing_ok=True)


def publish_bytes(path: Path, data: bytes) -> bool:
    """Like :func:`publish_file` for bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        write_file(part, data)
        return _link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _link(part: Path, path: Path) -> bool:
    try:
        os.link(part, path)
    except FileExistsError:
        # A lost reply makes our own link look like another's.
        return _same_file(part, path)
    fsync(path.parent)
    return True


def _same_file(left: Path, right: Path) -> bool:
    try:
        return os.path.samefile(left, right)
    except OSError:
        return False


def fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Put these bytes under the name, in the place of any that were there: readers see the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        write_file(part, data)
        rename_own(part, path)
    finally:
        part.unlink(missing_ok=True)


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add an object as a line to a file that only this machine writes; a line that was cut off before it stays alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(value, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        end = os.fstat(handle).st_size
        if end and os.pread(handle, 1, end - 1) != b"\n":
            line = b"\n" + line
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of lines; a line that holds none is left out."""
    found = []
    for line in (read_fresh_or_none(path, Path.read_bytes) or b"").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def list_names(folder: Path) -> list[str]:
    """The visible names in a folder, sorted; none if it is absent or gone."""
    return sorted(name for name in read_fresh_or_none(folder, lambda path: os.listdir(path)) or [] if not name.startswith("."))
