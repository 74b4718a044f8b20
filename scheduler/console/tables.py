"""Tables: fitted to a terminal's width without losing anything unsaid, whole where there is none, quick for many rows."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.compact_list import CompactList
from jobs.text import one_line
from scheduler.console.colours import paint
from scheduler.console.messages import print_note
from scheduler.console.text_width import cells, fold, shorten_distinct

WIDE = 160
"""Columns for what is laid out in blocks, where there is no terminal to fit."""
LEAST_FOLDED = 24
"""Columns that a last column is folded into at least, if it needs so many."""
LEAST_NAME, LEAST_SHORTENED = 18, 10
"""Columns that a name is shortened to at least, before columns are left out and after."""
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Column:
    """A column; one with a ``rank`` may be left out where the terminal is narrow, the highest first. The last is folded.

    ``coloured``: its cells take the colour of their rows. ``is_name``: its texts are names, which may lose their middle.
    """

    name: str
    right: bool = False
    rank: int = 0
    coloured: bool = False
    is_name: bool = False


def width() -> int:
    """The columns of the terminal, or WIDE."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else WIDE


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


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    colours: Sequence[str | None] = (),
    hint: str = "",
    unneeded: Collection[str] = (),
) -> None:
    """A header and the rows: as wide as the terminal at most, and never cut, folded or shortened where there is none.

    Columns that a terminal has no room for are named in a note, with ``hint``, which says how else to see them. ``colours`` and
    ``unneeded``, names of columns that are not printed, are looked at once all rows have been taken.
    """
    table = Table(columns, rows, width() if sys.stdout.isatty() else None, unneeded)
    for line in table.lines(colours):
        print(line)
    if table.left_out:
        ways = ", ".join(filter(None, (hint, "a wider terminal or a pipe shows all")))
        print_note(f"no room for {', '.join(table.left_out)}: {ways}")


def print_mappings(names: Sequence[str], rows: Iterable[dict[str, Any]], ranks: Mapping[str, int]) -> None:
    """Rows by the names of their columns: lists joined, nothing for what is not there; ``ranks`` as of :class:`Column`."""
    values = ([row[name] for name in names] for row in rows)
    texts = [[", ".join(cell) if isinstance(cell, list) else str(cell or "") for cell in row] for row in values]
    columns = [Column(name, rank=ranks.get(name, 0), is_name=name in ("experiment", "task")) for name in names]
    print_table(columns, texts, hint="--json has them")


class Table:
    """Rows laid out in ``room`` columns, or without a limit.

    Where they do not fit, headers are folded, columns with a rank left out (``left_out`` has their names), names shortened in
    their middle so that no two of a column become the same, and the last column is folded, beside the others or below them. What
    still does not fit is written as a block of lines a row.
    """

    def __init__(
        self, columns: Sequence[Column], rows: Iterable[Sequence[str]], room: int | None, unneeded: Collection[str] = ()
    ) -> None:
        self._columns = columns
        # Very many rows, as those of a history, are looked at again and again.
        self._rows: CompactList[list[str]] = CompactList(lambda row: list(map(str, row)), list)
        self._widest_texts = [0] * len(columns)
        self._names: dict[int, dict[str, None]] = {n: {} for n, column in enumerate(columns) if column.is_name}
        for row in rows:
            self._add([one_line(cell) for cell in row])
        self._shortened: dict[int, dict[str, str]] = {}
        needed = [n for n, column in enumerate(columns) if column.name not in unneeded]
        self._shown = list(needed)
        self._widths = [max(cells(column.name), self._widest_texts[n]) for n, column in enumerate(columns)]
        self._room = self._needed() if room is None else room
        self._is_below = self._is_block = False
        if self._needed() > self._room:
            self._fit()
        self.left_out = [columns[n].name for n in needed if n not in self._shown]

    def _add(self, row: list[str]) -> None:
        widest = self._widest_texts
        for n, text in enumerate(row):
            if (columns := cells(text)) > widest[n]:
                widest[n] = columns
        for n, names in self._names.items():
            names[row[n]] = None
        self._rows.append(row)

    def _widest(self, number: int) -> int:
        if number in self._shortened:
            return max(map(cells, self._shortened[number].values()), default=0)
        return self._widest_texts[number]

    def _needed(self) -> int:
        """The columns of the whole table."""
        return sum(self._widths[n] for n in self._shown) + 2 * (len(self._shown) - 1)

    def _offset(self) -> int:
        """Where the last column begins."""
        return sum(self._widths[n] + 2 for n in self._shown[:-1])

    def _fit(self) -> None:
        for n, column in enumerate(self._columns):
            self._widths[n] = max(self._widest(n), *(cells(word) for word in column.name.split(" ")))
        widths, shown = self._widths, self._shown
        least = min(widths[shown[-1]], LEAST_FOLDED)
        ranked = sorted((n for n in shown if self._columns[n].rank), key=lambda n: -self._columns[n].rank)
        # As few columns as possible are left out: names are shortened before, and the last column goes below the others after.
        for is_below, offset, name in ((False, self._room - least, LEAST_NAME), (True, self._room + 2, LEAST_SHORTENED)):
            self._is_below = is_below
            for left_out in range(len(ranked) + 1):
                self._shortened, self._widths = {}, list(widths)
                self._shown = [n for n in shown if n not in ranked[:left_out]]
                self._shorten_until(offset, name)
                if self._offset() <= offset:
                    return
        self._shortened, self._widths, self._shown, self._is_block = {}, widths, shown, True

    def _shorten_until(self, offset: int, least: int) -> None:
        """Shorten names, the widest column first, until the last column begins at ``offset``, if that can be."""
        names = [n for n in self._shown[:-1] if self._columns[n].is_name]
        for n in sorted(names, key=lambda n: -self._widths[n]):
            excess = self._offset() - offset
            if excess > 0:
                self._shorten(n, max(self._widths[n] - excess, least))

    def _shorten(self, number: int, room: int) -> None:
        self._shortened[number] = shorten_distinct(self._names[number], room)
        words = (cells(word) for word in self._columns[number].name.split(" "))
        self._widths[number] = max(self._widest(number), *words)

    def lines(self, colours: Sequence[str | None] = ()) -> Iterator[str]:
        """A header and the rows; ``colours`` has each row's colour, if any."""
        if self._is_block:
            yield from self._blocks()
            return
        headers = [fold(self._columns[n].name, self._widths[n]) for n in self._shown]
        lowest = max(map(len, headers if not self._is_below else headers[:-1]))
        if self._is_below:
            headers[-1] = [""] * (lowest - 1) + headers[-1]
        for k in range(lowest):
            yield from self._lines_of([header[k] if k < len(header) else "" for header in headers], None)
        for n, row in enumerate(self._rows):
            for k, shortened in self._shortened.items():
                row[k] = shortened[row[k]]
            yield from self._lines_of([row[k] for k in self._shown], colours[n] if colours else None)

    def _lines_of(self, row: list[str], colour: str | None) -> Iterator[str]:
        line = ""
        for n, text in zip(self._shown[:-1], row, strict=False):
            space = " " * (self._widths[n] - cells(text))
            shown = paint(text, colour) if self._columns[n].coloured else text
            line += (space + shown if self._columns[n].right else shown + space) + "  "
        if self._is_below:
            yield line.rstrip()
            yield from ("    " + part for part in fold(row[-1], self._room - 4) if part)
            return
        offset = self._offset()
        first, *others = fold(row[-1], self._room - offset) or [""]
        yield (line + first).rstrip()
        yield from (" " * offset + part for part in others)

    def _blocks(self) -> Iterator[str]:
        """Each row as lines of a column's name and its text."""
        for row in self._rows:
            for n in self._shown:
                if row[n]:
                    yield from fold(f"{self._columns[n].name}: {row[n]}", self._room)
            yield ""
