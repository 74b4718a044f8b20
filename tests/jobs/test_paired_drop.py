"""Whether accuracy has dropped on the same items: exact probabilities, and what follows from them."""

from __future__ import annotations

from fractions import Fraction
from math import comb, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.supervisor.paired_drop import TAIL, PairedDrop, binomial_tail, clopper_pearson, needed_items


def exact_tail(count: int, of: int, probability: Fraction) -> Fraction:
    return sum((comb(of, k) * probability**k * (1 - probability) ** (of - k) for k in range(count, of + 1)), Fraction(0))


@given(st.integers(0, 60), st.integers(0, 60), st.fractions(0, 1, max_denominator=50))
def test_tails_are_those_of_the_exact_sum(count: int, of: int, probability: Fraction) -> None:
    exact = float(exact_tail(count, of, probability))
    assert isclose(binomial_tail(count, of, float(probability)), exact, rel_tol=1e-9, abs_tol=1e-12)


@given(st.integers(1, 400).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_interval_leaves_its_tails_outside(counts: tuple[int, int]) -> None:
    count, of = counts
    low, high = clopper_pearson(count, of, TAIL)
    assert 0.0 <= low <= count / of <= high <= 1.0
    assert low == 0.0 if count == 0 else isclose(binomial_tail(count, of, low), TAIL, rel_tol=1e-6)
    assert high == 1.0 if count == of else isclose(1 - binomial_tail(count + 1, of, high), TAIL, rel_tol=1e-6)


# R 4.3: binom.test(15, 20, alternative = "greater")$p.value, and binom.test(15, 20)$conf.int
def test_known_values() -> None:
    drop = PairedDrop(items=200, lost=15, gained=5)
    assert drop.p_value == pytest.approx(0.02069473)
    low, high = drop.interval
    assert (low, high) == pytest.approx(((2 * 0.5089541 - 1) / 10, (2 * 0.9134285 - 1) / 10), abs=1e-7)
    assert drop.drop == 0.05 and drop.exceeds(0.049) and not drop.exceeds(0.05)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_what_is_refused_is_outside_of_chance(counts: tuple[int, int, int]) -> None:
    items, lost, gained = counts
    if lost + gained > items:
        gained = items - lost
    drop = PairedDrop(items, lost, gained)
    low, high = drop.interval
    assert low - 1e-9 <= drop.drop <= high + 1e-9
    assert (low > 0) == (drop.p_value < TAIL)
    assert drop.exceeds(1e-9) == (drop.p_value < TAIL)
    assert not drop.exceeds(max(drop.drop, 1e-9))


def test_a_million_items_take_no_time_and_no_overflow() -> None:
    drop = PairedDrop(1_000_000, 500_500, 499_500)
    assert drop.p_value == pytest.approx(0.15889734568, rel=1e-8)
    assert PairedDrop(1_000_000, 60_000, 50_000).p_value == pytest.approx(3.03e-200, rel=1e-2)


def test_few_items_are_said_to_be_few() -> None:
    assert needed_items(0.03) == 241
    assert needed_items(0.03, 0.1) == 642
    assert PairedDrop(300, 5, 5).needed_items(0.03) == needed_items(0.03, 10 / 300)
