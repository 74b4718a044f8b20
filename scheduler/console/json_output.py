"""A command's answer as JSON, for programs: strict, and in printable ASCII, so that no text in it can command a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from jobs import strict_json

_NO_PRINTABLE_ASCII = re.compile(r"[^\n -~]")


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    print(as_ascii(strict_json.dumps(value, indent=1)))


def print_json_with_list(name: str, values: Iterable[Any], others: dict[str, Any]) -> None:
    """Print what ``print_json`` prints of an object with a list first; its values are printed as they come, however many."""
    key, first = as_ascii(strict_json.dumps(name)), True
    for value in values:
        text = as_ascii(strict_json.dumps(value, indent=1)).replace("\n", "\n  ")
        print(f"{{\n {key}: [\n  {text}" if first else f",\n  {text}", end="")
        first = False
    print(f"{{\n {key}: []" if first else "\n ]", end="")
    rest = as_ascii(strict_json.dumps(others, indent=1))
    print(f",{rest[1:]}" if others else "\n}")


def as_ascii(text: str) -> str:
    """JSON with every other character than printable ASCII escaped; such stand in its texts alone, but for line breaks."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _NO_PRINTABLE_ASCII.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    # Python's module takes DEL for printable.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
