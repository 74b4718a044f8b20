"""In what the data of two runs differs: how many items there are, which arrays are not the same, and in how many items."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.store import Store

MAX_READ = 1 << 28
"""Bytes of an array that are read to count the items that differ; a larger one differs or does not."""

_PARTS = ("x_train", "x_val", "x_predict")
"""The arrays whose items are counted."""


@dataclass(frozen=True)
class ArrayDifference:
    """An array of the prepared data that is not the same: its shapes, None where it is not there.

    ``items`` is in how many items it differs, None where they were not counted: other shapes, or too large to be read.
    """

    name: str
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None
    items: int | None = None


@dataclass(frozen=True)
class DataDifference:
    """Two prepared data sets by their fingerprints ("" is none), where they are from, and what differs; and of which tasks.

    ``items_before`` and ``items_after`` count the items of x_train, x_val (by which trainings are judged) and x_predict.

    ``arrays`` are those that are known to differ; where the files are not here these are the arrays with other shapes, and
    ``note`` says that there may be more.
    """

    before: str
    after: str
    source_before: str = ""
    source_after: str = ""
    items_before: Mapping[str, int] = field(default_factory=dict)
    items_after: Mapping[str, int] = field(default_factory=dict)
    arrays: tuple[ArrayDifference, ...] = ()
    note: str = ""
    tasks: tuple[str, ...] = ()


class PreparedData:
    """Reads the prepared data of a store; each file is checked against its recorded hash once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._checksums: dict[str, dict[str, tuple[int, int]] | None] = {}

    def difference(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> DataDifference:
        """How the data of two runs differs, by what their records say of it and, where it is on this machine, by its arrays."""
        fingerprints = [str(data.get("fingerprint") or "") for data in (before, after)]
        sources = [str(data.get("source") or "") for data in (before, after)]
        shapes = [{name: tuple(shape) for name, shape in (data.get("shapes") or {}).items()} for data in (before, after)]
        counts = [{name: int(own[name][0]) for name in _PARTS if own.get(name)} for own in shapes]
        checksums = [self._checksums_of(data) for data in (before, after)]
        old, new = checksums
        note = ""
        if old is None or new is None:
            arrays = tuple(
                ArrayDifference(name, shapes[0].get(name), shapes[1].get(name))
                for name in sorted({*shapes[0], *shapes[1]})
                if shapes[0].get(name) != shapes[1].get(name)
            )
            gone = " and ".join(name for name, own in zip(("before", "after"), checksums, strict=True) if own is None)
            note = f"the data {gone} is not on this machine: which arrays differ is known by their shapes alone"
        else:
            names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
            arrays = tuple(_array_difference(self._store, fingerprints, shapes, name) for name in names)
        return DataDifference(fingerprints[0], fingerprints[1], sources[0], sources[1], counts[0], counts[1], arrays, note)

    def has_same_arrays(self, before: Mapping[str, Any], after: Mapping[str, Any], *names: str) -> bool:
        """Whether two prepared data sets are known to have the same arrays of these names."""
        if before.get("fingerprint") and before.get("fingerprint") == after.get("fingerprint"):
            return True
        old, new = (self._checksums_of(data) for data in (before, after))
        return old is not None and new is not None and all(name in old and old[name] == new.get(name) for name in names)

    def _checksums_of(self, data: Mapping[str, Any]) -> dict[str, tuple[int, int]] | None:
        """By array its CRC-32 and size; None where the data is not on this machine, or is not what it was."""
        fingerprint = str(data.get("fingerprint") or "")
        if fingerprint not in self._checksums:
            self._checksums[fingerprint] = _read_checksums(self._store, data) if fingerprint else None
        return self._checksums[fingerprint]


def _read_checksums(store: Store, data: Mapping[str, Any]) -> dict[str, tuple[int, int]] | None:
    from jobs.keras3 import array_files

    path = store.dataset_path(str(data["fingerprint"]))
    if not path.exists() or store.data_problem(dict(data)):
        return None
    try:
        return array_files.read_checksums(path)
    except (OSError, array_files.BadArrays):
        return None


def _array_difference(
    store: Store, fingerprints: list[str], shapes: list[dict[str, tuple[int, ...]]], name: str
) -> ArrayDifference:
    from jobs.keras3 import array_files

    try:
        headers = [array_files.read_headers(store.dataset_path(fingerprint)).get(name) for fingerprint in fingerprints]
        before, after = (None if header is None else header.shape for header in headers)
        size = max((math.prod(header.shape) * header.dtype.itemsize for header in headers if header is not None), default=0)
        if before is None or before != after or not before or size > MAX_READ:
            return ArrayDifference(name, before, after)
        old, new = (
            array_files.read_npz(store.dataset_path(fingerprint), (name,))[name].reshape(before[0], -1)
            for fingerprint in fingerprints
        )
        return ArrayDifference(name, before, after, int((old != new).any(axis=1).sum()))
    except (OSError, array_files.BadArrays, ValueError, KeyError, TypeError):
        return ArrayDifference(name, shapes[0].get(name), shapes[1].get(name))
