"""Rows as CSV, as RFC 4180 quotes them, in lines that end in LF. Standard library alone, Python 3.9."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """The lines of these rows. A text with a comma, a quote, CR or LF is quoted."""
    lines: list[str] = []
    csv.writer(_Lines(lines)).writerows(rows)
    return "".join(lines)


class _Lines:
    """Takes lines that end in CR LF: the writer of Python 3.11 leaves a CR unquoted where its lines end otherwise."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, line: str) -> None:
        self._lines.append(line[:-2] + "\n")
