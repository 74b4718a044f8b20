"""The method `calibrated`: weights and temperature against simple optimisers, hostile validation data, no figure in-sample."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.keras3.calibration import calibration_error, cross_fitted, fit, fit_temperature, fit_weights, folds, log_loss
from jobs.keras3.pools import LinearPool, combine, tempered, weighted_mean, weights
from scheduler.report.calibration import reliability
from simple_optimisers import temperature_by_search, weights_by_em

Arrays = list[Any]


def draw(sharpness: list[float], items: int, classes: int = 10, seed: int = 0) -> tuple[Arrays, Any]:
    """Members' probabilities of items, and the items' classes; the sharper a member, the more accurate."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=items)
    members = []
    for own in sharpness:
        logits = 2 * generator.normal(size=(items, classes))
        logits[np.arange(items), labels] += own
        powers = np.exp(logits)
        members.append((powers / powers.sum(axis=1, keepdims=True)).astype("float32"))
    return members, labels


@pytest.mark.parametrize(
    ("sharpness", "items", "classes"),
    [([1, 3, 5, 0], 300, 10), ([6, 6, 6, 0], 60, 10), ([2] * 8, 200, 4), ([1, 1, 1], 1, 2), ([1, 9], 5, 3)],
)
def test_weights_and_temperature_are_those_of_simple_optimisers(sharpness: list[float], items: int, classes: int) -> None:
    members, labels = draw(sharpness, items, classes)
    found = fit(members, labels)
    assert found.weights == pytest.approx(weights_by_em(members, labels), abs=1e-8)
    assert found.temperature == pytest.approx(temperature_by_search(weighted_mean(members, found.weights), labels), rel=1e-6)
    again = fit([own.copy() for own in members], labels.copy())
    assert (found.weights.tobytes(), found.temperature) == (again.weights.tobytes(), again.temperature)


def test_tempering_is_a_power() -> None:
    pooled = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    root = np.sqrt(pooled.clip(1e-15))
    assert tempered(pooled, 2.0) == pytest.approx(root / root.sum(axis=1, keepdims=True))
    assert tempered(pooled, 1.0) == pytest.approx(pooled)
    made = LinearPool([1.0, 3.0], 2.0)([pooled, pooled], slice(None))
    assert made.dtype == np.float32 and made == pytest.approx(tempered(pooled, 2.0))


def test_a_broken_member_does_not_spoil_it() -> None:
    """A fifth of whose weights are those of a member that is confidently wrong in three of four items."""
    members, labels = draw([6.0, 6.0, 6.0, 6.0], 1000)
    generator = np.random.default_rng(1)
    said = np.where(generator.random(1000) < 0.25, labels, generator.integers(10, size=1000))
    broken = (0.001 + 0.99 * np.eye(10)[said]).astype("float32")
    both, validation = [*members, broken], slice(0, 300)
    rest = slice(300, None)

    def on_others(pool: Any, arrays: Arrays) -> float:
        return log_loss(pool([own[rest] for own in arrays], rest), labels[rest])

    found = fit([own[validation] for own in both], labels[validation])
    accuracies = [float((own[validation].argmax(axis=1) == labels[validation]).mean()) for own in both]
    by_accuracy = LinearPool(weights("accuracy", accuracies))
    without = fit([own[validation] for own in members], labels[validation])
    assert found.weights[-1] < 0.01 < by_accuracy.weights[-1]
    assert on_others(found, both) < on_others(by_accuracy, both)
    assert on_others(found, both) == pytest.approx(on_others(without, members), rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_sixty_validation_items_are_enough_not_to_be_worse(seed: int) -> None:
    members, labels = draw([3.0, 4.0, 5.0, 5.0], 2060, seed=seed)
    few, rest = slice(0, 60), slice(60, None)
    found = fit([own[few] for own in members], labels[few])
    accuracies = [float((own[few].argmax(axis=1) == labels[few]).mean()) for own in members]
    others = [own[rest] for own in members]
    baseline = log_loss(combine(others, weights("accuracy", accuracies)), labels[rest])
    assert log_loss(found(others, rest), labels[rest]) <= baseline


def test_identical_members_share_their_weight_and_one_member_has_it_all() -> None:
    members, labels = draw([3.0, 4.0], 100, 4)
    found = fit_weights([members[0], members[0].copy(), members[1]], labels)
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    assert fit_weights(members[:1], labels).tolist() == [1.0]


def test_a_probability_of_zero_and_an_absent_class_are_survived() -> None:
    labels = np.zeros(6, dtype="int64")  # of three classes one alone
    certain, wrong = np.eye(3, dtype="float32")[labels], np.eye(3, dtype="float32")[labels + 1]
    right = fit([certain, certain.copy()], labels)
    assert right.weights.tolist() == pytest.approx([0.5, 0.5]) and right.temperature == pytest.approx(1.0)
    for members in ([wrong], [wrong, np.eye(3, dtype="float32")[labels + 2]], [certain, wrong]):
        found = fit(members, labels)
        assert np.isfinite(found.weights).all() and np.isfinite(found.temperature)
        assert found(members, slice(None)).sum(axis=1) == pytest.approx(1.0)
    # What is always wrong and certain of it is made uncertain, as far as the prior lets it.
    assert fit([wrong], labels).temperature > 10


def test_figures_are_of_items_that_the_pool_was_not_fitted_on() -> None:
    members, labels = draw([2.0, 4.0, 5.0], 123)
    fold_of = folds(labels)
    assert sorted(np.bincount(fold_of)) == [24, 24, 25, 25, 25]
    counts = np.array([np.bincount(labels[fold_of == n], minlength=10) for n in range(5)])
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1
    before, after = np.zeros((123, 10), "float32"), np.zeros((123, 10), "float32")
    for n in range(5):
        own, rest = fold_of == n, fold_of != n
        weight = weights_by_em([member[rest] for member in members], labels[rest])
        temperature = temperature_by_search(weighted_mean([member[rest] for member in members], weight), labels[rest])
        after[own] = tempered(weighted_mean([member[own] for member in members], weight), temperature)
        hits = [(member[rest].argmax(axis=1) == labels[rest]).mean() for member in members]
        before[own] = weighted_mean([member[own] for member in members], hits)
    found = cross_fitted(members, labels)
    assert found["folds"] == 5
    for name, pool in (("before", before), ("after", after)):
        assert found[f"loss_{name}"] == pytest.approx(-np.log(pool[np.arange(123), labels]).mean(), rel=1e-5)
        assert found[f"calibration_error_{name}"] == pytest.approx(reliability(pool, labels).error, rel=1e-3)


@pytest.mark.parametrize("items", [1, 2, 3, 4])
def test_a_handful_of_items_gives_numbers(items: int) -> None:
    members, labels = draw([2.0, 3.0], items, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, figures = fit(members, labels), cross_fitted(members, labels)
    assert found.weights == pytest.approx(0.5, abs=0.3) and 0.2 < (found.temperature or 0) < 5
    assert (figures["folds"], figures["loss_after"] is None) == ((items, False) if items > 1 else (0, True))


def test_the_calibration_error_is_the_reports() -> None:
    members, labels = draw([3.0], 500)
    assert calibration_error(members[0], labels) == pytest.approx(reliability(members[0], labels).error, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    sharpness=st.lists(st.floats(-8, 30), min_size=1, max_size=6),
    items=st.integers(1, 40),
    classes=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
    zeros=st.booleans(),
    data=st.data(),
)
def test_whatever_members_there_are(
    sharpness: list[float], items: int, classes: int, seed: int, zeros: bool, data: st.DataObject
) -> None:
    """Weights lie on the simplex, rows sum to 1, and the order of the members makes no difference."""
    members, labels = draw(sharpness, items, classes, seed)
    if zeros:
        members[0] = np.eye(classes, dtype="float32")[members[0].argmax(axis=1)]
    found = fit(members, labels)
    assert found.weights.min() > 0 and found.weights.sum() == pytest.approx(1.0, abs=1e-12)
    pooled = found(members, slice(None))
    assert pooled.dtype == np.float32 and pooled.min() >= 0 and pooled.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    order = data.draw(st.permutations(range(len(members))))
    other = fit([members[n] for n in order], labels)
    assert other.weights == pytest.approx(found.weights[list(order)], abs=1e-7)
    assert other([members[n] for n in order], slice(None)) == pytest.approx(pooled, abs=1e-5)
    temperature = fit_temperature(weighted_mean(members, found.weights), labels)
    assert np.exp(-7) <= temperature <= np.exp(7)
