"""The epochs of a training: its metrics after each, as the training wrote them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from jobs import contract as c
from jobs.store import Run, Store
from jobs.store.files import read_fresh_or_none
from jobs.store.regular_files import Unreadable, read_regular
from scheduler.results.probabilities import DamagedResult

EPOCH = "epoch"
"""The column that counts the epochs from 1."""


@dataclass(frozen=True)
class Epochs:
    """``numbers`` counts from 1; ``metrics`` are columns of as many values, by name (loss, accuracy, val_loss, seconds …)."""

    numbers: tuple[int, ...] = ()
    metrics: dict[str, tuple[float, ...]] = field(default_factory=dict)


def read_epochs(store: Store, run: Run) -> Epochs:
    """The epochs of a run; none if its result has none, or it has no result.

    Raises DamagedResult for a file that is not what the run wrote, or is no table of epochs.
    """
    path = store.result_file(run.id, c.EPOCHS)
    shown = store.files.display_path(path)
    if path.exists() and (problem := store.result_problem(run, c.EPOCHS)):
        raise DamagedResult(f"{problem}: see cronsemble fsck")
    try:
        data = read_fresh_or_none(path, read_regular)
    except Unreadable as error:
        raise DamagedResult(f"{shown}: {error.why}: see cronsemble fsck") from error
    if data is None:
        return Epochs()
    try:
        return parse_epochs(data)
    except ValueError as error:
        raise DamagedResult(f"{shown}: {error}: see cronsemble fsck") from error


def parse_epochs(data: bytes) -> Epochs:
    """The epochs in a CSV's bytes; none in an empty one. Raises ValueError."""
    try:
        header, *rows = csv.reader(io.StringIO(data.decode(), newline="")) if data else [[EPOCH]]
        columns = {name: [float(row[n]) for row in rows] for n, name in enumerate(header)}
        numbers = tuple(int(number) for number in columns.pop(EPOCH))
    except (IndexError, KeyError, OverflowError, csv.Error) as error:
        raise ValueError(f"no table of epochs: {type(error).__name__}: {error}") from error
    return Epochs(numbers, {name: tuple(values) for name, values in columns.items()})
