"""Messages over a byte stream, between the tool and the server beside a store. Standard library alone, Python 3.9.

A message is a head, which is a JSON object, and a body of bytes: two lengths as 32-bit big-endian numbers, then both. The
server begins with MAGIC, which distinguishes it from whatever else a container may print.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

MAGIC = b"\0cronsemble store 1\n"
"""Its number is the protocol's version."""
MAX_HEAD, MAX_BODY = 1 << 20, 1 << 24
"""The most bytes of a head and of a body."""
_LENGTHS = struct.Struct(">II")


class MalformedMessage(Exception):
    """What arrived is not a message."""


def read_exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """``size`` bytes; raises EOFError if there are fewer. ``read`` returns at most as many as it is given, none at the end."""
    parts, missing = [], size
    while missing:
        part = read(missing)
        if not part:
            raise EOFError(f"{size - missing} of {size} bytes arrived")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def encode_message(head: dict[str, Any], body: bytes = b"") -> bytes:
    """A message's bytes; raises ValueError if it is too large."""
    text = json.dumps(head).encode()
    if len(text) > MAX_HEAD or len(body) > MAX_BODY:
        raise ValueError(f"a message of {len(text)} and {len(body)} bytes, at most {MAX_HEAD} and {MAX_BODY} fit")
    return _LENGTHS.pack(len(text), len(body)) + text + body


def read_message(read: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None at the end; raises MalformedMessage, or EOFError for one that breaks off."""
    first = read(1)
    return read_rest(first, read) if first else None


def read_rest(first: bytes, read: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes]:
    """The message whose first byte was read; raises as :func:`read_message`."""
    head_size, body_size = _LENGTHS.unpack(first + read_exactly(read, _LENGTHS.size - 1))
    if head_size > MAX_HEAD or body_size > MAX_BODY:
        raise MalformedMessage(f"a message of {head_size} and {body_size} bytes")
    try:
        head = json.loads(read_exactly(read, head_size))
    except ValueError as error:
        raise MalformedMessage(f"its head is not JSON: {error}") from error
    if not isinstance(head, dict):
        raise MalformedMessage("its head is not an object")
    return head, read_exactly(read, body_size)
