"""`accept` and `refuse` as commands: what they print and write, and what they refuse themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stores import Builder
from test_end_to_end import cronsemble

GATE = {"refused": "accuracy 0.6000 is less than min_accuracy 0.9", "limits": {"min_accuracy": 0.9}}


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    (tmp_path / "config.yaml").write_text('experiment: e\nbackends: {jax: {schedule: "0 1 * * *"}}\n')
    return Builder(tmp_path / "store")


def test_accepted_and_refused_by_hand(tmp_path: Path, builder: Builder) -> None:
    run = builder.run("train-jax", "2026-11-20T01:00", gate=GATE, model={"file": "weights.h5"})
    name = str(run).removeprefix("e-train-")  # as the history shortens it
    accepted = cronsemble(tmp_path, "accept", name, "--reason", "new labels")
    assert (accepted.returncode, accepted.stdout.splitlines()) == (
        0,
        [f"{run}: accepted (it was refused: {GATE['refused']})", "the next ensemble takes its model of jax"],
    ), accepted.stderr
    (decision,) = builder.store.decisions(run)
    again = cronsemble(tmp_path, "accept", name)
    assert again.stdout == f"{run} is accepted already: by {decision['by']} at {decision['time']}\n"
    refused = json.loads(cronsemble(tmp_path, "refuse", "2026-11-20", "--reason", "after all", "--json").stdout)
    assert (refused["run"], refused["decision"], refused["changed"]) == (str(run), "refused", True)
    shown = cronsemble(tmp_path, "show", name).stdout.splitlines()
    assert "status          refused" in shown
    assert "gate            min_accuracy 0.9: refused" in shown
    assert [line.split(" at ")[0] for line in shown if line.startswith("decided")] == [
        f"decided         accepted by {decision['by']}",
        f"decided         refused by {decision['by']}",
    ]
    rows = json.loads(cronsemble(tmp_path, "history", "--status", "refused", "--json").stdout)
    assert [(row["run"], row["reason"]) for row in rows] == [(str(run), f"by {decision['by']}: after all")]


def test_only_what_is_published_can_be_decided(tmp_path: Path, builder: Builder) -> None:
    run = builder.run("train-jax", "2026-11-20T01:00", "failed", reason="no data")
    for arguments, status, message in (
        (("accept", str(run)), 1, f"{run} has published no result (failed: no data): there is nothing to accept"),
        (("refuse", str(run), "--reason", "x"), 1, "there is nothing to refuse"),
        (("accept", "train-torch-1"), 1, "no such run"),
        (("refuse", str(run)), 64, "--reason"),
        (("refuse", str(run), "--reason", " "), 64, "a reason is needed"),
    ):
        done = cronsemble(tmp_path, *arguments)
        assert done.returncode == status and message in done.stderr and "Traceback" not in done.stderr, done.stderr
