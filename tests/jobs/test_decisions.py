"""Whether a published run is accepted: its gate, decisions by hand, and who decides at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.store import LocalStore
from jobs.store.decisions import decision_names, next_decision_name, refusal
from stores import Builder

GATE = {"gate": {"refused": "accuracy 0.80 is below 0.90"}}


def decided(decision: str, time: str, reason: str = "") -> dict[str, Any]:
    return {"decision": decision, "reason": reason, "by": "ann", "time": time}


REFUSED, ACCEPTED = decided("refused", "2026-11-20T07:00:00Z", "wrong data"), decided("accepted", "2026-11-20T08:00:00Z")


@pytest.mark.parametrize(
    ("record", "decisions", "at", "why"),
    [
        ({}, [], None, ""),
        (GATE, [], None, "accuracy 0.80 is below 0.90"),
        ({}, [REFUSED], None, "by ann: wrong data"),
        (GATE, [ACCEPTED], None, ""),
        ({}, [REFUSED, ACCEPTED], None, ""),
        ({}, [REFUSED, ACCEPTED], 1763623800.0, ""),  # 2025: before both
        ({}, [REFUSED, ACCEPTED], 1795159800.0, "by ann: wrong data"),  # 07:30
        ({}, [decided("refused", "at some time", "x")], 0.0, "by ann: x"),
    ],
)
def test_the_last_decision_counts(record: dict[str, Any], decisions: list[dict[str, Any]], at: float | None, why: str) -> None:
    assert refusal(record, decisions, at) == why


def test_decisions_are_counted_by_their_names() -> None:
    names = ["decision-10.json", "decision-2.json", "decision-02.json", "result", "decision-x.json"]
    assert decision_names(names) == ["decision-2.json", "decision-10.json"]
    assert (next_decision_name(names), next_decision_name([])) == ("decision-11.json", "decision-1.json")


def test_decisions_are_only_added(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    store, run = builder.store, builder.run("train-jax", "2026-11-20T01:00", gate=GATE["gate"])
    assert store.read(run).refused == store.refusal(run, store.result(run) or {}) == GATE["gate"]["refused"]
    assert store.decide(run, ACCEPTED) and not store.read(run).refused
    assert store.decide(run, decided("refused", "2026-11-21T07:00:00Z", "after all"))
    assert store.read(run).refused == "by ann: after all"
    assert [decision["reason"] for decision in store.decisions(run)] == ["", "after all"]
    assert LocalStore(tmp_path).read(run).status == "succeeded"


def test_a_decision_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    store, run = builder.store, builder.run("train-jax", "2026-11-20T01:00")
    assert store.decide(run, ACCEPTED)
    (store.run_folder(run) / "decision-1.json").write_text("{")
    why = "by hand: decision-1.json cannot be read: see cronsemble fsck"
    assert store.read(run).refused == store.refusal(run, store.result(run) or {}) == why
    assert store.read(run).status == "succeeded"
    assert store.decide(run, {**ACCEPTED, "time": "2026-11-21T08:00:00Z"}) and not store.read(run).refused
