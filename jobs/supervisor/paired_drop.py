"""How far accuracy dropped from one model to the next on the same items, and whether by chance. Values in, values out.

Two models that predict the same items agree on most of them, rightly or wrongly; only those on which one is right and the other
wrong say which is better. Standard library, Python 3.9.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, lgamma, log

TAIL = 0.025
"""The largest probability, if nothing has changed, of a drop that is taken for one: the lower tail of an interval of 95 %.

Not 5 %: the accepted model that later ones are compared with may be a lucky one, and where the validation items stay the same it
stays so until another is accepted. With 2.5 % a pair, at most some 3 % of the nights of such a stream are refused
(`benchmarks/gates.py`).
"""
_STANDARD_ERRORS = 1.9
"""A limit of so many standard errors lets a drop of twice the limit be seen in 95 % of nights, and chance pass (the same)."""
_SMALLEST_TERM = 1e-18
"""Of a sum of probabilities: smaller ones do not change it."""


@dataclass(frozen=True)
class PairedDrop:
    """Two models on the same items.

    ``items``: how many; ``lost``: those that the earlier one had right and the later one has wrong; ``gained``: the reverse.
    """

    items: int
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """By how much the later one's accuracy is lower; negative where it is higher."""
        return (self.lost - self.gained) / self.items

    @property
    def p_value(self) -> float:
        """The probability of at least so many lost among those that differ, if a difference either way is as likely.

        The exact conditional test of McNemar, one-sided (McNemar 1947; Agresti, Categorical Data Analysis, 3rd ed., 11.1.1).
        """
        return binomial_tail(self.lost, self.lost + self.gained, 0.5)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of 95 % of the drop, given how many items differ.

        That of Clopper and Pearson (1934) of the share of ``lost`` among them, as a drop. It lies above 0 exactly where
        ``p_value`` is less than TAIL.
        """
        differing = self.lost + self.gained
        low, high = clopper_pearson(self.lost, differing, TAIL)
        return tuple((2 * share - 1) * differing / self.items for share in (low, high))  # type: ignore[return-value]

    def exceeds(self, limit: float) -> bool:
        """Whether accuracy has dropped by more than ``limit``, and not by chance."""
        # Counts, for 0.03 is no sum of items' shares in floating point.
        is_larger = self.lost - self.gained > limit * self.items * (1 + 1e-12)
        return is_larger and self.p_value < TAIL

    def needed_items(self, limit: float) -> int:
        """How many items it takes to see a drop of twice ``limit`` in 95 % of nights, if models without one differ as here."""
        return needed_items(limit, 2 * min(self.lost, self.gained) / self.items)


def needed_items(limit: float, disagreement: float = 0.0) -> int:
    """How many items it takes to see a drop of twice ``limit`` in 95 % of nights, with a chance of at most 5 % of a false one.

    ``disagreement``: the share of items that only one of two equally good models has right. The variance of the drop of n items
    is (the share that differs - drop²) / n (Agresti, 11.1.2), here at most (2·limit + disagreement) / n.
    """
    return ceil(_STANDARD_ERRORS**2 * (2 * limit + disagreement) / limit**2 - 1e-6)


def binomial_tail(count: int, of: int, probability: float) -> float:
    """The probability that at least ``count`` ``of`` independent trials succeed, each with ``probability``."""
    if count <= 0:
        return 1.0
    if count > of or probability <= 0.0:
        return 0.0
    if probability >= 1.0:
        return 1.0
    # The smaller tail is summed: the terms fall from its edge on, and none is lost beside 1.
    if count > of * probability:
        return min(1.0, _sum_upwards(count, of, probability))
    return max(0.0, 1.0 - _sum_upwards(of - count + 1, of, 1.0 - probability))


def _sum_upwards(count: int, of: int, probability: float) -> float:
    odds = probability / (1.0 - probability)
    logarithm = lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
    logarithm += count * log(probability) + (of - count) * log(1.0 - probability)
    term = relative = 1.0
    for k in range(count, of):
        term *= (of - k) / (k + 1) * odds
        relative += term
        if term < _SMALLEST_TERM * relative:
            break
    return exp(logarithm) * relative


def clopper_pearson(count: int, of: int, tail: float) -> tuple[float, float]:
    """The exact interval of a probability of which ``count`` ``of`` trials succeeded, with ``tail`` outside at each end."""
    low = 0.0 if count == 0 else _probability_of(count, of, tail)
    high = 1.0 if count == of else 1.0 - _probability_of(of - count, of, tail)
    return low, high


def _probability_of(count: int, of: int, tail: float) -> float:
    """The probability with which at least ``count`` ``of`` trials succeed in a share ``tail`` of cases."""
    low, high = 0.0, count / of
    if binomial_tail(count, of, high) < tail:  # of one trial, with a tail above a half
        high = 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if binomial_tail(count, of, middle) > tail else (middle, high)
    return (low + high) / 2
