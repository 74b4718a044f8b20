"""Reads the JSON documents of a store: regular files that hold what their kind of document holds. Standard library, Python 3.9.

The kind of a document follows from its name and from the folder that it lies in (``docs/architecture.md`` has the layout).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.documents import DocumentKind, document_problem
from jobs.store.files import load_json, parse_json
from jobs.store.regular_files import DamagedContent, Unreadable

_NAMES = {kind.value: kind for kind in DocumentKind if kind.value.endswith(".json")}
_NUMBERED = {
    re.compile(r"claim-[0-9]+\.json"): DocumentKind.CLAIM,
    re.compile(r"owner-[0-9]+\.json"): DocumentKind.OWNER,
    re.compile(r"decision-[0-9]+\.json"): DocumentKind.DECISION,
    re.compile(r"removed-[0-9]+\.json"): DocumentKind.REMOVED,
}
NOTIFICATIONS = "notifications"
"""Of an experiment's folder: what was told of it (``jobs.store.notifications``)."""
_FOLDERS = {"revisions": DocumentKind.REVISION, "task": DocumentKind.TASK, "experiments": DocumentKind.OWNER}


def document_kind(path: Path) -> DocumentKind | None:
    """The kind of the document in a file of a store; None for a file of another kind."""
    numbered = (kind for pattern, kind in _NUMBERED.items() if pattern.fullmatch(path.name))
    kind = _notification_kind(path.parts) or _NAMES.get(path.name) or _FOLDERS.get(path.parent.name) or next(numbered, None)
    if kind is None and path.name.startswith("alive-"):
        return DocumentKind.HEARTBEAT
    if kind is None and path.suffix == ".json":
        return {"datasets": DocumentKind.DATA, "predictions": DocumentKind.METADATA}.get(path.parent.parent.name)
    return kind


def _notification_kind(parts: Sequence[str]) -> DocumentKind | None:
    """That of a document below an experiment's ``notifications``, in which the names of channels are the user's."""
    for depth in (2, 3, 4):
        if len(parts) > depth + 1 and parts[-depth] == NOTIFICATIONS and parts[-depth - 2] == "experiments":
            return DocumentKind.EVENT if parts[-2] == "events" and depth == 3 else DocumentKind.DELIVERY
    return None


def load_document(path: Path) -> dict[str, Any] | None:
    """The document in a file, or None if the file is absent or gone.

    Raises Unreadable for a file that cannot be read, DamagedContent for one that does not hold what a document of its kind holds,
    and OSError.
    """
    document = load_json(path)
    return None if document is None else _checked(path, document)


def parse_document(path: Path, data: bytes) -> dict[str, Any]:
    """The document that bytes spell which are those of the file of that name; raises DamagedContent."""
    try:
        document = parse_json(data)
    except ValueError as error:
        raise DamagedContent(errno.EINVAL, str(error), str(path)) from error
    return _checked(path, document)


def _checked(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    kind = document_kind(path)
    problem = document_problem(kind, document) if kind is not None else ""
    if problem:
        raise DamagedContent(errno.EINVAL, problem, str(path))
    return document


def read_document(path: Path) -> dict[str, Any] | None:
    """The document in a file, or None if it is absent, gone or cannot be read; raises OSError for a store out of reach."""
    try:
        return load_document(path)
    except Unreadable:
        return None


def why_unreadable(path: Path) -> str:
    """Why the document in a file cannot be read, in a few words; empty if it can, or the file is absent. Raises OSError."""
    try:
        load_document(path)
    except Unreadable as error:
        return error.why
    return ""
