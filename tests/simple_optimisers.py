"""Weights and a temperature by optimisers that share nothing with the program's: slow, and plain enough to be believed."""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = list[Any]


def weights_by_em(members: Arrays, labels: Any) -> Any:
    """Expectation maximisation of a mixture's weights with a Dirichlet(2) prior: shares of the items, and one for each."""
    right = np.array([own[np.arange(len(labels)), labels] for own in members], dtype="float64").clip(1e-15)
    found = np.full(len(members), 1 / len(members))
    for _ in range(100_000):
        shares = found[:, None] * right
        better = ((shares / shares.sum(axis=0)).sum(axis=1) + 1) / (len(labels) + len(members))
        if abs(better - found).max() < 1e-15:
            break
        found = better
    return found


def temperature_by_search(pooled: Any, labels: Any) -> float:
    """Of log T on a grid that is narrowed around its best point."""
    low, high = -6.0, 6.0
    for _ in range(12):
        grid = np.linspace(low, high, 41)
        losses = []
        for log_temperature in grid:
            scores = np.log(pooled.clip(1e-15)) * np.exp(-log_temperature)
            log_right = scores[np.arange(len(labels)), labels] - np.logaddexp.reduce(scores, axis=1)
            losses.append(-log_right.sum() + log_temperature**2 / 2)
        best = int(np.argmin(losses))
        low, high = grid[max(0, best - 1)], grid[min(40, best + 1)]
    return float(np.exp((low + high) / 2))
