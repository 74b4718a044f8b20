"""Packs: the small files of all runs of a month in one file, for ten thousand folders would take longer to make than to send.

A file holds the length of its index (32 bits, big-endian), the index as JSON, and the files' bytes one after another. The
index has for each name its state (``jobs.remote.changes``), its folders, and its files with their sizes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.store.files import replace_file

VERSION = 2
"""Of the format: 1 had other states."""
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class PackEntry:
    """What is known of one name: of a run its folders and small files, of another file its state alone."""

    state: str
    folders: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def write_pack(path: Path, entries: Mapping[str, PackEntry]) -> None:
    """Put a pack in the place of the one before."""
    index = {
        name: [entry.state, entry.folders, [[file, len(data)] for file, data in entry.files.items()]]
        for name, entry in entries.items()
    }
    text = json.dumps({"version": VERSION, "entries": index}).encode()
    contents = [data for entry in entries.values() for data in entry.files.values()]
    replace_file(path, b"".join([_LENGTH.pack(len(text)), text, *contents]), durable=False)


def read_states(path: Path) -> dict[str, str]:
    """The state of each name; empty if there is no whole pack."""
    return {name: entry.state for name, entry in read_pack(path).items()}


def read_pack(path: Path) -> dict[str, PackEntry]:
    """All of it; empty if there is no whole pack."""
    index, data = _read(path)
    entries, position = {}, 0
    for name, (state, folders, sizes) in index.items():
        files = {}
        for file, size in sizes:
            files[file] = data[position : position + size]
            position += size
        entries[name] = PackEntry(state, tuple(folders), files)
    return entries if position == len(data) else {}


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The index, and the files' bytes; nothing of a pack of another version, whose unit is received anew."""
    try:
        data = path.read_bytes()
        end = _LENGTH.size + _LENGTH.unpack(data[: _LENGTH.size])[0]
        index = json.loads(data[_LENGTH.size : end])
        return (index["entries"], data[end:]) if index.get("version") == VERSION else ({}, b"")
    except (OSError, ValueError, struct.error):
        return {}, b""
