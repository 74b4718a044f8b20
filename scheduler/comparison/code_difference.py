"""How two snapshots of the user's code differ: file by file, as a unified diff of bounded length."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.store import Store
from scheduler.snapshots.code_changes import FileChange, code_changes

MAX_LINES = 2_000
"""Lines of the diffs of two snapshots together."""


@dataclass(frozen=True)
class FileDifference:
    """A file of the user's code that is not the same: ``change`` is added, removed or changed.

    ``lines`` are a unified diff without its header; empty where ``note`` says why there is none (no text, too large).
    ``added`` and ``removed`` count its lines, None where they were not compared.
    """

    name: str
    change: str
    added: int | None = None
    removed: int | None = None
    lines: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class CodeDifference:
    """Two snapshots of the user's code by their hashes ("" is none), what differs, and the tasks that it is of.

    ``problem`` says why a snapshot cannot be read; ``files`` is empty then.
    """

    before: str
    after: str
    files: tuple[FileDifference, ...] = ()
    problem: str = ""
    tasks: tuple[str, ...] = ()


def code_hashes(store: Store, digest: str) -> Mapping[str, str]:
    """By file of a snapshot of the user's code its CRC-32; empty where there is none, or it cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(_read(store, digest))) as archive:
            return {file.filename: f"{file.CRC:08x}" for file in archive.infolist() if not file.is_dir()}
    except (_Unreadable, zipfile.BadZipFile):
        return {}


def code_difference(store: Store, before: str, after: str) -> CodeDifference:
    """How two snapshots differ, by their hashes; "" is one without code."""
    try:
        changes = code_changes(_read(store, before), _read(store, after))
    except _Unreadable as error:
        return CodeDifference(before, after, problem=str(error))
    except ValueError:
        return CodeDifference(before, after, problem="the code is damaged: see cronsemble fsck")
    files = []
    room = MAX_LINES
    for change in changes:
        files.append(_file_difference(change, room))
        room -= len(files[-1].lines)
    return CodeDifference(before, after, tuple(files))


def _file_difference(change: FileChange, room: int) -> FileDifference:
    """A file's difference with at most ``room`` lines."""
    what = "added" if change.is_added else "removed" if change.is_removed else "changed"
    if not change.is_text:
        return FileDifference(change.path, what, note="no text, or too large to compare its lines")
    lines = change.unified_diff()[2:]
    note = "its line ends alone differ" if not lines and what == "changed" else ""
    if len(lines) > room:
        note = f"{len(lines) - room} more lines of the diff are left out"
    return FileDifference(change.path, what, change.added, change.removed, tuple(lines[:room]), note)


class _Unreadable(Exception):
    """A snapshot cannot be read; the text says why, in a line."""


def _read(store: Store, digest: str) -> bytes:
    """The bytes of a snapshot; none for "". Raises _Unreadable."""
    if not digest:
        return b""
    try:
        return store.read_snapshot("code", digest)
    except FileNotFoundError as error:
        raise _Unreadable(f"the code {digest[:12]} is not in the store any more") from error
    except OSError as error:
        raise _Unreadable(f"the code {digest[:12]} cannot be read: {error.strerror}: see cronsemble fsck") from error
