"""Texts by the columns that they take on a terminal: measured, folded into lines, and shortened so that none becomes another."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

ELLIPSIS = "…"


def cells(text: str) -> int:
    """The columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    return 0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fold(text: str, room: int) -> list[str]:
    """The text as lines of at most so many columns, at least two: broken between words, and inside one that is longer."""
    room = max(room, 2)
    if cells(text) <= room:
        return [text]
    lines, line = [], ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if cells(joined) <= room:
            line = joined
            continue
        if line:
            lines.append(line)
        while cells(word) > room:
            head = _head(word, room)
            lines.append(head)
            word = word[len(head) :]
        line = word
    return [*lines, line] if line else lines


def shorten(text: str, room: int, tail: int) -> str:
    """The text in at most so many columns: without its middle, and with about ``tail`` columns of its end."""
    if cells(text) <= room:
        return text
    if room < 1:
        return ""
    tail = min(tail, room - 1)
    return _head(text, room - 1 - tail) + ELLIPSIS + _head(text[::-1], tail)[::-1]


def shorten_distinct(texts: Iterable[str], room: int) -> dict[str, str]:
    """Each text in at most so many columns, if need be without its middle; in more where else two would become the same."""
    distinct = dict.fromkeys(texts)
    widest = max(map(cells, distinct), default=0)
    for columns in range(max(room, 1), widest):
        kept = columns - 1
        for tail in dict.fromkeys((kept // 2, kept * 3 // 4, kept // 4, kept - 1, 1)):
            shortened = {text: shorten(text, columns, tail) for text in distinct}
            if len(set(shortened.values())) == len(distinct):
                return shortened
    return {text: text for text in distinct}


def _head(text: str, room: int) -> str:
    """The beginning of a text in at most so many columns."""
    used = 0
    for n, character in enumerate(text):
        used += _cells_of(character)
        if used > room:
            return text[:n]
    return text
