"""A command's answer as JSON, for programs: strict, and in printable ASCII, so that no text in it can command a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

from jobs import strict_json

_NO_PRINTABLE_ASCII = re.compile(r"[^\n -~]")


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    print(as_ascii(strict_json.dumps(value, indent=1)))


def as_ascii(text: str) -> str:
    """JSON with every other character than printable ASCII escaped; such stand in its texts alone, but for line breaks."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _NO_PRINTABLE_ASCII.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    # Python's module takes DEL for printable.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
