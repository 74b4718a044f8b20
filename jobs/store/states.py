"""States of files and runs: texts that differ once something was written, replaced or removed, found without reading it.

Standard library alone, Python 3.9. A file's state has its change time (ctime) beside its size and mtime, which whoever copies
or restores a file sets as they were before.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from jobs.contract import END, RECORD, RECORD_TRACE, RESULT, SELECTION, START, TRY_PREFIX
from jobs.store.files import MISSING_ERRNOS, list_names
from jobs.store.regular_files import Unreadable, as_unreadable, is_folder

FRESH = 60
"""What changed within so many seconds of now may change again without its times differing: file systems count them coarsely."""
_CHUNK, _THREADS = 64, 16
_T = TypeVar("_T")


def stat_state(status: os.stat_result) -> str:
    """The state of a file by its status."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def file_state(path: str | Path, now: float | None = None) -> str:
    """The state of a file; empty if it has gone, "!" if it cannot be known.

    With ``now`` (seconds since 1970) that of a fresh file differs at each look.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        if error.errno in MISSING_ERRNOS:
            return ""
        if isinstance(as_unreadable(error, Path(path)), Unreadable):
            return "!"
        raise
    return stat_state(status) + fresh_mark(status.st_mtime_ns, now)


def fresh_mark(mtime: int, now: float | None) -> str:
    """What a state has besides if its file was changed (in ns since 1970) just before ``now``."""
    return "" if now is None or mtime / 1e9 < now - FRESH else f"@{now:.0f}"


def small_files(folder: Path) -> tuple[list[str], list[str]]:
    """The folders of a run's tries and result, and the names within it of the small files that say what became of it.

    The files of a try or a result are named whether or not they are there; a folder that cannot be listed has none.
    """
    # Listed, and not only looked up: else a client of NFS may answer with what it saw up to a minute ago.
    names = _listable_names(folder)
    folders = [name for name in names if name == RESULT or name.startswith(TRY_PREFIX)]
    files = [name for name in names if name.endswith(".json")]
    if RESULT not in names and os.path.lexists(folder / RECORD_TRACE):
        files.append(RECORD_TRACE)
    for name in folders:
        if name != RESULT:
            _listable_names(folder / name)
        files += [f"{name}/{file}" for file in ([RECORD] if name == RESULT else [START, END, SELECTION])]
    return folders, files


def _listable_names(folder: Path) -> list[str]:
    try:
        return list_names(folder)
    except Unreadable:
        return []


def run_state(folder: Path, now: float | None = None) -> str:
    """The state of all small files of a run; empty if the run has gone."""
    folders, files = small_files(folder)
    if not folders and not files and not is_folder(folder):
        return ""
    prefix = str(folder)
    return " ".join([*folders, *(f"{name}:{file_state(f'{prefix}/{name}', now)}" for name in files)]) or "-"


def record_state(folder: Path) -> str:
    """The state of a run's record, and of the folder that gets the decisions about it; empty if the record has gone."""
    record = file_state(f"{folder}/{RESULT}/{RECORD}")
    return f"{record} {file_state(folder)}" if record else ""


def states_of(folders: Sequence[_T], state: Callable[[_T], str]) -> list[str]:
    """The state of each folder (or whatever says which), of many several at a time: on NFS each takes some round trips."""
    if len(folders) <= _CHUNK:
        return [state(folder) for folder in folders]
    chunks = [folders[start : start + _CHUNK] for start in range(0, len(folders), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        return [one for states in pool.map(lambda chunk: [state(folder) for folder in chunk], chunks) for one in states]


def number_of(state: str) -> int:
    """A positive number for a state, the same in every process; 0 for none."""
    return int.from_bytes(hashlib.blake2b(state.encode(), digest_size=7).digest(), "big") | 1 if state else 0
