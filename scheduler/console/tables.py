"""Tables and their cells: fitted to a terminal's width, whole where there is none, quick for many rows."""

from __future__ import annotations

import math
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.text import one_line
from scheduler.console.colours import paint

WIDE = 160
"""Columns for what is laid out in blocks, where there is no terminal to fit."""
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Column:
    """A column; one with a ``rank`` may be left out where the terminal is narrow, the highest first.

    ``coloured``: its cells take the colour of their rows.
    """

    name: str
    right: bool = False
    rank: int = 0
    coloured: bool = False


def width() -> int:
    """The columns of the terminal, or WIDE."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else WIDE


def cells(text: str) -> int:
    """The columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def cut(text: str, room: int) -> str:
    """The text in at most so many columns."""
    if cells(text) <= room:
        return text
    kept, used = "", 0
    for character in text:
        used += cells(character)
        if used > room - 1:
            break
        kept += character
    return kept + "…" if room > 0 else ""


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many digits after the point; nothing for None."""
    return "" if value is None else f"{value:.{digits}f}"


def chart(values: list[float]) -> str:
    """Values as a line of bars, the lowest to the highest; ``×`` for what is no finite number."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    # Halves, for the difference of two finite numbers may be infinite.
    span = (high / 2 - low / 2) or 1.0
    steps = len(_BARS) - 1
    return "".join(_BARS[round((value / 2 - low / 2) / span * steps)] if math.isfinite(value) else "×" for value in values)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], colours: Sequence[str | None] = ()) -> None:
    """A header and the rows: as wide as the terminal at most, and never cut where there is none."""
    for line in lines(columns, rows, width() if sys.stdout.isatty() else None, colours):
        print(line)


def print_mappings(names: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Rows by the names of their columns: lists joined, nothing for what is not there."""
    values = ([row[name] for name in names] for row in rows)
    texts = [[", ".join(cell) if isinstance(cell, list) else str(cell or "") for cell in row] for row in values]
    print_table([Column(name) for name in names], texts)


def lines(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], room: int | None, colours: Sequence[str | None] = ()
) -> Iterator[str]:
    """A header and the rows as lines of at most ``room`` columns; the last column takes what is left and is cut.

    ``colours`` has each row's colour, if any.
    """
    texts = [[one_line(cell) for cell in row] for row in rows]
    widths = [
        max(len(column.name), *(cells(row[n]) for row in texts)) if texts else len(column.name)
        for n, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    if room is None:
        room = sum(widths) + 2 * len(widths)
    ranked = sorted((n for n in shown if columns[n].rank), key=lambda n: -columns[n].rank)
    while ranked and sum(widths[n] + 2 for n in shown[:-1]) + min(widths[shown[-1]], 24) > room:
        shown.remove(ranked.pop(0))
    left = room - sum(widths[n] + 2 for n in shown[:-1])
    for index, row in enumerate([[column.name for column in columns], *texts]):
        line = ""
        colour = colours[index - 1] if index and colours and left > 0 else None
        for n in shown[:-1]:
            space = " " * (widths[n] - cells(row[n]))
            text = paint(row[n], colour) if columns[n].coloured else row[n]
            line += (space + text if columns[n].right else text + space) + "  "
        line += cut(row[shown[-1]], left) if left > 0 else ""
        yield (line if left > 0 else cut(line, room)).rstrip()
