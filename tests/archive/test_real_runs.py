"""Real runs: what `backfill`, `rerun`, `run`, `refuse` and `accept` make of `latest.csv`, and what `get` copies."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from commands import run_command

CONFIG = """
experiment: small
runtimes: {{keras3: {{python: {keras3}}}}}
data: {{dataset: "d-{{date}}.npz"}}
model: mlp
hyperparameters: {{epochs: 1}}
backends: {{jax: {{schedule: "0 1 * * *"}}, slow: {{backend: jax, schedule: "0 1 * * *"}}}}
ensemble: {{schedule: "0 6 * * *", quorum: 1, max_age: 12h}}
"""


def cronsemble(folder: Path, *arguments: str) -> str:
    done = run_command(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def latest(folder: Path) -> dict[str, Any]:
    """What `latest.json` says, once `latest.csv` is that."""
    archive = folder / "store" / "predictions" / "small"
    about: dict[str, Any] = json.loads((archive / "latest.json").read_text())
    data = (archive / "latest.csv").read_bytes()
    dated = archive / about["csv"]["file"]
    assert hashlib.sha256(data).hexdigest() == about["csv"]["sha256"] and data == dated.read_bytes()
    assert (archive / "latest.json").read_bytes() == dated.with_suffix(".json").read_bytes()
    assert len(data) == about["csv"]["size"]
    return about


def test_from_backfills_to_a_decision_by_hand(tmp_path: Path, keras3: Path) -> None:
    older, newer = ((datetime.now(UTC) - timedelta(days=back)).strftime("%Y-%m-%d") for back in (3, 2))
    random = np.random.default_rng(1)
    for day in (older, newer, datetime.now(UTC).strftime("%Y-%m-%d")):
        np.savez(tmp_path / f"d-{day}.npz", x_train=random.random((700, 4), dtype="float32"), y_train=np.arange(700) % 3)
    (tmp_path / "config.yaml").write_text(CONFIG.format(keras3=keras3))
    cronsemble(tmp_path, "backfill", newer, "--task", "train-jax", "--task", "ensemble")
    first = latest(tmp_path)
    assert (first["slot"], first["kind"], first["refused"]) == (f"{newer}T06:00Z", "backfill", None)
    with open(tmp_path / "store" / "predictions" / "small" / "latest.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [*first["csv"]["columns"], *first["classes"]] and len(rows) == first["items"] + 1
    (member,) = first["members"]
    assert (member["member"], member["slot"], member["weight"]) == ("jax", f"{newer}T01:00Z", 1.0)
    assert member["accuracy"] == first["accuracy"] and member["loss"] == first["loss"]
    assert first["left_out"] == [
        {"member": "slow", "run": None, "slot": None, "reason": "it had no training at or before this slot"}
    ]
    assert first["degraded"] == "slow left out: it had no training at or before this slot"
    # An older slot that is made up for later, a rerun, and a run by hand leave it.
    cronsemble(tmp_path, "backfill", older)
    assert latest(tmp_path) == first
    cronsemble(tmp_path, "rerun", newer, "--reuse-models")
    cronsemble(tmp_path, "run")
    assert latest(tmp_path) == first
    archive = tmp_path / "store" / "predictions" / "small"
    assert len(list(archive.glob("20*.csv"))) == len(list(archive.glob("20*.json"))) == 4
    refused = cronsemble(tmp_path, "refuse", first["run"], "--reason", "wrong labels")
    assert latest(tmp_path)["slot"] == f"{older}T06:00Z" and f"latest.csv has the predictions of {older}T06:00Z" in refused
    cronsemble(tmp_path, "accept", first["run"])
    assert latest(tmp_path) == first
    assert "nothing is wrong" in cronsemble(tmp_path, "fsck")
    printed = cronsemble(tmp_path, "get", first["run"], "--to", "morning").split()
    assert printed == [f"morning/{first['csv']['file']}", f"morning/{first['csv']['file'].replace('.csv', '.json')}"]
    assert json.loads((tmp_path / printed[1]).read_text()) == first
