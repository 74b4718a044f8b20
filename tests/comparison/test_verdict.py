"""Verdicts on values: what counts as identical, equal and changed, and which causes are named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scheduler.comparison.difference import Difference, DifferenceKind, describe_tasks, merge
from scheduler.comparison.pinned_inputs import PinnedInputs, pinned_differences
from scheduler.comparison.predictions import PredictionChanges, Predictions, compare_predictions
from scheduler.comparison.verdict import (
    CHANGED,
    EQUAL,
    IDENTICAL,
    NOTHING,
    TOLERANCE,
    describe,
    difference_lines,
    flip_lines,
    judge,
)


def changes(before: Any, after: Any) -> PredictionChanges:
    """Of items and classes that are named by their numbers."""
    sides = [Predictions(list(map(str, range(len(one)))), list(map(str, range(one.shape[1]))), one) for one in (before, after)]
    return compare_predictions(sides[0], sides[1])


TABLE = arrays("float32", (5, 3), elements=st.floats(0, 1, width=32))


@given(TABLE)
def test_equal_bits_are_identical(table: Any) -> None:
    verdict = judge([changes(table, table.copy())], 0.0, ["seed: 1, then 2"])
    assert (verdict.verdict, verdict.largest, verdict.flipped) == (IDENTICAL, 0.0, 0)


@given(TABLE, TABLE, st.floats(0, 1))
def test_the_verdict_is_what_the_definitions_say(before: Any, after: Any, tolerance: float) -> None:
    verdict = judge([changes(before, after)], tolerance)
    largest = float(np.abs(before.astype("float64") - after.astype("float64")).max())
    flipped = sum(int(a.argmax() != b.argmax()) for a, b in zip(before, after, strict=True))
    if verdict.verdict == IDENTICAL:
        assert before.tobytes() == after.tobytes()
    else:
        assert (verdict.largest, verdict.flipped, verdict.items) == (largest, flipped, 5)
        assert verdict.verdict == (EQUAL if largest <= tolerance and flipped == 0 else CHANGED)
        assert (verdict.verdict == CHANGED) == bool(verdict.differs)


def test_a_tiny_difference_that_flips_a_label_is_a_change() -> None:
    before = np.array([[0.5, 0.49999997]], dtype="float32")
    after = before[:, ::-1].copy()
    assert judge([changes(before, after)], TOLERANCE).verdict == CHANGED
    assert judge([changes(before, before + np.float32(1e-7))], TOLERANCE).verdict == EQUAL


def test_the_worst_pair_counts() -> None:
    one, two = np.eye(3, dtype="float32"), np.eye(3, dtype="float32")[::-1].copy()
    verdict = judge([changes(one, one), changes(one, two)], TOLERANCE)
    assert (verdict.verdict, verdict.flipped, verdict.items) == (CHANGED, 2, 6)


def test_other_shapes_and_nothing_at_all() -> None:
    one = np.eye(3, dtype="float32")
    fewer = judge([changes(one, one[:2])], TOLERANCE)
    assert (fewer.verdict, fewer.items, fewer.flipped, fewer.largest) == (CHANGED, 2, 0, 0.0)
    assert judge([], TOLERANCE).verdict == NOTHING
    verdict = judge([changes(one, np.full_like(one, np.nan))], TOLERANCE)
    assert verdict.verdict == CHANGED and "Infinity" not in json.dumps(verdict.as_json())
    text = describe(verdict.as_json())
    assert "some probabilities are no numbers" in text


def reached(secrets: list[str] | None = None, **variables: str) -> dict[str, Any]:
    return {"environment": {"variables": variables, "secrets": secrets or []}}


RECORD = {
    **reached(["TOKEN"], XLA_FLAGS="--a", MODE="x"),
    "members": [{"member": "a", **reached(TZ="UTC")}, {"member": "b", "left_out": "no model"}],
    "seed": 7,
    "threads": 1,
    "processor": "a",
    "data": {"fingerprint": "d" * 64},
    "snapshot": {"program": "p" * 64, "code": "c" * 64},
    "image": {"reference": "r", "identity": {"inputs": "1"}},
    "model": {"versions": {"keras": "3.1", "python": "3.13"}},
}
TASK = {
    "env": {},
    "hyperparameters": {"epochs": 2},
    "data": {"dataset": "digits", "key": "k"},
    "members": [{"member": "a", "threads": 1}],
}


@pytest.mark.parametrize(
    ("record", "task", "code", "line"),
    [
        ({"seed": 8}, {}, {}, "seed 7 → 8"),
        ({"threads": 2}, {}, {}, "threads 1 → 2"),
        ({"data": {"fingerprint": "e" * 64}}, {}, {}, "data dddddddddddd → eeeeeeeeeeee"),
        ({"snapshot": {"program": "q" * 64, "code": "c" * 64}}, {}, {}, "program pppppppppppp → qqqqqqqqqqqq"),
        ({"snapshot": {"program": "p" * 64, "code": "x" * 64}}, {}, {"m.py": "2"}, "code: m.py changed"),
        ({"image": {"reference": "r", "identity": {"inputs": "2"}}}, {}, {}, "image r, another build 1 → 2"),
        ({"image": None}, {}, {}, "image r → none"),
        ({"model": {"versions": {"keras": "3.2", "python": "3.13"}}}, {}, {}, "keras 3.1 → 3.2"),
        ({"processor": "b"}, {}, {}, "processor a → b"),
        (reached(["TOKEN"], XLA_FLAGS="--b", MODE="x"), {}, {}, "variable XLA_FLAGS --a → --b"),
        (reached(XLA_FLAGS="--a", MODE="x"), {}, {}, "variable TOKEN given → none"),
        (reached(["TOKEN"], XLA_FLAGS="--a", MODE="y"), {"env": {"MODE": "y"}}, {}, "env.MODE none → y"),
        ({"members": [{"member": "a", **reached(TZ="CET")}]}, {}, {}, "variable TZ UTC → CET"),
        ({"members": [{"member": "a"}]}, {}, {}, ""),  # of an earlier version, or left out
        ({}, {"hyperparameters": {"epochs": 3}}, {}, "hyperparameters.epochs 2 → 3"),
        ({}, {"members": [{"member": "a", "threads": 2}]}, {}, "threads 1 → 2"),
        ({}, {"data": {"dataset": "digits", "key": "other"}}, {}, None),
    ],
)
def test_a_cause_is_named_and_no_other(record: dict[str, Any], task: dict[str, Any], code: dict[str, str], line: str) -> None:
    before = PinnedInputs(RECORD, TASK, {"m.py": "1", "n.py": "1"})
    after = PinnedInputs({**RECORD, **record}, {**TASK, **task}, {"m.py": "1", "n.py": "1", **code})
    assert [difference.text for difference in pinned_differences(before, after)] == ([line] if line else [])


def test_each_difference_is_a_line_once_with_its_tasks() -> None:
    changed = {"verdict": CHANGED, "differs": ["keras 1 → 2"]}
    own = {"verdict": CHANGED, "differs": ["member a", "keras 1 → 2", "quorum 1 → 2"]}
    verdict = {**own, "members": {"a": changed, "b": {**changed, "differs": ["keras 1 → 2", "threads 1 → 2"]}}}
    assert difference_lines(verdict, "ensemble") == ["all tasks: keras 1 → 2", "train-b: threads 1 → 2", "ensemble: quorum 1 → 2"]
    # Of what came out identical the differences explain nothing.
    assert difference_lines({**changed, "verdict": IDENTICAL}, "train-a") == []


def test_a_difference_of_several_tasks_is_one() -> None:
    one = Difference(DifferenceKind.VERSION, "keras", "1", "2", ("train-a",))
    other = Difference(DifferenceKind.CONFIGURATION, "hyperparameters.layers", [1], [1, 2], ("train-a",))
    merged = merge([one, other, Difference(DifferenceKind.VERSION, "keras", "1", "2", ("train-b",)), one])
    assert [(each.text, each.tasks) for each in merged] == [
        ("hyperparameters.layers [1] → [1, 2]", ("train-a",)),
        ("keras 1 → 2", ("train-a", "train-b")),
    ]
    assert describe_tasks(("train-a", "train-b"), ("train-a", "train-b", "ensemble")) == "train-a, train-b"
    assert describe_tasks(("train-a", "train-b", "train-c"), ("train-a", "train-b", "train-c", "ensemble")) == "all trainings"


def test_flipped_items_are_named_with_their_true_label_and_counted() -> None:
    flips = [{"item": str(n), "before": "x", "after": "y", "label": "y" if n else None} for n in range(3)]
    verdict = {"flipped_items": flips, "labels_flipped": 5}
    assert flip_lines(verdict, 2) == ["0: x → y", "1: x → y (true: y)", "and 3 more"]
    assert flip_lines({"labels_flipped": 5}, 2) == []  # of an earlier version: none are named
