"""Files inside a folder by names that come from elsewhere: none leads out of it. Standard library alone, Python 3.9."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class UnsafePath(ValueError):
    """A name that is no plain path inside the folder."""


def split_path(name: Any) -> list[str]:
    """The parts of a relative path as we write it: no empty one, no ``.`` or ``..``, no NUL; raises Outside."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise UnsafePath(f"{name!r} is no path inside the store")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise UnsafePath(f"{name!r} is no path inside the store: it must be relative, without . and ..")
    return parts


def resolve_inside(root: Path, name: Any) -> Path:
    """The path of that name in ``root``, through no link that lies inside; raises Outside. The last part may not exist."""
    parts = split_path(name)
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise UnsafePath(f"{name!r}: {path.relative_to(root)} is a link, and links are not followed")
    return path


def open_inside(root: Path, name: Any, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """A descriptor of the regular file of that name; raises Outside also for a link that appears meanwhile."""
    parts = split_path(name)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        # A pipe would otherwise keep us waiting for its other end.
        handle = os.open(parts[-1], flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode, dir_fd=folder)
    except OSError as error:
        # Linux says ENOTDIR for a link where O_DIRECTORY asks for a folder.
        if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and _has_link(root, parts)):
            raise UnsafePath(f"{name!r}: a link, and links are not followed") from error
        error.filename = str(root.joinpath(*parts))
        raise
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnsafePath(f"{name!r} is no regular file")
    return handle


def read_inside(root: Path, name: str, most: int) -> bytes | None:
    """The bytes of a file, or None where it is none of ours to read: gone, larger than ``most``, a link, no file."""
    try:
        handle = open_inside(root, name)
    except UnsafePath:
        return None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.EISDIR):
            return None
        raise
    with open(handle, "rb") as file:
        data = file.read(most + 1)
    return None if len(data) > most else data


def walk_files(root: Path, folder: str) -> Iterator[tuple[str, int, int]]:
    """(path relative to root, size, mtime in ns) of every regular file under a folder; hidden names and links are left out."""
    start = resolve_inside(root, folder)
    waiting = [start]
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE, errno.ENOTDIR):
                continue
            raise
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                told = entry.stat(follow_symlinks=False)
                yield Path(entry.path).relative_to(root).as_posix(), told.st_size, told.st_mtime_ns


def _has_link(root: Path, parts: list[str]) -> bool:
    return any(root.joinpath(*parts[: n + 1]).is_symlink() for n in range(len(parts)))
