"""How two snapshots of the user's code differ: file by file, as a unified diff of bounded length."""

from __future__ import annotations

import difflib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from jobs.store import Store

MAX_FILE = 200_000
"""Bytes of a file of which a diff is made; the time of difflib grows with the square of what differs."""
MAX_LINES = 2_000
"""Lines of the diffs of one snapshot together."""
_MAX_CHANGED = 3_000
"""Lines of a file, before and after what it has in common at its beginning and end, that are compared one by one."""


@dataclass(frozen=True)
class FileDifference:
    """A file of the user's code that is not the same: ``change`` is added, removed or changed.

    ``lines`` are a unified diff without its header; empty where ``note`` says why there is none (a binary file, a large one).
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


def read_code(store: Store, digest: str) -> Mapping[str, zipfile.ZipInfo] | str:
    """The files of a snapshot by name, or why it cannot be read; none for no snapshot."""
    archive = _open(store, digest)
    return archive if isinstance(archive, str) else {} if archive is None else _files(archive)


def code_difference(store: Store, before: str, after: str) -> CodeDifference:
    """How two snapshots differ, by their hashes; "" is one without code."""
    archives = [_open(store, digest) for digest in (before, after)]
    problems = [archive for archive in archives if isinstance(archive, str)]
    if problems:
        return CodeDifference(before, after, problem="; ".join(problems))
    old, new = (archive if isinstance(archive, zipfile.ZipFile) else None for archive in archives)
    left, right = ({} if archive is None else _files(archive) for archive in (old, new))
    files = []
    room = MAX_LINES
    for name in sorted({*left, *right}):
        if name in left and name in right and (left[name].CRC, left[name].file_size) == (right[name].CRC, right[name].file_size):
            continue
        difference = _compare(name, old if name in left else None, new if name in right else None)
        if len(difference.lines) > room:
            rest = len(difference.lines) - room
            difference = replace(difference, lines=difference.lines[:room], note=f"{rest} more lines of the diff are left out")
        room -= len(difference.lines)
        files.append(difference)
    return CodeDifference(before, after, tuple(files))


def _open(store: Store, digest: str) -> zipfile.ZipFile | str | None:
    if not digest:
        return None
    try:
        return zipfile.ZipFile(io.BytesIO(store.read_snapshot("code", digest)))
    except FileNotFoundError:
        return f"the code {digest[:12]} is not in the store any more"
    except OSError as error:
        return f"the code {digest[:12]} cannot be read: {error.strerror}"
    except zipfile.BadZipFile:
        return f"the code {digest[:12]} is damaged: see cronsemble fsck"


def _files(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {file.filename: file for file in archive.infolist() if not file.is_dir()}


def _compare(name: str, before: zipfile.ZipFile | None, after: zipfile.ZipFile | None) -> FileDifference:
    change = "added" if before is None else "removed" if after is None else "changed"
    try:
        old, new = (None if archive is None else _lines(archive, name) for archive in (before, after))
    except _NoText as error:
        return FileDifference(name, change, note=str(error))
    left, right = old or [], new or []
    start = _common(left, right)
    end = _common(left[start:][::-1], right[start:][::-1])
    if max(len(left), len(right)) - start - end > _MAX_CHANGED:
        return FileDifference(name, change, note=f"{len(left):,} lines, then {len(right):,}: too many differ for a diff")
    lines = tuple(difflib.unified_diff(left, right, lineterm=""))[2:]
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    return FileDifference(name, change, added, removed, lines, "" if lines else "only line ends differ")


class _NoText(Exception):
    """A file has no lines that could be compared."""


def _lines(archive: zipfile.ZipFile, name: str) -> list[str]:
    info = archive.getinfo(name)
    if info.file_size > MAX_FILE:
        raise _NoText(f"{info.file_size:,} bytes: too large for a diff")
    try:
        data = archive.read(info)
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError) as error:
        raise _NoText("it cannot be read") from error
    if b"\0" in data:
        raise _NoText("a binary file")
    try:
        return data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise _NoText("a binary file") from error


def _common(left: list[str], right: list[str]) -> int:
    """How many lines both begin with."""
    for n, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return n
    return min(len(left), len(right))
