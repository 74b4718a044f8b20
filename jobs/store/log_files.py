"""The log of a try: one stream of bytes in a file, and in further ones once it is long, without its middle. Python 3.9.

``log.txt`` holds the beginning. What comes after it lies in ``log-<position>.txt``, where the position is that of its first byte
in the stream; of these files the oldest are removed, so that a log never grows beyond its limit. Standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jobs.contract import LOG
from jobs.store.files import read_fresh_or_none
from jobs.store.regular_files import list_folder, open_regular

LOG_PATTERN = "log*.txt"
"""What the names of a log's files fit."""
BLOCK = 1 << 16
"""Bytes that are read at a time."""
LONGEST_TAIL = 1 << 25
"""Bytes at the end of a log that are searched for its last lines."""
_LATER_FILE = re.compile(r"log-([0-9]{15})\.txt")


@dataclass(frozen=True)
class LogFile:
    """One file of a log: ``start`` is the position of its first byte, ``size`` how many bytes it has."""

    start: int
    path: Path
    size: int

    @property
    def end(self) -> int:
        """The position after its last byte."""
        return self.start + self.size


def later_file(folder: Path, start: int) -> Path:
    """The file of a log that begins at this position, which is not 0."""
    return folder / f"log-{start:015}.txt"


def log_files(folder: Path) -> list[LogFile]:
    """The files of the log in a try's folder, in order; none if it has no log."""
    files = []
    for name in read_fresh_or_none(folder, list_folder) or []:
        match = _LATER_FILE.fullmatch(name)
        if name == LOG or match:
            size = read_fresh_or_none(folder / name, _size)
            if size is not None:
                files.append(LogFile(int(match[1]) if match else 0, folder / name, size))
    return sorted(files, key=lambda file: file.start)


def read_log(folder: Path, position: int = 0) -> Iterator[tuple[int, bytes]]:
    """What a log holds from a position on, block by block, each with the position after it.

    Where bytes are missing, because the log has reached its limit, a line says how many. Raises Unreadable, OSError.
    """
    for file in log_files(folder):
        if file.end <= position:
            continue
        if file.start > position:
            yield file.start, omission(file.start - position)
            position = file.start
        try:
            with open(open_regular(file.path), "rb") as opened:
                opened.seek(position - file.start)
                while data := opened.read(min(BLOCK, file.end - position)):
                    position += len(data)
                    yield position, data
        except FileNotFoundError:  # removed meanwhile: what follows says how much is missing
            continue


def omission(size: int) -> bytes:
    """The line that stands where so many bytes of a log are missing."""
    return f"\n… {size:,} bytes of output left out (log_limit) …\n".encode()


def position_of_last_lines(folder: Path, lines: int) -> int:
    """Where the last lines of a log begin; only the blocks that hold them are read, from the end.

    Of lines without end no more than ``LONGEST_TAIL`` bytes are searched. Raises Unreadable, OSError.
    """
    files = log_files(folder)
    if not files or lines <= 0:
        return files[-1].end if files else 0
    missing = lines
    for file in reversed(files):
        end = file.end
        while end > file.start:
            start = max(file.start, end - BLOCK)
            data = read_fresh_or_none(file.path, partial(_read_at, start=start - file.start, size=end - start))
            if data is None:
                return end
            if files[-1].end - start > LONGEST_TAIL:
                return start
            # The newline at the very end begins no line.
            before = len(data) - (end == files[-1].end and data.endswith(b"\n"))
            while (before := data.rfind(b"\n", 0, before)) >= 0:
                missing -= 1
                if not missing:
                    return start + before + 1
            end = start
    return files[0].start


def last_lines(folder: Path, lines: int, length: int) -> list[str]:
    """The last lines of a log as text, each of at most ``length`` characters."""
    position = max(position_of_last_lines(folder, lines), _end(folder) - lines * length * 4)
    text = b"".join(data for _, data in read_log(folder, position)).decode(errors="replace")
    return [line if len(line) <= length else line[: length - 1] + "…" for line in text.splitlines()[-lines:]]


def _end(folder: Path) -> int:
    return max((file.end for file in log_files(folder)), default=0)


def _size(path: Path) -> int:
    return path.lstat().st_size


def _read_at(path: Path, start: int, size: int) -> bytes:
    with open(open_regular(path), "rb") as file:
        file.seek(start)
        return file.read(size)
