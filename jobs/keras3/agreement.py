"""What each member adds to an ensemble, and where members disagree: summed up as the items are written, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np

from jobs.csv_text import csv_text
from jobs.keras3.pools import SMALLEST, Pool

COLUMNS = ("item", "prediction", "disagreeing", "entropy")
"""Of the CSV: the item, the ensemble's label, how many members have another, the entropy of the ensemble's probabilities."""


class Agreement:
    """Writes a row an item, and sums up contributions and disagreement.

    ``without``: by member the pool of the others, who keep their order; a member that is not in it gets no contribution.
    ``labels``: the items' class numbers, or None.
    """

    def __init__(
        self, file: IO[bytes], names: Sequence[str], classes: Sequence[str], without: Mapping[str, Pool], labels: Any
    ) -> None:
        import polars

        self._polars = polars
        self._file, self._names, self._without, self._labels = file, list(names), without, labels
        self._classes = polars.Series([str(name) for name in classes], dtype=polars.String)
        self._file.write(csv_text([COLUMNS]).encode())
        self._items = self._disputed = 0
        self._entropy = 0.0
        self._differing = np.zeros((len(names), len(names)), dtype="int64")
        self._differing_from_ensemble = np.zeros(len(names), dtype="int64")
        self._ensemble = _Score()
        self._others = {name: _Score() for name in without}
        self._changed = dict.fromkeys(without, 0)

    def write(self, items: Any, rows: slice, members: Sequence[Any], ensemble: Any) -> None:
        """Write the items of these rows: each member's probabilities (rows, classes), and the ensemble's."""
        labels = None if self._labels is None else self._labels[rows]
        given = ensemble.argmax(axis=1)
        by_member = [array.argmax(axis=1) for array in members]
        disagreeing = np.zeros(len(given), dtype="int64")
        for n, own in enumerate(by_member):
            differs = own != given
            disagreeing += differs
            self._differing_from_ensemble[n] += int(differs.sum())
            for other in range(n):
                count = int((own != by_member[other]).sum())
                self._differing[n, other] += count
                self._differing[other, n] += count
        entropy = entropies(ensemble)
        columns = {
            "item": self._polars.Series(items, dtype=self._polars.String),
            "prediction": self._classes.gather(given),
            "disagreeing": disagreeing,
            "entropy": entropy.astype("float32"),
        }
        self._polars.DataFrame(columns).write_csv(self._file, include_header=False)
        self._items += len(given)
        self._disputed += int((disagreeing > 0).sum())
        self._entropy += float(entropy.sum())
        if labels is not None:
            self._ensemble.add(ensemble, given, labels)
        for name, pool in self._without.items():
            others = pool([array for other, array in zip(self._names, members, strict=True) if other != name], rows)
            predicted = others.argmax(axis=1)
            self._changed[name] += int((predicted != given).sum())
            if labels is not None:
                self._others[name].add(others, predicted, labels)

    def members(self) -> dict[str, dict[str, Any]]:
        """By member its ``disagreement``, the share of items on which it has another label than the ensemble.

        And its ``contribution`` where the others were combined without it: the ensemble's accuracy and log loss minus theirs
        (None where the labels are not known), and the number of labels that it changed.
        """
        found: dict[str, dict[str, Any]] = {}
        for n, name in enumerate(self._names):
            found[name] = {"disagreement": self._share(self._differing_from_ensemble[n])}
            if name in self._without:
                others, is_known = self._others[name], self._labels is not None
                found[name]["contribution"] = {
                    "accuracy": self._ensemble.hits / self._items - others.hits / self._items if is_known else None,
                    "loss": self._ensemble.loss / self._items - others.loss / self._items if is_known else None,
                    "labels_changed": self._changed[name],
                }
        return found

    def summary(self) -> dict[str, Any]:
        """Of all items: how many are disputed, the mean entropy, and by pairs of members the share with different labels."""
        return {
            "disputed_items": self._disputed,
            "mean_entropy": self._entropy / self._items if self._items else None,
            "disagreements": {
                name: {other: self._share(self._differing[n, m]) for m, other in enumerate(self._names) if other != name}
                for n, name in enumerate(self._names)
            },
        }

    def _share(self, count: Any) -> float:
        return int(count) / self._items if self._items else 0.0


class _Score:
    """How many predictions are right, and the sum of their log losses."""

    def __init__(self) -> None:
        self.hits, self.loss = 0, 0.0

    def add(self, probabilities: Any, predicted: Any, labels: Any) -> None:
        self.hits += int((predicted == labels).sum())
        of_right_class = probabilities[np.arange(len(labels)), labels].astype("float64")
        self.loss -= float(np.log(np.clip(of_right_class, SMALLEST, 1.0)).sum())


def entropies(probabilities: Any) -> Any:
    """-Σ p·log p over the classes, in nats, float64 (items,), of probabilities (items, classes); 0·log 0 is 0."""
    values = np.asarray(probabilities, dtype="float64")
    # A float32 of rounded probabilities may be a little above 1; no entropy is below 0, and none is written as -0.
    return np.maximum(-(values * np.log(np.where(values > 0, values, 1.0))).sum(axis=1), 0.0) + 0.0
