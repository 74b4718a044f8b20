"""Files inside a folder by relative paths that another machine sent: none leads out of it. Python 3.9, standard library."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.store.files import MISSING_ERRNOS
from jobs.store.regular_files import Unreadable, as_unreadable, unreadable


class UnsafePath(ValueError):
    """A name that is no plain path inside the folder."""


def split_path(name: Any) -> list[str]:
    """The parts of a relative path: no empty one, no ``.`` or ``..``, no NUL; raises UnsafePath."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise UnsafePath(f"{name!r} is no path inside the store")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise UnsafePath(f"{name!r} is no path inside the store: it must be relative, without . and ..")
    return parts


def resolve_inside(root: Path, name: Any) -> Path:
    """The path of that name in ``root``, through no link that lies inside; raises UnsafePath. The last part may not exist."""
    parts = split_path(name)
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise UnsafePath(f"{name!r}: {path.relative_to(root)} is a link, and links are not followed")
    return path


def open_inside(root: Path, name: Any, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """A descriptor of the regular file of that name; raises UnsafePath also for a link that appears meanwhile, OSError."""
    parts = split_path(name)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            subfolder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = subfolder
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


def read_inside(root: Path, name: str, max_size: int) -> bytes | None:
    """The bytes of a file, or None if it is absent or gone.

    Raises Unreadable for what cannot be read: a link, no file, more than ``max_size`` bytes; and OSError.
    """
    try:
        handle = open_inside(root, name)
    except UnsafePath as error:
        raise unreadable(root / name, "a link or no regular file") from error
    except OSError as error:
        if error.errno in MISSING_ERRNOS:
            return None
        raise as_unreadable(error, root / name) from error
    with open(handle, "rb") as file:
        try:
            data = file.read(max_size + 1)
        except OSError as error:
            raise as_unreadable(error, root / name) from error
    if len(data) > max_size:
        raise unreadable(root / name, f"larger than {max_size >> 20} MiB", errno.EFBIG)
    return data


def walk_files(root: Path, folder: str, skip_unreadable: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file under a folder but hidden ones and links: its path relative to root, and its status.

    Raises OSError, and Unreadable for a folder that cannot be listed, unless ``skip_unreadable``.
    """
    folders = [resolve_inside(root, folder)]
    while folders:
        path = folders.pop()
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            problem = as_unreadable(error, path)
            if error.errno in MISSING_ERRNOS or (skip_unreadable and isinstance(problem, Unreadable)):
                continue
            raise problem from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path).relative_to(root).as_posix(), entry.stat(follow_symlinks=False)


def _has_link(root: Path, parts: list[str]) -> bool:
    return any(root.joinpath(*parts[: n + 1]).is_symlink() for n in range(len(parts)))
