"""Predictions before and after, item by item: matched by id, by class name, and judged on the items of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.comparison.predictions import MetricChange, Predictions, compare_predictions

ROWS = {"x": [0.8, 0.1, 0.1], "y": [0.1, 0.8, 0.1], "z": [0.1, 0.1, 0.8]}


def predicted(items: str, labels: str = "", answers: str = "", classes: str = "xyz") -> Predictions:
    """Items, true labels and answers are a letter each; without answers all are right."""
    array = np.array([[ROWS[answer]["xyz".index(name)] for name in classes] for answer in answers or labels], dtype="float32")
    numbers = np.array([classes.index(label) for label in labels]) if labels else None
    return Predictions(list(items), list(classes), array, numbers)


def test_flips_are_named_with_what_they_did() -> None:
    changes = compare_predictions(predicted("1234", "xyzx", "xxxx"), predicted("1234", "xyzx", "xyyz"))
    assert [(flip.item, flip.before, flip.after, flip.label, flip.effect) for flip in changes.flips] == [
        ("2", "x", "y", "y", "now right"),
        ("3", "x", "y", "z", "wrong both times"),
        ("4", "x", "z", "x", "now wrong"),
    ]
    assert changes.accuracy == MetricChange(0.5, 0.5) and changes.accuracy.difference == 0
    assert changes.loss.before == pytest.approx(-(2 * np.log(0.8) + 2 * np.log(0.1)) / 4, rel=1e-6)
    assert changes.loss.after == pytest.approx(changes.loss.before)
    assert changes.largest_difference == pytest.approx(0.7) and [each.item for each in changes.largest_changes] == ["2", "3", "4"]
    assert not changes.identical and changes.has_same_items and changes.notes == ()


def test_only_the_items_of_both_count_whatever_their_order() -> None:
    changes = compare_predictions(predicted("abc", "xyz", "xyx"), predicted("dcb", "xzy", "xzx"))
    assert (changes.items, changes.only_before, changes.only_after, changes.labelled) == (2, ("a",), ("d",), 2)
    assert changes.accuracy == MetricChange(0.5, 0.5)
    assert [(flip.item, flip.effect) for flip in changes.flips] == [("b", "now wrong"), ("c", "now right")]


def test_items_with_one_id_are_matched_in_order_and_said() -> None:
    changes = compare_predictions(predicted("aab", "xyz"), predicted("aab", "xyz", "xzz"))
    assert [(flip.item, flip.occurrence) for flip in changes.flips] == [("a", 2)]
    assert changes.notes == ("the id a occurs more than once: of such items the first is compared with the first, and so on",)
    assert compare_predictions(predicted("aab", "xyz"), predicted("ab", "xz")).only_before == ("a",)


def test_classes_are_matched_by_name() -> None:
    changes = compare_predictions(predicted("12", "xy"), predicted("12", "xy", classes="zyx"))
    assert (changes.flips, changes.largest_difference, changes.has_same_classes) == ((), 0.0, False)
    assert changes.notes == ("the classes stand in another order than before: they are matched by name",)
    other = Predictions(["1", "2"], ["x", "new"], np.array([[0.7, 0.3], [0.2, 0.8]], dtype="float32"), np.array([0, 1]))
    changes = compare_predictions(predicted("12", "xy"), other)
    assert [(flip.before, flip.after, flip.label) for flip in changes.flips] == [("y", "new", "new")]
    assert changes.accuracy == MetricChange(1.0, 1.0)
    assert changes.notes[0].startswith("other classes: y, z no longer there; new new: ")
    assert changes.notes[1].startswith("1 item has another true label than before")


def test_without_labels_there_is_no_accuracy_and_nan_has_no_largest_difference() -> None:
    before, after = predicted("12", "", "xy"), predicted("12", "", "yy")
    assert compare_predictions(before, after).accuracy == MetricChange(None, None)
    assert [flip.effect for flip in compare_predictions(before, after).flips] == [""]
    after.probabilities[1, 0] = np.nan
    changes = compare_predictions(before, after)
    assert changes.largest_difference is None and changes.largest_changes[0].item == "2"


def test_nothing_in_common() -> None:
    changes = compare_predictions(predicted("12", "xy"), predicted("34", "xy"))
    assert (changes.items, changes.labelled, changes.accuracy.before, changes.largest_difference) == (0, 0, None, None)
    assert (changes.only_before, changes.only_after, changes.identical) == (("1", "2"), ("3", "4"), False)


@given(st.lists(st.sampled_from("abcd"), max_size=8), st.lists(st.sampled_from("abcd"), max_size=8))
def test_every_item_is_matched_once_or_named_once(left: list[str], right: list[str]) -> None:
    def side(items: list[str]) -> Predictions:
        array: Any = np.full((len(items), 2), 0.5, dtype="float32")
        return Predictions(items, ["x", "y"], array, np.zeros(len(items), dtype="int64"))

    changes = compare_predictions(side(left), side(right))
    assert changes.items + len(changes.only_before) == len(left) and changes.items + len(changes.only_after) == len(right)
    for item in "abcd":
        assert changes.only_before.count(item) == max(0, left.count(item) - right.count(item))
    assert changes.flips == () and changes.labelled == changes.items
