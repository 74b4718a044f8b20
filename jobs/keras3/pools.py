"""How the members' probabilities become the ensemble's: pools, which are called with rows of every member's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jobs.portable.inputs import WrongInput

SMALLEST = 1e-15
"""The smallest probability whose logarithm is taken: a member may say 0 of the class that it is."""
BUILT_IN = ("accuracy", "uniform", "calibrated")
"""The methods that have a name; any other is a function of the user's."""


class Pool(Protocol):
    """A way to combine members."""

    def __call__(self, members: Sequence[Any], rows: slice) -> Any:
        """The ensemble's probabilities, float32 (rows, classes), of each member's, (rows, classes), which are those ``rows``."""


@dataclass(frozen=True)
class LinearPool:
    """Weighs the members' probabilities, and brings the sum to a temperature where there is one."""

    weights: Any
    temperature: float | None = None

    def __call__(self, members: Sequence[Any], rows: slice) -> Any:
        """See `Pool`."""
        if self.temperature is None:
            return combine(members, self.weights)
        return tempered(weighted_mean(members, self.weights), self.temperature).astype("float32")


@dataclass(frozen=True)
class GivenProbabilities:
    """What somebody else has combined: probabilities (items, classes)."""

    probabilities: Any

    def __call__(self, members: Sequence[Any], rows: slice) -> Any:
        """See `Pool`."""
        return np.asarray(self.probabilities[rows], dtype="float32")


def weights(method: str, accuracies: Sequence[float]) -> Any:
    """The members' weights, float64, summing to 1: in proportion to the accuracies (method ``accuracy``) or ``uniform``.

    They are uniform too if all accuracies are 0. Raises WrongInput for an unknown method or an accuracy that is no number.
    """
    values = np.asarray(accuracies, dtype="float64")
    if method == "uniform" or not values.any():
        return np.full(len(values), 1.0 / len(values))
    if method != "accuracy":
        raise WrongInput(f"ensemble.method: there is no method {method}: use {', '.join(BUILT_IN)} or file.py:function")
    if not np.isfinite(values).all() or (values < 0).any():
        raise WrongInput(f"the accuracies {list(accuracies)} are not all finite numbers of at least 0")
    return values / values.sum()


def weighted_mean(members: Sequence[Any], member_weights: Any) -> Any:
    """Σ pᵢ·wᵢ / Σ wᵢ over members of shape (items, classes), float64: the linear opinion pool (Stone, 1961)."""
    total = np.zeros(np.shape(members[0]), dtype="float64")
    for probabilities, weight in zip(members, member_weights, strict=True):
        total += np.asarray(probabilities, dtype="float64") * weight
    return total / np.sum(member_weights)


def combine(members: Sequence[Any], member_weights: Any) -> Any:
    """The weighted mean as float32."""
    return weighted_mean(members, member_weights).astype("float32")


def tempered(probabilities: Any, temperature: float) -> Any:
    """p^(1/T) / Σ p^(1/T) over the classes, float64 (items, classes), with p of at least `SMALLEST`.

    Temperature scaling (Guo et al., 2017, https://arxiv.org/abs/1706.04599) with log p as logits: above 1 it makes the
    probabilities of an item more alike, below 1 less.
    """
    scores = np.log(np.clip(probabilities, SMALLEST, None)) / temperature
    scores -= scores.max(axis=1, keepdims=True)
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


def others(names: Sequence[str], member_weights: Any) -> dict[str, LinearPool]:
    """By member the pool of the others, who keep their weights in proportion; none of a single member.

    If the others all have the weight 0, they have the same.
    """
    pools = {}
    for n, name in enumerate(names):
        rest = np.delete(np.asarray(member_weights, dtype="float64"), n)
        if len(rest):
            pools[name] = LinearPool(rest if rest.any() else np.ones(len(rest)))
    return pools
