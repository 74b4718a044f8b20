"""Makes text that comes from users, files and clusters fit to be shown. Standard library alone, Python 3.9.

Everything that is printed of a reason, a name, an id or a host goes through here: on a terminal a control character can change
what was printed before, and in a line of a log or a table a newline makes another line.
"""

from __future__ import annotations

import re
import unicodedata

# After ESC, or a C1 character: control sequences (colours, moves), strings (titles, links, the clipboard), and shorter ones.
_CONTROL = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*"
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x90\x98\x9b-\x9f]*"
_SHORT = r"\x1b(?![\[\]PX^_])[ -/]*"
# A string without its end, and whatever else begins no whole sequence, loses its control characters alone: it hides nothing.
_SEQUENCES = re.compile(rf"{_CONTROL}[@-~]|{_STRING}(?:\x1b\\|\x9c|\x07)|{_SHORT}[0-~]")
_UNFINISHED = re.compile(rf"(?:{_CONTROL}|{_STRING}\x1b?|{_SHORT})\Z")
_OUR_COLOUR = re.compile("(\x1b\\[(?:0|2|31|32|33|36)m)")
"""What ``scheduler.console.colours`` writes."""
_COLOUR = re.compile("(\x1b\\[[0-9;:]*m)")
_LONGEST = 4096
"""Characters after which what looks like the beginning of a control sequence is not waited for any more."""


def one_line(text: str, limit: int | None = None) -> str:
    """A text on one line of printable characters, without control sequences; cut to ``limit`` characters if there is one."""
    if not (text.isascii() and text.isprintable()):
        text = " ".join(single_line(text).split())
    if limit is not None and len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    return text


def single_line(text: str) -> str:
    """A text as a line with its spaces: without control sequences, and with a space for each line break and control character."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, _SEQUENCES.sub("", text)))


def printable_lines(text: str) -> str:
    """A text of several lines, without control sequences but the colours of this tool, and without other control characters."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    text = _SEQUENCES.sub(lambda match: match[0] if _OUR_COLOUR.fullmatch(match[0]) else "", text)
    return "".join(part if _OUR_COLOUR.fullmatch(part) else _printable(part) for part in _OUR_COLOUR.split(text))


def terminal_output(text: str) -> str:
    """What may go to a terminal of a program's own output: its colours, and what a progress bar moves by within its line."""
    text = _SEQUENCES.sub(lambda match: match[0] if _COLOUR.fullmatch(match[0]) else "", text)
    return "".join(part if _COLOUR.fullmatch(part) else _printable(part, "\n\t\r\b") for part in _COLOUR.split(text))


def whole_sequences(text: str) -> int:
    """How much of a text can be shown before the next piece comes: less than all where a control sequence may go on."""
    unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST))
    return len(text) if unfinished is None else unfinished.start()


def _printable(text: str, kept: str = "\n\t") -> str:
    return "".join(character if character in kept else _shown(character) for character in text)


def _shown(character: str) -> str:
    """The character itself; nothing for an invisible one, which may turn the order of the text around; else a space."""
    if character.isprintable():
        return character
    return "" if unicodedata.category(character) == "Cf" else " "
