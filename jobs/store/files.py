"""Reading and writing single files of a store, on a local disk or NFS: no layout, no runs. Standard library alone, Python 3.9.

What is visible under a stable name is whole: a file appears by an exclusive link, or takes another's place by a rename. A name
that vanishes between listing and opening counts as gone, and none is waited for by polling.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import IO, Any, TypeVar

from jobs import strict_json
from jobs.store.document_checksum import KEY, PLACEHOLDER, checksum_problem, fill
from jobs.store.ownership import share
from jobs.store.regular_files import DamagedContent, Unreadable, as_unreadable, list_folder, open_regular, read_regular

MISSING_ERRNOS = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)
"""Errors that say that a file or folder is not there, or no longer."""
_STALE_TRIES = 8
"""Further times that a name is opened which others replace between our opening and our reading."""
BLOCK = 1 << 20
"""Bytes that are hashed or copied at a time."""
MAX_DEPTH = 100
"""Levels of lists and objects in a JSON file: what has more is nobody's configuration."""
MAX_DIGITS = 1000
"""Of an integer in a JSON file."""
_UNREADABLE_MARK = b"\0unreadable: "
MAX_LINES_SIZE = 1 << 26
"""Bytes of a file of lines."""
_T = TypeVar("_T")


# -- reading


def read_fresh(path: Path, operation: Callable[[Path], _T]) -> _T:
    """What ``operation`` returns for a path; it is tried again once the server was asked for what seems missing.

    Raises OSError, with an errno of ``MISSING_ERRNOS`` only if the server says so too.
    """
    before: int | None = None
    for _ in range(_STALE_TRIES):
        try:
            return operation(path)
        except OSError as error:
            # What was stale a moment ago was there: where it is replaced all the time, its name may seem missing in between.
            is_known = error.errno != errno.ESTALE and before not in (None, errno.ESTALE)
            if error.errno not in MISSING_ERRNOS or is_known or not _revalidate(path.parent):
                raise
            before = error.errno
    return operation(path)


def read_fresh_or_none(path: Path, operation: Callable[[Path], _T]) -> _T | None:
    """Like :func:`read_fresh`, but None for what is absent or gone."""
    try:
        return read_fresh(path, operation)
    except OSError as error:
        if error.errno in MISSING_ERRNOS:
            return None
        raise


def exists(path: Path) -> bool:
    """Whether there is a file or a folder, by the server's word."""
    return _revalidate(path.parent) and read_fresh_or_none(path, os.lstat) is not None


def _revalidate(folder: Path) -> bool:
    """Have a client of NFS ask the server what a folder holds; whether there is such a folder."""
    for may_retry in (True, False):
        try:
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            return True
        except OSError as error:
            # Perhaps it is the folder itself that this client has missed.
            if error.errno not in MISSING_ERRNOS or not may_retry or folder == folder.parent or not _revalidate(folder.parent):
                return False
    return False


def list_names(folder: Path) -> list[str]:
    """The names in a folder but the hidden ones, sorted; none if it is absent or gone. Raises Unreadable, OSError."""
    return sorted(name for name in read_fresh_or_none(folder, list_folder) or [] if not name.startswith("."))


def folder_state(folder: Path) -> tuple[int, int] | None:
    """A folder's mtime and its change time, in ns since 1970; None if it is absent or gone.

    It is opened for that: a client of NFS then asks the server. Raises Unreadable, OSError.
    """

    def state(path: Path) -> tuple[int, int]:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise as_unreadable(error, path) from error
        try:
            status = os.fstat(handle)
        finally:
            os.close(handle)
        return status.st_mtime_ns, status.st_ctime_ns

    return read_fresh_or_none(folder, state)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None if the file is absent, gone, or cannot be read; raises OSError for a store out of reach."""
    try:
        return load_json(path)
    except Unreadable:
        return None


def load_json(path: Path, follows_links: bool = False) -> dict[str, Any] | None:
    """The object in a file, or None if the file is absent or gone.

    Raises Unreadable for what is no regular file, may not be read or is too large, DamagedContent for what holds no JSON object,
    and OSError. ``follows_links``: see :func:`jobs.store.regular_files.open_regular`.
    """
    data = read_fresh_or_none(path, lambda path: read_regular(path, follows_links=follows_links))
    if data is None:
        return None
    try:
        return parse_json(data)
    except ValueError as error:
        raise DamagedContent(errno.EINVAL, str(error), str(path)) from error


def parse_json(data: bytes) -> dict[str, Any]:
    """The JSON object that bytes spell in UTF-8; raises ValueError, which says in a few words why there is none."""
    if data.startswith(_UNREADABLE_MARK):
        raise ValueError(data[len(_UNREADABLE_MARK) :][:50].decode(errors="replace") or "not read")
    if not data.strip():
        raise ValueError("empty")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    if problem := checksum_problem(data):
        raise ValueError(problem)
    value.pop(KEY, None)
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half a character in it") from None
    return value


def unreadable_copy(why: str) -> bytes:
    """What stands in a copy of a store in the place of a file that could not be read: whoever reads it is told ``why``."""
    return _UNREADABLE_MARK + why.encode()


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


_DECODER = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite, parse_int=_integer)
"""NaN and Infinity, which JSON has not, are none: some of an experiment's numbers may be none, and count as absent."""


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than so many levels; without recursion."""
    layer = [value]
    for _ in range(levels):
        below: list[Any] = []
        for item in layer:
            below += item.values() if isinstance(item, dict) else item
        layer = [item for item in below if isinstance(item, (dict, list))]  # noqa: UP038 (Python 3.9)
        if not layer:
            return False
    return True


def parse_object(data: bytes | None) -> dict[str, Any] | None:
    """The JSON object that the bytes spell, or None if there are none or they spell something else."""
    try:
        return None if data is None else parse_json(data)
    except ValueError:
        return None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of lines, one each; a line that holds none is left out, and all of a file that cannot be read."""
    try:
        data = read_fresh_or_none(path, lambda path: read_regular(path, MAX_LINES_SIZE)) or b""
    except Unreadable:
        return []
    return [value for value in map(parse_object, data.splitlines()) if value is not None]


def holds(path: Path, data: bytes) -> bool:
    """Whether a path is a regular file of exactly these bytes."""

    def compare(path: Path) -> bool:
        return os.lstat(path).st_size == len(data) and read_regular(path, len(data)) == data

    try:
        return bool(read_fresh_or_none(path, compare))
    except Unreadable:
        return False


def sha256_of(path: Path, size: int | None = None) -> str:
    """The SHA-256 of a regular file, or of its first ``size`` bytes, in hexadecimal; raises Unreadable, OSError."""

    def digest(path: Path) -> str:
        with open(open_regular(path), "rb") as file:
            try:
                return sha256_of_stream(file, size)
            except OSError as error:
                raise as_unreadable(error, path) from error

    return read_fresh(path, digest)


def sha256_of_stream(file: IO[bytes], size: int | None = None) -> str:
    """The SHA-256 of what a file holds from where it stands, or of the next ``size`` bytes, in hexadecimal."""
    digest = hashlib.sha256()
    while size is None or size > 0:
        block = file.read(BLOCK if size is None else min(size, BLOCK))
        if not block:
            break
        digest.update(block)
        if size is not None:
            size -= len(block)
    return digest.hexdigest()


def have_same_bytes(left: Path, right: Path) -> bool:
    """Whether two regular files hold the same; raises Unreadable, OSError."""
    with open(open_regular(left), "rb") as first, open(open_regular(right), "rb") as second:
        if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
            return False
        while True:
            block = first.read(BLOCK)
            if block != second.read(BLOCK):
                return False
            if not block:
                return True


# -- writing


def to_json(value: Any) -> bytes:
    """How every JSON file of a store is written: one key a line, sorted, UTF-8."""
    return _encode(strict_json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False))


def _encode(line: str) -> bytes:
    # Half of a pair of surrogates, as names with bytes that are no UTF-8 have, is no character.
    return f"{line}\n".encode(errors="replace")


def to_document(value: dict[str, Any]) -> bytes:
    """How a JSON document of a store is written that is not named by its hash: with a checksum of its own inside."""
    return fill(to_json({**value, KEY: PLACEHOLDER.decode()}))


def make_folder(folder: Path, root: Path) -> None:
    """Make a folder inside ``root``, a store, that others write in too: with owner, group and openness of the one above it.

    Made by the user root, the store itself gets the owner of the folder that it lies in; and folders on the way that root's
    earlier runs kept for themselves are given to the store's owner.
    """
    if not root.is_dir():
        _make_root(root)
    is_root, owner = os.geteuid() == 0, root.stat().st_uid
    if folder.is_dir() and (not is_root or folder.stat().st_uid == owner):
        return
    if folder.parent.is_dir() and not (is_root and owner != 0):
        missing = [folder]
    else:
        missing = [path for path in (*reversed(folder.parents), folder) if root in path.parents]
    for path in missing:
        if not path.exists():
            path.mkdir(exist_ok=True)
            share(path)
        elif is_root and owner != 0 and path.stat().st_uid == 0:
            share(path)


def _make_root(root: Path) -> None:
    """Make a store's folder, as open as this user makes any; the user root gives it to the owner of what it lies in."""
    absent = [path for path in (*reversed(root.parents), root) if not path.exists()]
    root.mkdir(parents=True, exist_ok=True)
    for path in absent if os.geteuid() == 0 else ():
        above = path.parent.stat()
        # Refused where a server makes root nobody: it is nobody's then.
        with suppress(OSError):
            os.chown(path, above.st_uid, above.st_gid, follow_symlinks=False)


def write_file(path: Path, data: bytes, is_shared: bool = True) -> None:
    """Write a file inside a folder of one's own, durably; the folder's rename makes it visible.

    ``is_shared``: it gets the folder's owner, group and openness, as everything in a store.
    """
    with open(path, "wb") as file:
        if is_shared:
            share(path)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _temporary(path: Path, is_shared: bool = True) -> Iterator[Path]:
    """A hidden name beside ``path`` for what is not whole yet, and is removed; the folder is made if it is absent."""
    if not path.parent.is_dir():
        if is_shared:
            make_folder(path.parent, next(folder for folder in path.parents if folder.is_dir()))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    # A name has at most 255 bytes, and 48 characters at most 192.
    part = path.parent / f".{path.name[:48]}.{uuid.uuid4().hex}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def publish_file(path: Path, source: Path, read_only: bool = False) -> bool:
    """Make ``source``'s bytes visible as ``path`` unless that name is taken; whether it was free.

    A link where the file systems allow it, else a copy. ``read_only``: nobody is to write either any more.
    """
    # Of a pipe nothing would ever come; raises Unreadable.
    os.close(open_regular(source))
    with _temporary(path) as part:
        share(source, path.parent, read_only)
        fsync(source)
        try:
            return _link(source, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK):
                raise
        shutil.copyfile(source, part)
        share(part, read_only=read_only)
        fsync(part)
        return _link(part, path)


def publish_bytes(path: Path, data: bytes, is_shared: bool = True) -> bool:
    """Make these bytes visible as ``path`` unless that name is taken; whether it was free. ``is_shared``: see write_file."""
    with _temporary(path, is_shared) as part:
        write_file(part, data, is_shared)
        return _link(part, path)


def _link(part: Path, path: Path) -> bool:
    try:
        os.link(part, path)
    except FileExistsError:
        # A lost reply makes our own link look like another's.
        return _is_same_file(part, path)
    fsync(path.parent)
    return True


def _is_same_file(left: Path, right: Path) -> bool:
    try:
        return os.path.samefile(left, right)
    except OSError:
        return False


def replace_file(path: Path, data: bytes, durable: bool = True) -> None:
    """Put these bytes under the name, in the place of any that were there: readers see the old or the new.

    ``durable=False`` does not wait for the disk: for caches, which may be lost in a crash.
    """
    with _temporary(path) as part:
        if durable:
            write_file(part, data)
        else:
            part.write_bytes(data)
            share(part)
        rename_own(part, path)


def replace_by_copy(path: Path, source: Path) -> None:
    """Put a copy of ``source`` under the name, in the place of any bytes that were there: readers see the old or the new."""
    with _temporary(path) as part:
        shutil.copyfile(source, part)
        share(part)
        fsync(part)
        rename_own(part, path)


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add an object as a line to a file that only this machine writes; a line that was cut off before it stays alone.

    Raises OSError, also for a link: whoever made that chose what is written to.
    """
    whole = {**value, KEY: PLACEHOLDER.decode()}
    line = _encode(strict_json.dumps(whole, sort_keys=True, ensure_ascii=False))
    line = fill(line.rstrip(b"\n")) + b"\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        share(path)
        end = os.fstat(handle).st_size
        if end and os.pread(handle, 1, end - 1) != b"\n":
            line = b"\n" + line
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def rename_own(source: Path, target: Path) -> None:
    """Rename what only we know the name of: if it has gone, it was renamed and the reply was lost."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in MISSING_ERRNOS or exists(source) or not exists(target):
            raise


def fsync(path: Path) -> None:
    """Wait until a file or a folder's names are on the disk; the first error is final."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
