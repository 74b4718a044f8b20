"""Reruns with real backends: identical from the store alone; what changed is named; what is missing is told before a start."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import run_command
from jobs.contract import parse_run_id
from jobs.store import LocalStore
from jobs.store.files import to_document
from jobs.store.latest_model import choose_models

HEAD = """
experiment: small
timezone: Pacific/Auckland
runtimes: {{keras3: {{python: {keras3}}}, legacy: {{image: localhost/cronsemble-legacy}}}}
hyperparameters: {{epochs: 2, patience: 9}}
"""
MODEL = """
import keras
def build(input_shape, classes, hyperparameters):
    layers = [keras.layers.Flatten(input_shape=input_shape), keras.layers.Dense(classes, activation="softmax")]
    model = keras.models.Sequential(layers)
    model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def write_data(path: Path, changed: bool = False) -> None:
    random = np.random.default_rng(1)
    x, y = random.random((700, 4, 4), dtype="float32"), np.arange(700) % 3
    x[0, 0, 0] += changed
    np.savez(path, x_train=x, y_train=y)


def write_experiment(folder: Path, keras3: Path, backends: str, more: str = "") -> None:
    (folder / "m.py").write_text(MODEL)
    write_data(folder / "d.npz")
    text = HEAD.format(keras3=keras3) + f"data: {{dataset: d.npz}}\nmodel: m.py:build\nbackends: {backends}\n{more}"
    (folder / "config.yaml").write_text(text)


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder)


def answer(folder: Path, *arguments: str, code: int = 0) -> Any:
    done = cronsemble(folder, *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def run_ids(folder: Path) -> dict[str, str]:
    """The first attempts by their tasks."""
    return {row["task"]: row["run"] for row in answer(folder, "history") if row["attempt"] == 1}


def contents(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def local_date(folder: Path) -> str:
    """The date in Auckland of the only ensemble run: as its name has it in UTC, or a day later."""
    done = subprocess.run(
        ["date", "+%F", "-d", f"@{int(run_ids(folder)['ensemble'].rpartition('-')[2]) * 60}"],
        env={"TZ": "Pacific/Auckland"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def check_identical(folder: Path, members: set[str]) -> None:
    """Run, delete the working copy, repeat by date from the store alone: all of it comes out the same."""
    done = cronsemble(folder, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    date, before = local_date(folder), contents(folder / "store" / "runs")
    (folder / "elsewhere").mkdir()
    for name in ("config.yaml", "m.py", "d.npz"):
        (folder / name).unlink()
    (outcome,) = answer(folder / "elsewhere", "rerun", date, "--store", str(folder / "store"))["runs"]
    assert set(outcome["members"]) == members
    for row in (outcome, *outcome["members"].values()):
        assert (row["verdict"], row["status"]) == ("identical", "succeeded"), outcome
        assert row["run"] == row["repeats"] + "-r2"
    after = contents(folder / "store" / "runs")
    assert {path: after[path] for path in before} == before
    first, second = sorted((folder / "store" / "predictions" / "small").glob("*.csv"))
    assert first.read_bytes() == second.read_bytes()


def test_in_an_interpreter_it_comes_out_identical_without_the_working_copy(tmp_path: Path, keras3: Path) -> None:
    """That each of the four backends does is in tests/test_end_to_end.py, and with `rerun` in tests/node/test_night.py."""
    write_experiment(tmp_path, keras3, "{jax: {}}", "ensemble: {}\n")
    check_identical(tmp_path, {"jax"})


def test_in_an_image_it_comes_out_identical_without_the_working_copy(tmp_path: Path, keras3: Path, legacy: str) -> None:
    write_experiment(tmp_path, keras3, "{cntk: {}}", "ensemble: {}\n")
    check_identical(tmp_path, {"cntk"})


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, keras3: Path) -> Path:
    """One run of one member and the ensemble, to be copied."""
    folder = tmp_path_factory.mktemp("original")
    write_experiment(folder, keras3, "{jax: {}}", "ensemble: {}\n")
    done = cronsemble(folder, "run", "--publish")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "copy")


def change_seed(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("patience: 9", "patience: 9, seed: 5"))


def change_datum(folder: Path) -> None:
    write_data(folder / "d.npz", changed=True)


def change_line(folder: Path) -> None:
    (folder / "m.py").write_text(MODEL.replace('"adam"', '"sgd"'))


@pytest.mark.parametrize(
    ("change", "cause"),
    [(change_seed, "hyperparameters.seed of the slot "), (change_datum, "data "), (change_line, "code: m.py changed")],
    ids=["seed", "data", "code"],
)
def test_what_changed_is_named(copy: Path, change: Any, cause: str) -> None:
    change(copy)
    ids = run_ids(copy)
    (outcome,) = answer(copy, "rerun", ids["train-jax"], "--with-current-config", code=2)["runs"]
    assert outcome["verdict"] == "changed" and outcome["largest_difference"] > 1e-6
    (difference,) = outcome["differs"]
    assert difference.startswith(cause)
    assert 0 <= outcome["accuracy_before"] <= 1 and 0 <= outcome["accuracy_after"] <= 1
    assert len(outcome.get("flipped_items", [])) == min(outcome["labels_flipped"], 100)
    assert "verdict" in answer(copy, "show", outcome["run"])["verdict"]
    shown = cronsemble(copy, "show", outcome["run"]).stdout
    assert f"{ids['train-jax']}: changed: " in shown and f"train-jax: {cause}" in shown and " → " in shown


def test_another_configuration_is_marked_and_feeds_no_scheduled_ensemble(copy: Path) -> None:
    change_seed(copy)
    ids = run_ids(copy)
    (outcome,) = answer(copy, "rerun", ids["ensemble"], "--with-current-config", code=2)["runs"]
    assert outcome["differs"][0] == "member jax" and outcome["members"]["jax"]["verdict"] == "changed"
    names = [path.name for path in (copy / "store" / "predictions" / "small").glob("*.csv")]
    assert [name.endswith("-r2-other-configuration.csv") for name in sorted(names)].count(True) == 1
    for run in (outcome["run"], outcome["members"]["jax"]["run"]):
        assert answer(copy, "show", run)["record"]["other_configuration"] is True
    ensemble = parse_run_id(ids["ensemble"], "small", "ensemble")
    assert ensemble is not None
    (choice,) = choose_models(LocalStore(copy / "store"), ensemble, ["jax"], None, "")
    assert str(choice.run) == ids["train-jax"]


def test_archived_models_can_be_taken_again(copy: Path) -> None:
    ids = run_ids(copy)
    (outcome,) = answer(copy, "rerun", ids["ensemble"], "--reuse-models")["runs"]
    assert outcome["verdict"] == outcome["members"]["jax"]["verdict"] == "identical"
    assert outcome["members"]["jax"]["run"] == ids["train-jax"]
    assert set(run_ids(copy)) == set(ids) and len(answer(copy, "history")) == 3
    assert answer(copy, "show", outcome["run"])["record"]["repeats_kind"] == "manual"


def test_what_is_missing_is_told_before_anything_starts(copy: Path) -> None:
    ids, store = run_ids(copy), copy / "store"
    (code,) = (store / "snapshots" / "code").iterdir()
    code.unlink()
    (data,) = (store / "datasets").glob("*.npz")
    data.write_bytes(data.read_bytes()[:-1])
    record = store / next(path for path in store.glob(f"runs/small/train-jax/*/{ids['train-jax']}/result/record.json"))
    changed = to_document({**json.loads(record.read_text()), "python": "/gone/bin/python"})
    record.unlink()
    record.write_bytes(changed)
    before = contents(store)
    plan = answer(copy, "rerun", ids["ensemble"], "--dry-run", code=1)
    missing = {row["task"]: "\n".join(row["missing"]) for row in plan["runs"]}
    for words in (f"{code} cannot be read", f"{data} is not what it was", "interpreter /gone/bin/python is gone"):
        assert words in missing["train-jax"]
    done = cronsemble(copy, "rerun", ids["ensemble"])
    assert done.returncode == 1 and "nothing was started" in done.stderr and "Traceback" not in done.stderr
    assert contents(store) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2026-02-30"], "2026-02-30: there is no such date"),
        (["1999-01-01"], "1999-01-01: no run of small then; there are runs from"),
        (["2026-11-20T6"], "2026-11-20T6: no date or time: type a date"),
        (["nonsense"], "nonsense: no such run"),
        (["2026-11-20", "--task", "train-x"], "--task train-x: no runs of it; there are ensemble, train-jax"),
        (["2026-11-20", "--experiment", "other"], "--experiment other: config.yaml declares small"),
        (["2026-11-20", "--store", "nowhere"], "is not a store with runs"),
    ],
)
def test_a_wrong_question_is_answered_in_a_line(original: Path, arguments: list[str], message: str) -> None:
    done = cronsemble(original, "rerun", *arguments)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
