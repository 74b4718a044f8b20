"""Packs: the small files of all runs of a month in one file, for ten thousand folders would take longer to make than to send.

A file holds the length of its index (32 bits, big-endian), the index as JSON, and the files' bytes one after another. The
index has for each name its state, whether it may still change (``jobs.remote.changes``), its folders, and its files with
their sizes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.store.files import replace_file

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class PackEntry:
    """What is known of one name: of a run its folders and small files, of another file its state alone."""

    state: str
    is_open: bool = False
    folders: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def write_pack(path: Path, entries: Mapping[str, PackEntry]) -> None:
    """Put a pack in the place of the one before."""
    index = {
        name: [entry.state, entry.is_open, entry.folders, [[file, len(data)] for file, data in entry.files.items()]]
        for name, entry in entries.items()
    }
    text = json.dumps(index).encode()
    contents = [data for entry in entries.values() for data in entry.files.values()]
    replace_file(path, b"".join([_LENGTH.pack(len(text)), text, *contents]), durable=False)


def read_states(path: Path) -> dict[str, tuple[str, bool]]:
    """The state of each name, and whether it is open; empty if there is no whole pack."""
    return {name: (state, is_open) for name, (state, is_open, _, _) in _read(path)[0].items()}


def read_pack(path: Path) -> dict[str, PackEntry]:
    """All of it; empty if there is no whole pack."""
    index, data = _read(path)
    entries, position = {}, 0
    for name, (state, is_open, folders, sizes) in index.items():
        files = {}
        for file, size in sizes:
            files[file] = data[position : position + size]
            position += size
        entries[name] = PackEntry(state, is_open, tuple(folders), files)
    return entries if position == len(data) else {}


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The index, and the files' bytes."""
    try:
        data = path.read_bytes()
        end = _LENGTH.size + _LENGTH.unpack(data[: _LENGTH.size])[0]
        return dict(json.loads(data[_LENGTH.size : end])), data[end:]
    except (OSError, ValueError, struct.error):
        return {}, b""
