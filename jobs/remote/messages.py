"""Messages over a byte stream: how the tool and a program beside the store speak. Standard library alone, Python 3.9.

A message is a head, which is a JSON object, and a body of bytes: two lengths as 32-bit big-endian numbers, then both. The
serving side begins with MAGIC, so that whatever else a container may print is told from it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

MAGIC = b"\0cronsemble store 1\n"
"""Its number is the protocol's version."""
HEAD, BODY = 1 << 20, 1 << 24
"""The most bytes of a head and of a body."""
_LENGTHS = struct.Struct(">II")


class MalformedMessage(Exception):
    """What came is no message of ours; ``data`` is what was read."""

    def __init__(self, text: str, data: bytes = b"") -> None:
        super().__init__(text)
        self.data = data


def read_exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """``size`` bytes; fewer raise EOFError. ``read`` gives at most as many as it is asked for, none at the end."""
    parts, missing = [], size
    while missing:
        part = read(missing)
        if not part:
            raise EOFError(f"{size - missing} of {size} bytes came")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def encode_message(head: dict[str, Any], body: bytes = b"") -> bytes:
    """A message's bytes."""
    text = json.dumps(head).encode()
    if len(text) > HEAD or len(body) > BODY:
        raise ValueError(f"a message of {len(text)} and {len(body)} bytes, at most {HEAD} and {BODY} fit")
    return _LENGTHS.pack(len(text), len(body)) + text + body


def read_message(read: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None at the end; raises Garbled, or EOFError for one that breaks off."""
    first = read(1)
    if not first:
        return None
    head_size, body_size = _LENGTHS.unpack(first + read_exactly(read, _LENGTHS.size - 1))
    if head_size > HEAD or body_size > BODY:
        raise MalformedMessage(f"a message that says it has {head_size} and {body_size} bytes")
    try:
        head = json.loads(read_exactly(read, head_size))
    except ValueError as error:
        raise MalformedMessage(f"a head that is no JSON: {error}") from error
    if not isinstance(head, dict):
        raise MalformedMessage("a head that is no object")
    return head, read_exactly(read, body_size)
