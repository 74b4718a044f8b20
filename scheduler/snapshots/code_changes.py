"""What differs between two snapshots of the user's code: by file, how many lines, and the lines themselves."""

from __future__ import annotations

import difflib
import io
import zipfile
from dataclasses import dataclass

LARGEST_FILE = 4 << 20
"""Bytes of a file whose lines are compared; of a larger one it is only said that it differs."""


LARGEST_DIFFERENCE = 5_000
"""Lines between what a file has in common with the one before at its beginning and end; more are not compared line by line.

difflib's time grows faster than their number: 20,000 take up to 20 s, 5,000 up to one.
"""


@dataclass(frozen=True)
class FileChange:
    """A file that differs: ``old`` and ``new`` are its lines, without their ends; None where it is not there or not compared."""

    path: str
    is_added: bool
    is_removed: bool
    old: tuple[str, ...] | None
    new: tuple[str, ...] | None

    @property
    def added(self) -> int:
        """How many lines came."""
        return sum(line.startswith("+") for line in self._difference())

    @property
    def removed(self) -> int:
        """How many lines went."""
        return sum(line.startswith("-") for line in self._difference())

    @property
    def is_text(self) -> bool:
        """Whether its lines could be compared."""
        return (self.is_added or self.old is not None) and (self.is_removed or self.new is not None)

    def describe(self) -> str:
        """For people: ``models.py: 3 lines added, 1 removed``."""
        if self.is_added:
            return f"{self.path}: new, {_lines(len(self.new))}" if self.new is not None else f"{self.path}: new"
        if self.is_removed:
            return f"{self.path}: removed"
        if not self.is_text:
            return f"{self.path}: its bytes differ"
        added, removed = self.added, self.removed
        if not added and not removed:
            return f"{self.path}: line ends alone"
        counts = [f"{_lines(added)} added"] if added else []
        if removed:
            counts.append(f"{removed} removed" if counts else f"{_lines(removed)} removed")
        return f"{self.path}: {', '.join(counts)}"

    def unified_diff(self) -> list[str]:
        """The lines of a unified diff, its header first; the header alone where the lines cannot be compared."""
        header = [
            f"--- {'/dev/null' if self.is_added else f'a/{self.path}'}",
            f"+++ {'/dev/null' if self.is_removed else f'b/{self.path}'}",
        ]
        return header + (self._difference(context=3) if self.is_text else [])

    def _difference(self, context: int = 0) -> list[str]:
        if not self.is_text:
            return []
        return list(difflib.unified_diff(self.old or (), self.new or (), n=context, lineterm=""))[2:]


def code_changes(old: bytes, new: bytes) -> list[FileChange]:
    """The files in which two archives of code differ, by path; an empty archive is ``b""``. Raises ValueError for no archive."""
    before, after = _files(old), _files(new)
    changes = []
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path):
            old_lines, new_lines = (_text_lines(files.get(path)) for files in (before, after))
            if old_lines is not None and new_lines is not None and _extent(old_lines, new_lines) > LARGEST_DIFFERENCE:
                old_lines = new_lines = None
            changes.append(FileChange(path, path not in before, path not in after, old_lines, new_lines))
    return changes


def _files(archive: bytes) -> dict[str, bytes]:
    if not archive:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"it is no archive of code: {error}") from error


def _text_lines(data: bytes | None) -> tuple[str, ...] | None:
    if data is None or len(data) > LARGEST_FILE:
        return None
    try:
        return tuple(data.decode().splitlines())
    except UnicodeDecodeError:
        return None


def _extent(old: tuple[str, ...], new: tuple[str, ...]) -> int:
    """How many lines the longer of two files has between what both begin with and what both end with."""
    start = _common(old, new)
    return max(len(old), len(new)) - start - _common(old[start:][::-1], new[start:][::-1])


def _common(old: tuple[str, ...], new: tuple[str, ...]) -> int:
    return next((n for n, (left, right) in enumerate(zip(old, new, strict=False)) if left != right), min(len(old), len(new)))


def _lines(number: int) -> str:
    return f"{number} line" if number == 1 else f"{number} lines"
