"""Whether probabilities are what they say: a reliability diagram's bins, and the expected calibration error. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Items whose largest probability lies between ``low`` and ``high``: how many, its mean, and the share that is right."""

    low: float
    high: float
    items: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """The bins that have items, and the expected calibration error (Guo et al., 2017): the mean distance, weighted by items."""

    bins: tuple[ReliabilityBin, ...]
    error: float


def reliability(probabilities: Any, labels: Any) -> Reliability:
    """Of float32 (items, classes) and the items' true class numbers (items,); one item or more."""
    import numpy as np

    confidence = probabilities.max(axis=1).astype("float64")
    right = probabilities.argmax(axis=1) == labels
    numbers = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    bins = []
    for n in range(BINS):
        chosen = numbers == n
        if chosen.any():
            mean, share = float(confidence[chosen].mean()), float(right[chosen].mean())
            bins.append(ReliabilityBin(n / BINS, (n + 1) / BINS, int(chosen.sum()), mean, share))
    error = sum(each.items * abs(each.accuracy - each.confidence) for each in bins) / len(labels)
    return Reliability(tuple(bins), error)
