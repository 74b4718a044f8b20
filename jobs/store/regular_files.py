"""Opens and reads regular files alone, up to a size, and says why one cannot be read. Standard library alone, Python 3.9.

Whoever can write a store can put anything under any name: a pipe that nobody writes to, a device without an end, a link to
elsewhere, a file of many gigabytes. Nothing of that is waited for, followed or read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_SIZE = 1 << 24
"""Bytes of the largest file that is read whole as a document: the record of an experiment with a thousand members has one."""

_UNREADABLE = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "a folder, not a file",
    errno.ELOOP: "a symbolic link, which is not followed",
    errno.EMLINK: "a symbolic link, which is not followed",
    errno.ENXIO: "a socket or a device, not a file",
    errno.ENODEV: "a device, not a file",
    errno.EFBIG: "too large",
    errno.EOVERFLOW: "too large",
    errno.EINVAL: "refused by the file system",
    errno.EIO: "input/output error",
    errno.EBADMSG: "damaged on the disk",
    getattr(errno, "EUCLEAN", errno.EIO): "damaged on the disk",
    errno.ENAMETOOLONG: "its name is too long",
}
"""Errors that are about one file, and what they say of it. All others are about the file system that it lies on."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(OSError):
    """A file or folder is there, and what it holds cannot be read; ``strerror`` says why in a few words.

    No other file is the worse for it. What says that a whole file system does not answer is another OSError.
    """

    @property
    def why(self) -> str:
        """The reason alone, without the path."""
        return str(self.strerror)


class DamagedContent(Unreadable):
    """A file could be read, and does not hold what its name says."""


def unreadable(path: Path | str, why: str, number: int = errno.EINVAL) -> Unreadable:
    """The error that a file or folder cannot be read, and why."""
    return Unreadable(number, why, str(path))


def as_unreadable(error: OSError, path: Path) -> OSError:
    """The error to raise for one that came of a file or folder: :class:`Unreadable` if it is about this one alone."""
    if isinstance(error, Unreadable) or error.errno not in _UNREADABLE:
        return error
    if error.errno == errno.EIO and not _answers(path.parent):
        # A server that is gone says the same of every file.
        return error
    return unreadable(path, _UNREADABLE[error.errno or 0], error.errno or 0)


def _answers(folder: Path) -> bool:
    """Whether the file system of a folder answers: asked of the server itself, where there is one."""
    try:
        os.statvfs(folder)
    except OSError:
        return False
    return True


def open_regular(path: Path, follows_links: bool = False) -> int:
    """A descriptor of a regular file, to read; raises Unreadable for anything else, OSError.

    ``follows_links``: for files outside a store, such as those of a ConfigMap's volume, which are symbolic links.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (0 if follows_links else os.O_NOFOLLOW)
    try:
        # Without O_NONBLOCK a pipe would keep us waiting for its other end.
        handle = os.open(path, flags | os.O_NONBLOCK)
    except OSError as error:
        raise as_unreadable(error, path) from error
    problem = _problem(os.fstat(handle))
    if problem:
        os.close(handle)
        raise unreadable(path, problem)
    return handle


def _problem(status: os.stat_result) -> str:
    """Why something is no regular file; empty if it is one."""
    if stat.S_ISREG(status.st_mode):
        return ""
    return next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "no regular file") + ", not a file"


def read_regular(path: Path, max_size: int = MAX_SIZE, follows_links: bool = False) -> bytes:
    """The bytes of a regular file; raises Unreadable for one of more than ``max_size`` bytes and for anything else, OSError."""
    with open(open_regular(path, follows_links), "rb") as file:
        if os.fstat(file.fileno()).st_size > max_size:
            raise unreadable(path, _too_large(max_size), errno.EFBIG)
        try:
            # Also where the file system says no size, or the file grows meanwhile.
            data = file.read(max_size + 1)
        except OSError as error:
            raise as_unreadable(error, path) from error
    if len(data) > max_size:
        raise unreadable(path, _too_large(max_size), errno.EFBIG)
    return data


def _too_large(max_size: int) -> str:
    return f"larger than {max_size >> 20} MiB"


def list_folder(folder: Path) -> list[str]:
    """All names in a folder; raises Unreadable for one that cannot be listed, OSError."""
    try:
        return os.listdir(folder)
    except OSError as error:
        raise as_unreadable(error, folder) from error


def is_regular(path: Path) -> bool:
    """Whether this is a regular file and no link, as far as that can be known."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether this is a folder and no link, as far as that can be known."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
