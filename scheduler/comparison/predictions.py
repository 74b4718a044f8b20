"""What two runs predicted, compared item by item: metrics on the items of both, flipped labels, changes of probability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

LARGEST_CHANGES = 20
"""Items whose probabilities changed most that are named."""


@dataclass(frozen=True)
class MetricChange:
    """A metric before and after; None where it is not known."""

    before: float | None
    after: float | None

    @property
    def difference(self) -> float | None:
        """After minus before; None unless both are known."""
        return None if self.before is None or self.after is None else self.after - self.before


UNKNOWN = MetricChange(None, None)


@dataclass(frozen=True)
class LabelFlip:
    """An item with another label after than before. ``label`` is the true one, None where it is not known.

    ``before_probability`` is that of ``before`` then, ``after_probability`` that of ``after`` now. Of items with one id
    ``occurrence`` counts from 1.
    """

    item: str
    before: str
    after: str
    label: str | None
    before_probability: float
    after_probability: float
    occurrence: int = 1

    @property
    def effect(self) -> str:
        """What the flip did: now right, now wrong, wrong both times; empty where the label is not known."""
        if self.label is None:
            return ""
        return "now right" if self.after == self.label else "now wrong" if self.before == self.label else "wrong both times"


@dataclass(frozen=True)
class ProbabilityChange:
    """The class of an item whose probability changed most; NaN is a probability that is no number."""

    item: str
    class_name: str
    before: float
    after: float
    occurrence: int = 1

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


@dataclass(frozen=True)
class PredictionChanges:
    """How two predictions differ on the items that both have.

    ``accuracy`` and ``loss`` (log loss) are on the ``labelled`` of these items, whose true label both know.
    ``largest_difference`` is that of any probability, None where one is no number or there are no items; ``identical``: the
    same items, classes (in the same order) and bits. ``largest_changes`` has an item once, the largest change first.
    ``notes`` say what could not be compared as it is, a line each.
    """

    items: int
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    labelled: int
    accuracy: MetricChange
    loss: MetricChange
    identical: bool
    largest_difference: float | None
    flips: tuple[LabelFlip, ...]
    largest_changes: tuple[ProbabilityChange, ...]
    has_same_classes: bool = True
    notes: tuple[str, ...] = ()

    @property
    def has_same_items(self) -> bool:
        """Whether both predicted the same items."""
        return not self.only_before and not self.only_after


@dataclass(frozen=True)
class Predictions:
    """What a run predicted: probabilities (items, classes), the items' ids, the classes' names, true class numbers or None."""

    items: Sequence[str]
    classes: Sequence[str]
    probabilities: Any
    labels: Any | None = None


def compare_predictions(before: Predictions, after: Predictions) -> PredictionChanges:
    """Compare two predictions. Items are matched by id, of items with one id the first with the first; classes by name."""
    import numpy as np

    left, right = _occurrences(before.items), _occurrences(after.items)
    if left == right:
        keys, rows = left, [np.arange(len(left))] * 2
    else:
        places = {key: n for n, key in enumerate(right)}
        keys = [key for key in left if key in places]
        rows = [np.array([n for n, key in enumerate(left) if key in places], dtype="int64")]
        rows.append(np.array([places[key] for key in keys], dtype="int64"))
    names = list(dict.fromkeys((*after.classes, *before.classes)))
    old, new = _Matched(before, rows[0], names), _Matched(after, rows[1], names)
    notes = _notes(before, after, left, right)
    both = np.flatnonzero((old.labels >= 0) & (new.labels >= 0))
    others = int((old.labels[both] != new.labels[both]).sum())
    if others:
        notes.append(f"{_items(others)} another true label than before: each prediction is judged by its own")
    true = np.where(new.labels >= 0, new.labels, old.labels)
    flips = tuple(
        LabelFlip(
            keys[n][0],
            names[old.predicted[n]],
            names[new.predicted[n]],
            names[true[n]] if true[n] >= 0 else None,
            float(old.probabilities[n].max()),
            float(new.probabilities[n].max()),
            keys[n][1],
        )
        for n in np.flatnonzero(old.predicted != new.predicted)
    )
    aligned = [_aligned(matched.probabilities, one.classes, names) for matched, one in ((old, before), (new, after))]
    distances = np.abs(aligned[1].astype("float64") - aligned[0].astype("float64"))
    largest = float(distances.max()) if distances.size else None
    return PredictionChanges(
        len(keys),
        _alone(left, right),
        _alone(right, left),
        len(both),
        MetricChange(old.accuracy(both), new.accuracy(both)),
        MetricChange(old.loss(both), new.loss(both)),
        _is_identical(before, after),
        largest if largest is not None and isfinite(largest) else None,
        flips,
        tuple(_largest_changes(distances, aligned, names, keys)),
        list(before.classes) == list(after.classes),
        tuple(notes),
    )


class _Matched:
    """The items of one side that the other has too: probabilities, what was predicted and the true label.

    Classes are numbers of ``names``, those of both sides; a label that is not known is -1.
    """

    def __init__(self, predictions: Predictions, rows: Any, names: Sequence[str]) -> None:
        import numpy as np

        positions = {name: n for n, name in enumerate(names)}
        numbers = np.array([positions[name] for name in predictions.classes], dtype="int64")
        self.probabilities = np.asarray(predictions.probabilities)[rows]
        self.predicted = numbers[self.probabilities.argmax(axis=1)] if len(rows) else np.array([], dtype="int64")
        self._own = np.full(len(rows), -1) if predictions.labels is None else np.asarray(predictions.labels)[rows]
        is_known = (self._own >= 0) & (self._own < len(numbers))
        self.labels = np.full(len(rows), -1)
        self.labels[is_known] = numbers[self._own[is_known]]

    def accuracy(self, items: Any) -> float | None:
        """The share of these items whose label is right; None for no items."""
        return float((self.predicted[items] == self.labels[items]).mean()) if len(items) else None

    def loss(self, items: Any) -> float | None:
        """The log loss on these items; None for no items, and where a probability is no number."""
        from scheduler.results.contribution import log_loss

        if not len(items):
            return None
        loss = log_loss(self.probabilities[items], self._own[items])
        return loss if isfinite(loss) else None


def _alone(keys: Sequence[tuple[str, int]], others: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """The ids that only one side has, in order."""
    if keys == others:
        return ()
    known = set(others)
    return tuple(key[0] for key in keys if key not in known)


def _is_identical(before: Predictions, after: Predictions) -> bool:
    return (
        list(before.items) == list(after.items)
        and list(before.classes) == list(after.classes)
        and before.probabilities.dtype == after.probabilities.dtype
        and before.probabilities.tobytes() == after.probabilities.tobytes()
    )


def _items(number: int) -> str:
    return "1 item has" if number == 1 else f"{number} items have"


def _occurrences(items: Sequence[str]) -> list[tuple[str, int]]:
    """Each item's id, and the how manieth item of that id it is."""
    if len(set(items)) == len(items):
        return [(item, 1) for item in items]
    counts: Counter[str] = Counter()
    keys = []
    for item in items:
        counts[item] += 1
        keys.append((item, counts[item]))
    return keys


def _aligned(array: Any, classes: Sequence[str], names: Sequence[str]) -> Any:
    """The probabilities (items, classes) by the classes ``names``; 0 for a class that there was not."""
    import numpy as np

    if list(classes) == list(names):
        return array
    aligned = np.zeros((len(array), len(names)), dtype=array.dtype)
    columns = {name: n for n, name in enumerate(classes)}
    for n, name in enumerate(names):
        if name in columns:
            aligned[:, n] = array[:, columns[name]]
    return aligned


def _notes(
    before: Predictions, after: Predictions, left: Sequence[tuple[str, int]], right: Sequence[tuple[str, int]]
) -> list[str]:
    notes = []
    if list(before.classes) != list(after.classes):
        if sorted(before.classes) == sorted(after.classes):
            notes.append("the classes stand in another order than before: they are matched by name")
        else:
            gone = [name for name in before.classes if name not in after.classes]
            new = [name for name in after.classes if name not in before.classes]
            parts = [f"{', '.join(names)} {what}" for names, what in ((gone, "no longer there"), (new, "new")) if names]
            notes.append(f"other classes: {'; '.join(parts)}: a class that there is not has the probability 0")
    twice = {key[0] for key in (*left, *right) if key[1] > 1}
    if twice:
        ids = f"{len(twice)} ids occur" if len(twice) > 1 else f"the id {min(twice)} occurs"
        notes.append(f"{ids} more than once: of such items the first is compared with the first, and so on")
    return notes


def _largest_changes(
    distances: Any, aligned: Sequence[Any], names: Sequence[str], keys: Sequence[tuple[str, int]]
) -> list[ProbabilityChange]:
    import numpy as np

    if not distances.size:
        return []
    order = np.nan_to_num(distances, nan=np.inf)
    classes, largest = order.argmax(axis=1), order.max(axis=1)
    # Of equal changes the first item comes first.
    chosen = np.argsort(-largest, kind="stable")[:LARGEST_CHANGES]
    old, new = aligned
    return [
        ProbabilityChange(keys[n][0], names[classes[n]], float(old[n, classes[n]]), float(new[n, classes[n]]), keys[n][1])
        for n in chosen
        if largest[n] > 0
    ]
