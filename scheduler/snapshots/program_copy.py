"""The job program as this machine runs it: a copy in the user's cache, outside every store, checked before each use."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from jobs.contract import PROGRAM_FILE
from jobs.store import Store
from jobs.store.checksums import read_checked
from jobs.store.files import replace_file
from jobs.temporary import folder_of_process
from scheduler.cache import cache_folder

_UNUSED = 60 * 86400
"""Seconds after its last use from which on a copy is removed."""


def program_copy(store: Store, digest: str) -> Path:
    """The file of the program with this SHA-256: the only one in its folder, readable by every user, as containers need it.

    It is taken from the cache, else from the store; a store whose own copy is missing or damaged gets this one. Whoever can write
    into the store cannot change what is run. Raises OSError for a program that neither has whole.
    """
    path = cache_folder() / "programs" / digest / PROGRAM_FILE
    try:
        data = read_checked(path, digest)
    except OSError:
        data = store.read_snapshot("program", digest)
        return keep_program(data)
    store.put_snapshot("program", data)
    with suppress(OSError):
        os.utime(path)
    return path


def keep_program(data: bytes) -> Path:
    """Keep a program in the cache, or, where that cannot be written, in a folder that goes with this process. Raises OSError."""
    digest = hashlib.sha256(data).hexdigest()
    folder = cache_folder() / "programs"
    try:
        path = _write(folder, digest, data)
    except OSError:
        return _write(_folder_of_process(), digest, data)
    _remove_unused(folder)
    return path


def _write(folder: Path, digest: str, data: bytes) -> Path:
    path = folder / digest / PROGRAM_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    # A container's step may run as another user.
    path.parent.chmod(0o755)
    replace_file(path, data, durable=False)
    path.chmod(0o644)
    return path


@functools.cache
def _folder_of_process() -> Path:
    return folder_of_process("programs")


def _remove_unused(folder: Path) -> None:
    """Remove the copies that no step has used for long: a rerun takes its program from the store again."""
    before = time.time() - _UNUSED
    with suppress(OSError):
        for copy in folder.iterdir():
            if max(path.stat().st_mtime for path in (copy, *copy.iterdir())) < before:
                shutil.rmtree(copy, ignore_errors=True)
