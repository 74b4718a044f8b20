"""Progress of one thing that takes time: a bar or a spinner on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from jobs.text import one_line, single_line
from scheduler.console.messages import print_line
from scheduler.console.streams import drawing_console
from scheduler.times import format_bytes

INTERVAL = 10.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """How far something has come, on stderr, with the time that it has taken; used as a context manager.

    ``total`` is how many parts there are, or bytes with ``in_bytes``; without one only ``text`` is shown. Nothing is
    shown before the first call, nor after the end. Where there is no terminal the first line comes after INTERVAL, or
    ``at_once``.
    """

    def __init__(self, text: str = "", total: int | None = None, in_bytes: bool = False, at_once: bool = False) -> None:
        self._text, self._total, self._in_bytes, self._done = one_line(text), total, in_bytes, 0
        self._bar: Any = None
        self._task: Any = None
        self._printed = time.monotonic() - (INTERVAL if at_once else 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def say(self, text: str) -> None:
        """What is done or waited for now."""
        self._text = one_line(text)
        self._show()

    def update(self, done: int) -> None:
        """So many parts or bytes of the whole are done."""
        self._done = done
        self._show()

    def advance(self) -> None:
        """One more part is done."""
        self.update(self._done + 1)

    def print_above(self, text: str) -> None:
        """Print a line on stderr, above what is shown."""
        if self._bar is None:
            print_line(text, sys.stderr)
        else:
            self._bar.console.print(single_line(text), soft_wrap=True)

    def clear(self) -> None:
        """Take it off the terminal until the next call."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self) -> None:
        if not sys.stderr.isatty():
            self._print()
            return
        if self._bar is None:
            self._bar = self._columns()
            self._task = self._bar.add_task("", total=self._total)
            self._bar.start()
        self._bar.update(self._task, description=self._text, completed=self._done)

    def _print(self) -> None:
        if time.monotonic() - self._printed < INTERVAL:
            return
        self._printed = time.monotonic()
        count = format_bytes if self._in_bytes else str
        of = "" if self._total is None else f"{count(self._done)} of {count(self._total)}"
        print(": ".join(filter(None, (self._text, of))), file=sys.stderr, flush=True)

    def _columns(self) -> Any:
        from rich import progress

        text = progress.TextColumn("{task.description}", markup=False)
        columns: list[progress.ProgressColumn] = [progress.SpinnerColumn(), text]
        if self._in_bytes:
            columns += [progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn()]
        elif self._total is not None:
            columns += [progress.BarColumn(), progress.MofNCompleteColumn()]
        columns.append(progress.TimeElapsedColumn())
        if self._total is not None:
            columns += [progress.TextColumn("left:", markup=False), progress.TimeRemainingColumn()]
        # What is printed meanwhile stands above it; what goes into a pipe still does.
        console, is_shown = drawing_console(sys.stderr), sys.stdout.isatty()
        return progress.Progress(*columns, console=console, transient=True, redirect_stdout=is_shown)
