"""Lines of text on stdout and stderr: each is one line, whatever a name, a reason or a server's word in it holds."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from jobs.text import single_line
from scheduler.console.text_width import fold


def print_line(text: object, file: TextIO | None = None) -> None:
    """Print a text as one line, on stdout unless ``file`` says otherwise."""
    print(single_line(str(text)), file=file or sys.stdout, flush=True)


def print_note(text: str) -> None:
    """Print on stderr what a user should know of a result that stdout holds."""
    sys.stdout.flush()
    room = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    for line in fold(single_line(f"note: {text}"), room) if room else [f"note: {text}"]:
        print_line(line, sys.stderr)


def print_warnings(place: str, warnings: list[str]) -> None:
    """A line on stderr for each warning, after what was printed before; ``place`` is put in front as it is."""
    sys.stdout.flush()
    for warning in warnings:
        print_line(f"{place}warning: {warning}", sys.stderr)
