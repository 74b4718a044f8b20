"""A published run's probabilities, items and labels, as arrays that are what the run wrote."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import Run, Store
from jobs.store.regular_files import open_regular
from scheduler.errors import CronsembleError


class DamagedResult(CronsembleError):
    """A file of a result is not what its run wrote; the text says which, in a line."""


def validation(store: Store, run: RunId) -> Any | None:
    """A training's probabilities on the data that its accuracy was computed on, float32 (items, classes); None if not kept.

    This and the others raise DamagedResult.
    """
    return _array(_result_file(store, run, c.VALIDATION))


def ensemble_table(store: Store, run: RunId) -> tuple[list[str], Any] | None:
    """An ensemble's item ids, in order, and combined probabilities, float32 (items, classes), from its CSV; None if not there."""
    return _table(_result_file(store, run, c.CSV))


def member(store: Store, run: RunId, name: str) -> Any | None:
    """One member's probabilities within an ensemble run, float32 (items, classes)."""
    array = _array(_result_file(store, run, f"{c.PROBABILITIES}/{name}/probabilities.npy"))
    if array is not None:
        return array
    table = _table(_result_file(store, run, f"{c.MEMBERS}/{name}.csv"))
    return None if table is None else table[1]


def labels(store: Store, run: Run) -> Any | None:
    """The true class numbers of the items that an ensemble predicted, int64 (items,), from the run's prepared data.

    None where they are not known, the data is not on this machine, or it is not what the run predicted.
    """
    return _labels(store, run, "y_predict")


def validation_labels(store: Store, run: Run) -> Any | None:
    """The true class numbers of the items that a training was judged by, int64 (items,); None as for `labels`."""
    return _labels(store, run, "y_val")


def _labels(store: Store, run: Run, name: str) -> Any | None:
    from jobs.keras3 import array_files

    pinned = run.record.get("data") or {}
    if not pinned.get("fingerprint") or not store.dataset_path(str(pinned["fingerprint"])).exists() or store.data_problem(pinned):
        return None
    try:
        numbers = array_files.read_npz(store.dataset_path(str(pinned["fingerprint"])), (name,)).get(name)
    except (OSError, array_files.BadArrays):
        return None
    return None if numbers is None else numbers.astype("int64")


def _result_file(store: Store, run: RunId, name: str) -> Path:
    """A file of a result on this machine; it may not be there. Raises DamagedResult for one that is not what the run wrote."""
    path = store.result_file(run, name)
    if path.exists() and (problem := store.result_problem(store.read(run), name)):
        raise DamagedResult(f"{problem}: see cronsemble fsck")
    return path


def _array(path: Path) -> Any | None:
    from jobs.keras3 import array_files

    try:
        return array_files.read_npy(path)
    except (OSError, array_files.BadArrays):
        return None


def _table(path: Path) -> tuple[list[str], Any] | None:
    """Items and probabilities of an archived CSV; its float32 read back to the same bits."""
    import numpy as np

    try:
        with open(open_regular(path), newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            next(rows)
            names, values = [], []
            for row in rows:
                names.append(row[0])
                values.append(row[3:])
            table = np.array(values, dtype="float64").astype("float32")
            # Without a column of a class it is no CSV of ours.
            return None if names and not table.size else (names, table)
    except (OSError, ValueError, IndexError, StopIteration, csv.Error):
        return None
