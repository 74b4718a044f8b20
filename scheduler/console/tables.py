"""Tables for the terminal: fitted to its width, quick for many rows, plain where it is none."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDE = 160
"""Columns where there is no terminal to fit."""
_COLOURS = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2"}


@dataclass(frozen=True)
class Column:
    """A column; one with a ``rank`` may be left out where the terminal is narrow, the highest first."""

    name: str
    right: bool = False
    rank: int = 0


def width() -> int:
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else WIDE


def is_coloured() -> bool:
    import os

    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour and is_coloured() else text


def clean(text: str) -> str:
    """A text on one line without what a terminal would take for a command."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each.isprintable() else " " for each in text)


def cells(text: str) -> int:
    """The columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def cut(text: str, room: int) -> str:
    """The text in at most so many columns."""
    if cells(text) <= room:
        return text
    kept, used = "", 0
    for each in text:
        used += cells(each)
        if used > room - 1:
            break
        kept += each
    return kept + "…" if room > 0 else ""


def lines(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], room: int, colours: Sequence[str | None] = ()
) -> Iterable[str]:
    """A header and the rows as lines of at most ``room`` columns; the last column takes what is left and is cut.

    ``colours`` gives the third cell of each row its colour: the status.
    """
    texts = [[clean(cell) for cell in row] for row in rows]
    widths = [
        max(len(column.name), *(cells(row[n]) for row in texts)) if texts else len(column.name)
        for n, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    ranked = sorted((n for n in shown if columns[n].rank), key=lambda n: -columns[n].rank)
    while ranked and sum(widths[n] + 2 for n in shown[:-1]) + min(widths[shown[-1]], 24) > room:
        shown.remove(ranked.pop(0))
    left = room - sum(widths[n] + 2 for n in shown[:-1])
    for number, row in enumerate([[column.name for column in columns], *texts]):
        line = ""
        for n in shown[:-1]:
            space = " " * (widths[n] - cells(row[n]))
            text = paint(row[n], colours[number - 1]) if number and n == 2 and colours else row[n]
            line += (space + text if columns[n].right else text + space) + "  "
        line += cut(row[shown[-1]], left) if left > 0 else ""
        yield (line if left > 0 else cut(line, room)).rstrip()
