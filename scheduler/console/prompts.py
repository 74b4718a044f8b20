"""Asking and showing progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from scheduler.errors import CronsembleError

FEW = 20
"""Up to so many actions need no bar."""


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; raises CronsembleError for a no, and elsewhere unless ``yes`` is given."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CronsembleError(f"{question} There is no terminal to ask: --yes says so")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CronsembleError("nothing was changed")


class ProgressBar:
    """How many of all actions are done; a line each 100 where there is no terminal."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        if self._total > FEW and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn as Filled
            from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

            self._bar = Progress(
                Filled(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def done(self) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.advance(self._task)
        elif self._total > FEW and (self._done % 100 == 0 or self._done == self._total):
            print(f"{self._done} of {self._total} done", file=sys.stderr, flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows as a table: lists joined, nothing for what is not there."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    for row in rows:
        cells = (", ".join(value) if isinstance(value, list) else str(value or "") for value in (row[name] for name in columns))
        table.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 400, markup=False, highlight=False).print(table)


class StatusLine:
    """A line on a terminal that says what is waited for, and is gone afterwards; elsewhere nothing is said."""

    def __init__(self) -> None:
        self._is_shown, self._is_terminal = False, sys.stderr.isatty()

    def say(self, text: str) -> None:
        if self._is_terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_shown = False


def print_warnings(place: str, lines: list[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        print(f"{place}warning: {line}", file=sys.stderr)
