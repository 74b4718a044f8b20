"""What `fsck` says of a file: where, what is wrong, what that means, what --repair does. Standard library alone, Python 3.9."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from jobs.contract import RunId
from jobs.store.document_checksum import DIFFERS
from jobs.store.document_files import load_document
from jobs.store.local_store import LocalStore
from jobs.store.regular_files import DamagedContent, Unreadable
from jobs.store.run_summaries import RunSummaries


class DamageKind(str, Enum):  # noqa: UP042 (Python 3.9 has no StrEnum)
    """What is wrong with a file or folder."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    WRONG_CONTENT = "wrong content"
    FOREIGN = "foreign"
    """Nothing of ours has this name."""
    WRONG_TIME = "wrong time"
    NOT_ARCHIVED = "not archived"
    LEFTOVER = "leftover"
    UNREADABLE = "unreadable"

    def __str__(self) -> str:
        return str(self.value)


AHEAD = 3600
"""Seconds after now that no time can lie, whatever the clocks."""
LEFT_ALONE = "nothing of ours has this name; it is left alone"


@dataclass
class Finding:
    """Something that is wrong: where, of what kind, what it means, and what --repair does about it, if anything."""

    path: Path
    what: str
    """A :class:`DamageKind`."""
    meaning: str
    repair: str = ""
    run: RunId | None = None
    repaired: bool = False


@dataclass
class CheckScope:
    """What is checked, and what the runs that were checked say of other files and runs."""

    store: LocalStore
    experiment: str
    now: float
    """Seconds since 1970."""
    quick: bool
    """Whether no file is read only for its hash."""
    data_hashes: dict[str, set[str]] = field(default_factory=dict)
    """Of prepared data, by its fingerprint, the hashes of its file that records and pins have."""
    pins: dict[str, RunId] = field(default_factory=dict)
    """By pin (``<experiment>/<date>-<key>``) a run that used it."""
    shared: dict[Path, bool] = field(default_factory=dict)
    """Of prepared data and snapshots that runs name, whether they are there."""
    lost_results: dict[RunId, RunId] = field(default_factory=dict)
    """By run whose result another run took or repeats and that has gone, that other run."""

    def __post_init__(self) -> None:
        self.summaries = RunSummaries(self.store)


def check_document(path: Path, meaning: str, repair: str = "") -> tuple[dict[str, Any] | None, list[Finding]]:
    """The object in a file, None if it is absent or damaged; and the finding that says that and what it means."""
    try:
        return load_document(path), []
    except DamagedContent as error:
        kind = DamageKind.WRONG_CONTENT if error.why == DIFFERS else DamageKind.TRUNCATED
        return None, [Finding(path, kind, f"{error.why}: {meaning}", repair)]
    except Unreadable as error:
        return None, [Finding(path, DamageKind.UNREADABLE, f"{error.why}: {meaning}", repair)]


def check_belongs(path: Path, document: dict[str, Any] | None, key: str, value: str) -> Iterator[Finding]:
    """Whether a document says by ``key`` that it is of another place; those of earlier versions do not say of which they are."""
    if document is not None and document.get(key) not in (None, value):
        yield Finding(path, DamageKind.WRONG_CONTENT, f"it is of {document[key]}: the file was copied or renamed")


def report_unreadable(path: Path, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings, and a last one where a file could not be read."""
    try:
        yield from findings
    except OSError as error:
        yield Finding(Path(error.filename or path), DamageKind.UNREADABLE, error.strerror or str(error))
