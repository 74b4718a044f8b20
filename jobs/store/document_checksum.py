"""The checksum that a JSON document of a store has inside: any change to its bytes shows. Standard library alone, Python 3.9.

It is the SHA-256 of the document's own bytes with sixty-four zeros in its place. Documents of earlier versions have none.
"""

from __future__ import annotations

import hashlib
import re

KEY = "checksum"
PLACEHOLDER = b"0" * 64
DIFFERS = "its checksum differs: it has changed since it was written"

_BEGINS_KEY = rb'(?:\n |^\{|, )"'
"""What stands before a key of the outermost object: a line's indentation, or in a line of several what separates keys."""
_CHECKSUM = re.compile(_BEGINS_KEY + rb'checksum": "([^"\n]*)"')
_RENAMED = re.compile(_BEGINS_KEY + rb'[^"\n]{8}": "[0-9a-f]{64}"')
"""A key of as many bytes with such a value: nothing of ours has one, so it was the checksum's."""


def fill(data: bytes) -> bytes:
    """A document with its checksum in the place of the placeholder that it was written with."""
    match = _CHECKSUM.search(data)
    assert match is not None and match[1] == PLACEHOLDER
    return data[: match.start(1)] + _digest(data) + data[match.end(1) :]


def checksum_problem(data: bytes) -> str:
    """Why a document is not as it was written, as far as it says itself; empty if it is, or has no checksum."""
    match = _CHECKSUM.search(data)
    if match is None:
        return DIFFERS if _RENAMED.search(data) else ""
    whole = data[: match.start(1)] + PLACEHOLDER + data[match.end(1) :]
    return "" if _digest(whole) == match[1] else DIFFERS


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
