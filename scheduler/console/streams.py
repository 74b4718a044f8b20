"""What this process prints passes through here: nothing but printable text, lines and our own colours reaches stdout and stderr.

Reasons, names and hosts are made one line where they are read or printed (``jobs.text``). This is the net beneath: a text of a
file, a server or a user that a command prints as it is can still not command the terminal. What draws on the terminal, and
``logs``, which prints the user's own output, take the stream beneath by :func:`unfiltered`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

from jobs.text import printable_lines

if TYPE_CHECKING:
    from rich.console import Console


class PrintableStream:
    """A text stream that leaves out what :func:`jobs.text.printable_lines` does; all else is the stream's beneath."""

    def __init__(self, stream: TextIO) -> None:
        self.unfiltered = stream

    def write(self, text: str) -> int:
        """Write what may be shown of a text."""
        self.unfiltered.write(printable_lines(text))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Write every line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)


def unfiltered(stream: TextIO) -> TextIO:
    """The stream beneath a filtered one, or the stream itself."""
    return cast("TextIO", getattr(stream, "unfiltered", stream))


def drawing_console(stream: TextIO) -> Console:
    """A console of rich that draws on the stream beneath; what is printed meanwhile, which rich redirects to it, is filtered."""
    from rich.console import Console
    from rich.text import Text

    class PrintableConsole(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            # A string is printed as it is: nothing in it is markup, an emoji's name or a number to be coloured.
            texts = [Text(printable_lines(text)) if isinstance(text, str) else text for text in objects]
            for text in texts:
                if isinstance(text, Text):
                    # One character for another, so that colours stay where they are.
                    text.plain = "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text.plain)
            super().print(*texts, **options)

    return PrintableConsole(file=unfiltered(stream), markup=False, emoji=False, highlight=False)


@contextmanager
def printable_streams() -> Iterator[None]:
    """Filter stdout and stderr; characters that the locale's encoding has not are written as escapes."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (cast("TextIO", PrintableStream(stream)) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
