"""A confusion matrix: how many items of each class were given which label. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_CLASSES = 12
"""Classes that are shown: of more, those with the most wrong items."""


@dataclass(frozen=True)
class Confusion:
    """``counts``: a row for each true class of ``classes`` (their numbers), a column for each given one.

    ``left_out``: classes that are not shown.
    """

    classes: Sequence[int]
    counts: Sequence[Sequence[int]]
    left_out: int


def confusion(given: Any, labels: Any, classes: int) -> Confusion:
    """Of the given and the true class numbers, both (items,)."""
    import numpy as np

    chosen = list(range(classes))
    if classes > MOST_CLASSES:
        wrong = given != labels
        errors = np.bincount(labels[wrong], minlength=classes) + np.bincount(given[wrong], minlength=classes)
        chosen = sorted(np.argsort(-errors, kind="stable")[:MOST_CLASSES].tolist())
    matrix = np.zeros((classes, classes), "int64") if classes <= 2000 else None
    if matrix is None:
        counts = [[int(((labels == true) & (given == label)).sum()) for label in chosen] for true in chosen]
    else:
        np.add.at(matrix, (labels, given), 1)
        counts = matrix[np.ix_(chosen, chosen)].tolist()
    return Confusion(chosen, counts, classes - len(chosen))
