"""Makes text that comes from users, files and clusters fit to be shown. Standard library alone, Python 3.9.

Everything that is printed of a reason, a name, an id or a host goes through here: on a terminal a control character can change
what was printed before, and in a line of a log or a table a newline makes another line.
"""

from __future__ import annotations

import re
import unicodedata

# After ESC, or a C1 character: control sequences (colours, moves), strings (titles, links, the clipboard), and shorter ones.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x1b\\|\x9c|\x07|$)"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)


def one_line(text: str, limit: int | None = None) -> str:
    """A text on one line of printable characters, without control sequences; cut to ``limit`` characters if there is one."""
    if not (text.isascii() and text.isprintable()):
        text = " ".join("".join(map(_shown, _SEQUENCES.sub("", text))).split())
    if limit is not None and len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    return text


def _shown(character: str) -> str:
    """The character itself; nothing for an invisible one, which may turn the order of the text around; else a space."""
    if character.isprintable():
        return character
    return "" if unicodedata.category(character) == "Cf" else " "
