"""Since when a series of numbers has another level: binary segmentation by means. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHORTEST = 3
"""Values of the shortest level."""
THRESHOLD = 5.0
"""How many standard deviations of the noise a change of level has at least (by the CUSUM statistic)."""
FEWEST = 8
"""Values of a series that is looked at."""


@dataclass(frozen=True)
class ChangePoint:
    """The last change of level: from the value number ``position`` on, ``before`` and ``after`` are the levels' medians."""

    position: int
    before: float
    after: float


def last_change(values: Sequence[float], smallest: float) -> ChangePoint | None:
    """The last change of level by at least ``smallest``; None if there is none, or too few values.

    Binary segmentation (Scott and Knott, 1974) with the CUSUM statistic sqrt(k (n - k) / n) |mean before - mean after| / s, where
    s is the noise by the mean difference of neighbours.
    """
    import numpy as np

    array = np.asarray(values, dtype="float64")
    if len(array) < FEWEST:
        return None
    noise = max(float(np.abs(np.diff(array)).mean()) * np.sqrt(np.pi) / 2, smallest / 10)
    bounds = sorted(_segments(array, 0, len(array), noise))
    for n in range(len(bounds) - 1, -1, -1):
        start = bounds[n - 1] if n else 0
        end = bounds[n + 1] if n + 1 < len(bounds) else len(array)
        before, after = float(np.median(array[start : bounds[n]])), float(np.median(array[bounds[n] : end]))
        if abs(after - before) >= smallest:
            return ChangePoint(bounds[n], before, after)
    return None


def _segments(array: Any, start: int, end: int, noise: float) -> list[int]:
    """Where the levels of a part of the array begin, its own beginning left out."""
    import numpy as np

    length = end - start
    if length < 2 * SHORTEST:
        return []
    sums = np.cumsum(array[start:end])
    counts = np.arange(SHORTEST, length - SHORTEST + 1)
    left = sums[counts - 1]
    means = left / counts - (sums[-1] - left) / (length - counts)
    statistics = np.abs(means) * np.sqrt(counts * (length - counts) / length) / noise
    best = int(statistics.argmax())
    if statistics[best] < THRESHOLD:
        return []
    middle = start + int(counts[best])
    return [*_segments(array, start, middle, noise), middle, *_segments(array, middle, end, noise)]
