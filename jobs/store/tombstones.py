"""What gc has taken out of runs: tombstones by number, beside the result. Standard library alone, Python 3.9.

The first is `removed.json`; each further removal has its own (`removed-2.json`, `removed-3.json`, …), by an exclusive link: of
two who saw the same last one, one gets the next, and the other the one after it. None is ever changed, so that nothing of what
several gcs write at once is lost; what a run has lost is what all of them say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs.contract import REMOVED
from jobs.store.document_files import load_document, read_document
from jobs.store.files import list_names
from jobs.store.regular_files import Unreadable

_NUMBERED = re.compile(r"removed-([1-9][0-9]{0,8})\.json")


def _number(name: str) -> int:
    """The number of a tombstone by its name; 0 for another file's."""
    match = _NUMBERED.fullmatch(name)
    return int(match[1]) if match is not None else int(name == REMOVED)


def is_tombstone(name: str) -> bool:
    """Whether a name in a run's folder is that of a tombstone."""
    return _number(name) > 0


def tombstone_names(names: Iterable[str]) -> list[str]:
    """Those names of a run's folder that are tombstones, in their order."""
    return sorted(filter(_number, names), key=_number)


def next_tombstone_name(names: Iterable[str]) -> str:
    """The name of the tombstone that follows those in a run's folder."""
    number = max(map(_number, names), default=0) + 1
    return REMOVED if number == 1 else f"removed-{number}.json"


def merge_tombstones(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What several tombstones of a run, in their order, say together, in the form of one; empty for none.

    Each file stands in ``files`` once; ``run``, ``time`` and ``by`` are those of the last that has them.
    """
    merged: dict[str, Any] = {}
    files: dict[str, dict[str, Any]] = {}
    for document in documents:
        merged.update({key: value for key, value in document.items() if value is not None or key not in merged})
        for file in document.get("files") or ():
            files.setdefault(file["path"], file)
    return {**merged, "files": list(files.values())} if "files" in merged else merged


def read_tombstones(folder: Path) -> dict[str, Any]:
    """The same as :func:`load_tombstones`, without what cannot be read; raises OSError for a store out of reach."""
    try:
        names = tombstone_names(list_names(folder))
    except Unreadable:
        return {}
    documents = (read_document(folder / name) for name in names)
    return merge_tombstones(document for document in documents if document is not None)


def load_tombstones(folder: Path) -> dict[str, Any]:
    """What the tombstones in a run's folder on this machine say; empty where there are none. Raises Unreadable, OSError."""
    documents = (load_document(folder / name) for name in tombstone_names(list_names(folder)))
    return merge_tombstones(document for document in documents if document is not None)
