"""Verdicts on values: what counts as identical, equal and changed, and which causes are named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scheduler.rerun.verdict import CHANGED, EQUAL, IDENTICAL, NOTHING, TOLERANCE, PinnedInputs, describe, differences, judge

TABLE = arrays("float32", (5, 3), elements=st.floats(0, 1, width=32))


@given(TABLE)
def test_equal_bits_are_identical(table: Any) -> None:
    verdict = judge([(table, table.copy())], 0.0, ["seed: 1, then 2"])
    assert (verdict.verdict, verdict.largest, verdict.flipped) == (IDENTICAL, 0.0, 0)


@given(TABLE, TABLE, st.floats(0, 1))
def test_the_verdict_is_what_the_definitions_say(before: Any, after: Any, tolerance: float) -> None:
    verdict = judge([(before, after)], tolerance)
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
    assert judge([(before, after)], TOLERANCE).verdict == CHANGED
    assert judge([(before, before + np.float32(1e-7))], TOLERANCE).verdict == EQUAL


def test_the_worst_pair_counts() -> None:
    one, two = np.eye(3, dtype="float32"), np.eye(3, dtype="float32")[::-1].copy()
    verdict = judge([(one, one), (one, two)], TOLERANCE)
    assert (verdict.verdict, verdict.flipped, verdict.items) == (CHANGED, 2, 6)


def test_other_shapes_and_nothing_at_all() -> None:
    one = np.eye(3, dtype="float32")
    assert "3×3 probabilities, then 2×3" in describe(judge([(one, one[:2])], TOLERANCE).as_json())
    assert judge([], TOLERANCE).verdict == NOTHING
    verdict = judge([(one, np.full_like(one, np.nan))], TOLERANCE)
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
TASK = {"hyperparameters": {"epochs": 2}, "data": {"dataset": "digits", "key": "k"}, "members": [{"member": "a", "threads": 1}]}


@pytest.mark.parametrize(
    ("record", "task", "code", "line"),
    [
        ({"seed": 8}, {}, {}, "seed: 7, then 8"),
        ({"threads": 2}, {}, {}, "threads: 1, then 2"),
        ({"data": {"fingerprint": "e" * 64}}, {}, {}, "data: dddddddddddd, then eeeeeeeeeeee"),
        ({"snapshot": {"program": "q" * 64, "code": "c" * 64}}, {}, {}, "program: pppppppppppp, then qqqqqqqqqqqq"),
        ({"snapshot": {"program": "p" * 64, "code": "x" * 64}}, {}, {"m.py": "2"}, "code: m.py"),
        ({"image": {"reference": "r", "identity": {"inputs": "2"}}}, {}, {}, "image r, another build: 1, then 2"),
        ({"image": None}, {}, {}, "image: r, then none"),
        ({"model": {"versions": {"keras": "3.2", "python": "3.13"}}}, {}, {}, "keras: 3.1, then 3.2"),
        ({"processor": "b"}, {}, {}, "processor: a, then b"),
        (reached(["TOKEN"], XLA_FLAGS="--b", MODE="x"), {}, {}, "variable XLA_FLAGS: --a, then --b"),
        (reached(XLA_FLAGS="--a", MODE="x"), {}, {}, "variable TOKEN: given, then none"),
        (reached(["TOKEN"], XLA_FLAGS="--a", MODE="y"), {"env": {"MODE": "y"}}, {}, "env.MODE: none, then y"),
        ({"members": [{"member": "a", **reached(TZ="CET")}]}, {}, {}, "a: variable TZ: UTC, then CET"),
        ({"members": [{"member": "a"}]}, {}, {}, ""),  # of an earlier version, or left out
        ({}, {"hyperparameters": {"epochs": 3}}, {}, "hyperparameters.epochs: 2, then 3"),
        ({}, {"members": [{"member": "a", "threads": 2}]}, {}, "members.a.threads: 1, then 2"),
        ({}, {"data": {"dataset": "digits", "key": "other"}}, {}, None),
    ],
)
def test_a_cause_is_named_and_no_other(record: dict[str, Any], task: dict[str, Any], code: dict[str, str], line: str) -> None:
    before = PinnedInputs(RECORD, TASK, {"m.py": "1", "n.py": "1"})
    after = PinnedInputs({**RECORD, **record}, {**TASK, **task}, {"m.py": "1", "n.py": "1", **code})
    assert differences(before, after) == ([line] if line else [])
