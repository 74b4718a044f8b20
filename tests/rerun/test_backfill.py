"""Backfills: which slots are gaps; and, with a real backend, killed in the middle and gone on with, in the order of time."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import CLI, run_command
from jobs.store import LocalStore
from jobs.store.process_identity import process_identity
from scheduler.config import load
from scheduler.rerun.backfill import gaps
from stores import Builder, at, minute

PLAIN = """
experiment: e
backends: {jax: {schedule: "0 1 * * *"}, tf: {backend: tensorflow, schedule: "30 1 * * *"}}
ensemble: {schedule: "0 6 * * *"}
"""
NOW = at("2026-11-23T12:00").timestamp()


def gap_reasons(root: Path, low: str, high: str, *tasks: str) -> dict[str, str]:
    """Why each gap is one, by its run."""
    (root / "config.yaml").write_text(PLAIN)
    reasons = gaps(LocalStore(root / "store"), load(root / "config.yaml"), minute(low), minute(high), NOW, tasks)
    return {f"{gap.slot} {gap.run.task} {gap.run.attempt}": gap.why for gap in reasons}


def test_slots_that_never_ran_or_failed_oldest_first_members_before_the_ensemble(tmp_path: Path) -> None:
    store = Builder(tmp_path / "store")
    store.run("train-jax", "2026-11-20T01:00")
    store.run("train-tf", "2026-11-20T01:30", "failed", reason="because")
    store.run("train-tf", "2026-11-20T01:30", "interrupted", attempt=2, kind="backfill")
    store.run("ensemble", "2026-11-20T06:00", "running", process=process_identity())
    assert list(gap_reasons(tmp_path, "2026-11-20T00:00", "2026-11-21T23:59").items()) == [
        ("2026-11-20T01:30Z train-tf 3", "interrupted"),
        ("2026-11-21T01:00Z train-jax 1", "never ran"),
        ("2026-11-21T01:30Z train-tf 1", "never ran"),
        ("2026-11-21T06:00Z ensemble 1", "never ran"),
    ]


def test_only_what_may_feed_an_ensemble_fills_a_slot(tmp_path: Path) -> None:
    store = Builder(tmp_path / "store")
    store.run("train-jax", "2026-11-20T01:00", kind="manual")
    store.run("train-jax", "2026-11-21T01:00", kind="manual", published=True)
    store.run("train-jax", "2026-11-22T01:00", kind="rerun", other_configuration=True)
    reasons = gap_reasons(tmp_path, "2026-11-20T00:00", "2026-11-22T23:59", "train-jax")
    assert reasons == {"2026-11-20T01:00Z train-jax 2": "never ran", "2026-11-22T01:00Z train-jax 2": "never ran"}


def test_an_edited_schedule_invents_no_slots_in_the_past(tmp_path: Path) -> None:
    store = Builder(tmp_path / "store")
    store.revise("2026-11-20T00:00", {"train-jax": {"schedule": "0 3 * * *"}})
    store.revise("2026-11-22T00:00", {"train-jax": {"schedule": "0 1 * * *"}})
    store.run("train-jax", "2026-11-20T03:00")
    # Before the first revision today's schedule counts; nothing lies in the future.
    assert list(gap_reasons(tmp_path, "2026-11-19T00:00", "2026-11-24T00:00", "train-jax")) == [
        "2026-11-19T01:00Z train-jax 1",
        "2026-11-21T03:00Z train-jax 1",
        "2026-11-22T01:00Z train-jax 1",
        "2026-11-23T01:00Z train-jax 1",
    ]


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder)


@pytest.mark.parametrize(
    ("period", "message"),
    [
        ("2026-11-20..", "2026-11-20..: type the first and the last day"),
        ("2026-11-20..2026-11-19", "it ends before it begins: type 2026-11-19..2026-11-20"),
        ("2999-01-01..2999-01-02", "it lies in the future"),
        ("1969-12-30..1970-01-02", "slots are counted from 1970 on"),
        ("2026-11-20..x", "x: no date or time"),
    ],
)
def test_a_wrong_period_is_told_in_a_line(tmp_path: Path, period: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(PLAIN)
    done = cronsemble(tmp_path, "backfill", period)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


REAL = """
experiment: small
runtimes: {{keras3: {{python: {keras3}}}}}
data: {{dataset: "d-{{date}}.npz"}}
model: mlp
hyperparameters: {{epochs: {epochs}, patience: 100000}}
backends: {{jax: {{schedule: "0 1 * * *", retries: 0}}}}
ensemble: {{schedule: "0 6 * * *"}}
"""


def test_killed_in_the_middle_it_goes_on_and_takes_no_model_from_the_future(tmp_path: Path, keras3: Path) -> None:
    days = [(datetime.now(UTC) - timedelta(days=back)).strftime("%Y-%m-%d") for back in (3, 2)]
    random = np.random.default_rng(1)
    for day in days:
        np.savez(tmp_path / f"d-{day}.npz", x_train=random.random((700, 4), dtype="float32"), y_train=np.arange(700) % 3)
    (tmp_path / "config.yaml").write_text(REAL.format(keras3=keras3, epochs=100_000))
    period = "..".join(days)
    process = subprocess.Popen([*CLI, "backfill", period], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        assert any("epoch 1/" in line for line in lines)
        process.kill()
        lines.read()
    process.wait()
    (tmp_path / "config.yaml").write_text(REAL.format(keras3=keras3, epochs=1))
    planned: list[dict[str, Any]] = json.loads(cronsemble(tmp_path, "backfill", period, "--dry-run", "--json").stdout)["slots"]
    assert [row["why"].split(":")[0] in ("interrupted", "died") for row in planned] == [True, False, False, False]
    done = cronsemble(tmp_path, "backfill", period, "--parallel", "4", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    slots = json.loads(done.stdout)["slots"]
    assert [row["run"] for row in slots] == [row["run"] for row in planned]
    assert slots[0]["run"].endswith("-r2") and {row["status"] for row in slots} == {"succeeded"}
    for training, ensemble in zip(slots[::2], slots[1::2], strict=True):
        record = json.loads(cronsemble(tmp_path, "show", ensemble["run"], "--json").stdout)["record"]
        assert record["kind"] == "backfill" and [row["run"] for row in record["members"]] == [training["run"]]
    assert cronsemble(tmp_path, "backfill", period).stdout.startswith("nothing to run")
