"""Names of files that are made of texts from elsewhere: hosts, ids of tries, hashes in a record. Standard library, Python 3.9."""

from __future__ import annotations

import hashlib
import re

_PLAIN = re.compile(r"[A-Za-z0-9._-]{0,100}")
_OTHER = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST = 100
"""Characters of a name's part: a name has at most 255 bytes, and some have two parts."""


def name_part(text: str) -> str:
    """A text as one part of a file's name, beside a prefix or an ending of ours: no two texts have the same.

    Letters, digits, ``.``, ``_`` and ``-`` stay as they are. Other characters are percent-encoded, and what is too long ends with
    its hash, so that no text names another folder, a hidden file or one that no file system takes.
    """
    if _PLAIN.fullmatch(text):
        return text
    encoded = _OTHER.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode(errors="surrogatepass")), text)
    if len(encoded) <= _LONGEST:
        return encoded
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{encoded[: _LONGEST - 17]}%{digest}"
