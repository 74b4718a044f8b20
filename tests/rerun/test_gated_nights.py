"""Gates with real backends: a member that is made worse on purpose is refused, ensembles go on with what was accepted."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import run_command

CONFIG = """
experiment: small
runtimes: {{keras3: {{python: {keras3}}}, legacy: {{image: localhost/cronsemble-legacy}}}}
data: {{dataset: "d-{{date}}.npz", holdout: 100}}
model: mlp
hyperparameters: {{epochs: 3, patience: 9, learning_rate: 0.01, hidden: [16]}}
defaults: {{gate: {{max_drop: 0.03}}, retries: 0}}
backends: {{{members}}}
ensemble: {{schedule: "0 6 * * *", max_age: 60h}}
"""


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = run_command(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def write_data(folder: Path, day: str, is_shuffled: bool) -> None:
    """A set that is easily learnt; shuffled: the labels of its training part say nothing."""
    random = np.random.default_rng(7)
    labels = np.arange(1200) % 3
    x = (np.eye(3)[labels] + random.normal(0, 0.3, (1200, 3))).astype("float32")
    learnt = random.permutation(labels[:700]) if is_shuffled else labels[:700]
    np.savez(folder / f"d-{day}.npz", x_train=x[:700], y_train=learnt, x_test=x[700:], y_test=labels[700:])


@pytest.fixture
def days(tmp_path: Path) -> list[str]:
    """Four past dates, of which the second has wrong labels."""
    names = [(datetime.now(UTC) - timedelta(days=back)).strftime("%Y-%m-%d") for back in (5, 4, 3, 2)]
    for number, day in enumerate(names):
        write_data(tmp_path, day, number == 1)
    return names


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """By date and task the newest row."""
    listed: list[dict[str, Any]] = json.loads(cronsemble(folder, "history", "--json").stdout)
    return {f"{row['slot'][:10]} {row['task']}": row for row in reversed(listed)}


def gate(folder: Path, name: str) -> dict[str, Any]:
    record = json.loads(cronsemble(folder, "show", name, "--json").stdout)["record"]
    return dict(record.get("gate") or {})


def taken(folder: Path, ensemble: dict[str, Any]) -> dict[str, str]:
    record = json.loads(cronsemble(folder, "show", ensemble["run"], "--json").stdout)["record"]
    return {member["member"]: member["run"] for member in record["members"]}


def test_worse_on_purpose(tmp_path: Path, keras3: Path, days: list[str]) -> None:
    first, worse, third, _ = days
    members = 'jax: {schedule: "0 1 * * *"}, other: {backend: jax, schedule: "0 1 * * *", gate: null}'
    (tmp_path / "config.yaml").write_text(CONFIG.format(keras3=keras3, members=members))
    cronsemble(tmp_path, "backfill", f"{first}..{worse}")
    known = rows(tmp_path)
    good, bad = known[f"{first} train-jax"], known[f"{worse} train-jax"]
    assert (good["status"], bad["status"]) == ("succeeded", "refused")
    assert f"less than the {good['accuracy']:.4f} of {good['run']} on the same 400 items" in bad["reason"]
    assert known[f"{worse} train-other"]["status"] == "succeeded"
    ensemble = known[f"{worse} ensemble"]
    assert taken(tmp_path, ensemble) == {"jax": good["run"], "other": known[f"{worse} train-other"]["run"]}
    assert ensemble["status"] == "succeeded" and "which was refused: accuracy " in ensemble["degraded"]
    judged = gate(tmp_path, bad["run"])
    assert judged["lost"] - judged["gained"] == round(judged["drop"] * 400) and judged["interval"][0] > 0

    # Once more, and once more after a decision by hand.
    cronsemble(tmp_path, "rerun", bad["run"], "--task", "train-jax")
    again = rows(tmp_path)[f"{worse} train-jax"]
    assert again["run"] == f"{bad['run']}-r2" and gate(tmp_path, again["run"]) == judged
    cronsemble(tmp_path, "refuse", good["run"], "--reason", "by mistake")
    cronsemble(tmp_path, "accept", bad["run"], "--reason", "the labels are right")
    cronsemble(tmp_path, "backfill", third, "--task", "ensemble")
    assert taken(tmp_path, rows(tmp_path)[f"{third} ensemble"])["jax"] == bad["run"]
    # As of its date a backfill compares with what was accepted then, and its data has the right labels.
    cronsemble(tmp_path, "backfill", third, "--task", "train-jax")
    third_run = rows(tmp_path)[f"{third} train-jax"]
    assert third_run["status"] == "succeeded" and gate(tmp_path, third_run["run"])["lost"] <= 5


def test_a_dead_backend_judges_in_its_own_runtime(tmp_path: Path, keras3: Path, legacy: str, days: list[str]) -> None:
    first, worse, _, last = days
    members = 'theano: {schedule: "0 1 * * *"}'
    (tmp_path / "config.yaml").write_text(CONFIG.format(keras3=keras3, members=members))
    cronsemble(tmp_path, "backfill", f"{first}..{worse}", "--task", "train-theano")
    known = rows(tmp_path)
    good, bad = known[f"{first} train-theano"], known[f"{worse} train-theano"]
    assert (good["status"], bad["status"]) == ("succeeded", "refused")
    judged = gate(tmp_path, bad["run"])
    assert (judged["previous"], judged["previous_accuracy"]) == (good["run"], good["accuracy"])
    # A model that is gone is compared with nothing, and that is said.
    (model,) = (tmp_path / "store").glob(f"runs/small/train-theano/*/{good['run']}/result/weights.h5")
    model.unlink()
    cronsemble(tmp_path, "backfill", last, "--task", "train-theano")
    row = rows(tmp_path)[f"{last} train-theano"]
    assert row["status"] == "succeeded"
    assert row["degraded"].startswith(f"the gate could not judge max_drop: it cannot be compared with {good['run']}: evaluate")


MOVING = """
experiment: small
runtimes: {{keras3: {{python: {keras3}}}}}
data: {{dataset: "d-{{date}}.npz", holdout: 10}}
model: linear.py:linear
hyperparameters: {{epochs: 1, batch_size: 4}}
backends: {{one: {{backend: {backend}, schedule: "0 1 * * *", gate: {{max_drop: 0.01}}}}}}
"""
LINEAR = """
def linear(input_shape, classes, hyperparameters):
    import keras
    model = keras.Sequential([keras.Input(input_shape), keras.layers.Dense(classes, activation="softmax")])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def test_data_that_moves_on_and_a_backend_that_changes(tmp_path: Path, keras3: Path, days: list[str]) -> None:
    """Labels that say nothing, learnt by heart: the earlier model knows most of the next night's validation items."""
    random = np.random.default_rng(3)
    x, y = random.normal(0, 1, (500, 900)).astype("float32"), random.integers(0, 2, 500)
    (tmp_path / "linear.py").write_text(LINEAR)
    for day, begin, backend in ((days[0], 0, "tensorflow"), (days[1], 50, "jax")):
        np.savez(tmp_path / f"d-{day}.npz", x_train=x[begin : begin + 450], y_train=y[begin : begin + 450])
        (tmp_path / "config.yaml").write_text(MOVING.format(keras3=keras3, backend=backend))
        cronsemble(tmp_path, "backfill", day)
    known = rows(tmp_path)
    first, second = (known[f"{day} train-one"] for day in days[:2])
    assert first["status"] == second["status"] == "succeeded" and not second["degraded"]
    judged = gate(tmp_path, second["run"])
    assert (judged["previous"], judged["items"] + judged["learnt_before"]) == (first["run"], 80)
    assert judged["learnt_before"] > 40 and judged["items"] >= 10
    assert judged["note"].endswith(
        f"; {judged['learnt_before']} more are left out, for {first['run']} was trained on them: give x_test and y_test that "
        "stay the same"
    )
    # Of those that it has not learnt, it has no more right than chance; of all it would have most.
    assert judged["previous_accuracy"] < 0.85
    shown = cronsemble(tmp_path, "show", second["run"]).stdout
    assert f"{judged['learnt_before']} more items are left out: only the earlier model was trained on them" in shown
