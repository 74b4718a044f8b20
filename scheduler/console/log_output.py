"""Prints the output of the user's programs: its bytes as they are into a pipe or a file, without commands on a terminal."""

from __future__ import annotations

import codecs
import sys

from jobs.text import one_line, terminal_output, whole_sequences
from scheduler.console.streams import unfiltered

_RESET = "\x1b[0m"


class LogOutput:
    """Writes pieces of output to stdout. On a terminal colours pass, and what a progress bar needs; other control characters,
    which could move the cursor, change the title or the clipboard, or hide text, do not.
    """

    def __init__(self) -> None:
        self._out = unfiltered(sys.stdout)
        self._is_terminal = self._out.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._is_coloured = False
        self._is_within_line = False

    def write(self, data: bytes) -> None:
        """Write a piece, which may end within a character or a control sequence."""
        self._is_within_line = not data.endswith(b"\n") if data else self._is_within_line
        if not self._is_terminal:
            self._out.buffer.write(data)
            return
        text = self._pending + self._decoder.decode(data)
        end = whole_sequences(text)
        self._pending = text[end:]
        self._show(text[:end])

    def write_line(self, line: str) -> None:
        """Write a line of ours, which begins a line and shows all that came before it."""
        self.end_line()
        self.write(f"{one_line(line)}\n".encode())

    def end_line(self) -> None:
        """Have what follows begin a line; of a control sequence that has not ended its text is shown."""
        self._show(self._pending + self._decoder.decode(b"", final=True))
        self._pending = ""
        if self._is_within_line:
            self.write(b"\n")
        self.flush()

    def _show(self, text: str) -> None:
        shown = terminal_output(text)
        self._is_coloured = self._is_coloured or "\x1b" in shown
        self._out.write(shown)

    def flush(self) -> None:
        """Have what was written shown, and the colour of what follows be the terminal's own."""
        if self._is_coloured:
            self._out.write(_RESET)
            self._is_coloured = False
        self._out.flush()
