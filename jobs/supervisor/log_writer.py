"""Writes the log of a try: long lines cut, the middle left out once it is longer than its limit. Python 3.9, standard library."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import IO

from jobs.contract import LOG, LOG_LIMIT
from jobs.store.log_files import BLOCK, later_file, log_files
from jobs.store.ownership import share

LINE_LIMIT = BLOCK
"""Bytes that are kept of a line."""
_LATER_FILES = 4
"""Files that hold the second half of a log: when another begins, the first of them goes."""
_LAST_LINE = 1000
"""Bytes of the last line that are kept for a reason."""
_LINE_END = re.compile(rb"[\r\n]")


class LogWriter:
    """Appends to the log in a try's folder, which the steps of a try share; a context manager. Raises OSError.

    ``last_line`` is the last one that was written here and is not blank.
    """

    def __init__(self, folder: Path, limit: int = LOG_LIMIT) -> None:
        self._folder, self._first_size = folder, max(1, limit // 2)
        self._later_size = max(1, limit // 2 // _LATER_FILES)
        files = log_files(folder)
        self._later = [file.start for file in files if file.start]
        self._start, self._size = (files[-1].start, files[-1].size) if files else (0, 0)
        self._file: IO[bytes] | None = None
        self._lines = LineCutter()
        self._end = b""

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes) -> bytes:
        """Append output, at most ``BLOCK`` bytes at a time; returns what was written of it."""
        kept = self._lines.cut(data)
        self._append(kept)
        return kept

    def close(self) -> None:
        """Say how much of an unfinished line was left out, and close the file."""
        self._append(self._lines.finish())
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def last_line(self) -> str:
        """The last line that is not blank, as text; empty if there is none."""
        lines = _LINE_END.split(self._end)
        return next((line for line in reversed(lines) if line.strip()), b"").decode(errors="replace").strip()

    def _append(self, data: bytes) -> None:
        self._end = (self._end + data)[-_LAST_LINE:]
        while data:
            room = (self._later_size if self._start else self._first_size) - self._size
            if room <= 0:
                self._begin_file(self._start + self._size)
                continue
            if self._file is None:
                # Unbuffered: who follows the log sees it at once.
                path = later_file(self._folder, self._start) if self._start else self._folder / LOG
                self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by `close`)
                share(path)
            written = self._file.write(data[:room]) or 0
            self._size += written
            data = data[written:]

    def _begin_file(self, start: int) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._start, self._size = start, 0
        self._later.append(start)
        while len(self._later) > _LATER_FILES:
            with suppress(FileNotFoundError):
                later_file(self._folder, self._later.pop(0)).unlink()


class LineCutter:
    """Passes output on, but of each line at most ``LINE_LIMIT`` bytes, and then how many were left out."""

    def __init__(self) -> None:
        self._length = self._omitted = 0

    def cut(self, data: bytes) -> bytes:
        """What is kept of a piece of output of at most ``LINE_LIMIT`` bytes, in which only the first line can be too long."""
        match = _LINE_END.search(data)
        line = data[: match.start()] if match else data
        kept = line[: max(0, LINE_LIMIT - self._length)]
        self._omitted += len(line) - len(kept)
        if match is None:
            self._length += len(line)
            return kept
        last = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self._length = len(data) - last - 1
        return kept + self._take_note() + data[match.start() :]

    def finish(self) -> bytes:
        """What stands at the end of a line that was too long and did not end."""
        note = self._take_note()
        self._length = 0
        return note + b"\n" if note else b""

    def _take_note(self) -> bytes:
        omitted, self._omitted = self._omitted, 0
        return f" … [{omitted:,} bytes of this line left out]".encode() if omitted else b""
