"""Temporary folders: of this user alone, and cleared by its next process where one was killed. Standard library, Python 3.9.

They hold the user's code and the configurations of tasks. Each is locked for as long as its process lives: the kernel gives
the lock back however that ends, whatever became of its pid, and also where two containers share the temporary folder.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_NAME = r"cronsemble-{user}-[a-z]+-[a-z0-9_]{{8}}"


class TemporaryFolder:
    """A new folder below the system's temporary one, with mode 0700; a context manager that removes it.

    ``purpose`` is a word of its name. What killed processes of this user have left is removed first.
    """

    def __init__(self, purpose: str) -> None:
        remove_leftovers()
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"cronsemble-{os.geteuid()}-{purpose}-"))
            try:
                self._lock = _open(self.path)
            except FileNotFoundError:
                continue  # another process has taken it for a leftover
            with suppress(OSError):  # a file system without locks: then nobody takes it for a leftover either
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Or between that and the lock.
            if _is_at(self.path, self._lock):
                return
            os.close(self._lock)

    def remove(self) -> None:
        """Remove it with all that it holds; nothing where that has been done."""
        if self._lock >= 0:
            _remove(self.path)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()


def folder_of_process(purpose: str) -> Path:
    """A temporary folder that is removed when this process ends."""
    folder = TemporaryFolder(purpose)
    atexit.register(folder.remove)
    return folder.path


def remove_leftovers() -> None:
    """Remove the temporary folders of this user's processes that have ended without removing them; no link is followed."""
    pattern = re.compile(_NAME.format(user=os.geteuid()))
    parent = Path(tempfile.gettempdir())
    with suppress(OSError):
        for name in filter(pattern.fullmatch, os.listdir(parent)):
            with suppress(OSError):
                lock = _open(parent / name)
                try:
                    if os.fstat(lock).st_uid == os.geteuid():
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its process lives
                        _remove(parent / name)
                finally:
                    os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(handle))
    except OSError:
        return False


def _remove(folder: Path) -> None:
    # What the user's code made unwritable is removed too.
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with suppress(OSError):
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
