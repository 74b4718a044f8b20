"""`check --functions`: what would fail in the night is said at once, once for each function, and nothing is left behind."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import run_command
from jobs.keras3.splits import few_items
from scheduler.config import load
from scheduler.engines.function_check import _slot, distinct_models

DATA = """
import numpy as np
def data(hyperparameters):
    with open("calls", "a") as file:
        file.write("called ")
    y = np.arange(600) % 3
    return {"x_train": (y[:, None] + np.zeros((1, 4))).astype("float32"), "y_train": y}
"""
MODEL = """
def model(input_shape, classes, hyperparameters):
    import keras
    dense = keras.layers.Dense(classes, activation=hyperparameters.get("activation", "softmax"))
    model = keras.Sequential([keras.layers.Input(input_shape), dense])
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    return model
"""
CONFIG = """
experiment: e
data: {{dataset: "d.py:data"}}
model: m.py:model
runtimes: {{keras3: {{python: {python}}}}}
hyperparameters: {{seed: 1, epochs: 1000000}}
backends:
{backends}
"""


def check(folder: Path, python: Path | str, backends: str, data: str, *options: str) -> tuple[int, list[str]]:
    temporary = folder / "tmp"
    temporary.mkdir()
    (folder / "d.py").write_text(data.replace('"calls"', repr(str(folder / "calls"))))
    (folder / "m.py").write_text(MODEL)
    (folder / "config.yaml").write_text(CONFIG.format(python=python, backends=backends))
    done = run_command("check", "--functions", *options, folder=folder, env={**os.environ, "TMPDIR": str(temporary)})
    assert not (folder / "store").exists() and not list(temporary.iterdir()), done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("no errors"), done.stdout + done.stderr
    return done.returncode, lines[1:]


def test_models_that_would_fail_are_named_and_the_data_is_read_once(tmp_path: Path, keras3: Path) -> None:
    backends = "  jax: {}\n  jax-b: {backend: jax, hyperparameters: {activation: sofmax}}\n"
    backends += "  jax-c: {backend: jax, hyperparameters: {activation: sofmax}, schedule: '0 1 * * *'}\n"
    code, lines = check(tmp_path, keras3, backends, DATA)
    assert code == 1 and len(lines) == 1
    assert lines[0].startswith("config.yaml:4:8 model: jax-b, jax-c on jax: ") and "sofmax" in lines[0]
    assert (tmp_path / "calls").read_text() == "called "


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (DATA, "4:8 model: jax: "),  # the interpreter of the tests has no Keras
        ("import nowhere\n" + DATA, "3:17 data.dataset: "),
        (DATA.replace("np.arange(600) % 3", "np.full(600, -1.5)"), "3:17 data.dataset: data: y_train"),
    ],
    ids=["package", "package of the data", "labels"],
)
def test_one_line_for_what_is_missing_or_wrong(tmp_path: Path, data: str, expected: str) -> None:
    code, lines = check(tmp_path, sys.executable, "  jax: {}\n", data)
    assert code == 1 and len(lines) == 1 and lines[0].startswith(f"config.yaml:{expected}"), lines
    assert ("No module named" in lines[0]) == ("y_train" not in expected)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("p.mean(axis=0)", ""),
        ("p[:, 0]", "ensemble.method: combine.py:combine returns the shape (1, 3): return probabilities of"),
    ],
)
def test_a_method_is_tried_with_the_models(tmp_path: Path, keras3: Path, returned: str, expected: str) -> None:
    (tmp_path / "combine.py").write_text(f"def combine(p, v, y):\n    assert v.shape[1] == len(y)\n    return {returned}\n")
    backends = "  jax: {}\nensemble: {quorum: 1, max_age: 1m, method: 'combine.py:combine'}\n"
    code, lines = check(tmp_path, keras3, backends, DATA)
    assert (
        (code, len(lines)) == (1 if expected else 0, 1) and "1 model, the method: no errors" in lines[0] or expected in lines[0]
    )


def test_a_function_that_hangs_is_ended(tmp_path: Path) -> None:
    code, lines = check(tmp_path, sys.executable, "  jax: {}\n", DATA + "\nimport time\ntime.sleep(600)\n", "--timeout", "3s")
    assert code == 1 and len(lines) == 1
    assert lines[0].startswith("config.yaml:3:17 data.dataset: prepare: not done within its deadline of ")
    assert lines[0].endswith("; with --timeout it may take longer than 3s")


def test_what_only_the_cluster_has_is_named_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "experiment: e\nstore: {claim: c}\ndata: {dataset: absent.npz}\nbackends: {jax: {}}\n"
        "runtimes: {keras3: {python: /nowhere/python}}\n"
    )
    done = run_command("check", "--functions", folder=tmp_path)
    assert done.returncode == 0 and "absent.npz is not there: neither data nor models were tried" in done.stderr, done.stderr
    text = (tmp_path / "config.yaml").read_text().replace("absent.npz", "digits")
    (tmp_path / "config.yaml").write_text(text)
    done = run_command("check", "--functions", folder=tmp_path)
    assert done.returncode == 0 and "jax: not tried: runtimes.keras3: /nowhere/python is not an interpreter" in done.stderr


def test_what_decides_nothing_makes_no_model_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "experiment: e\nbackends:\n  jax: {schedule: '0 1 * * *', threads: 2}\n  again: {backend: jax}\n"
        "  wide: {backend: jax, hyperparameters: {dense: 8}}\n  torch: {}\n  other: {backend: jax, env: {A: b}}\n"
    )
    groups = distinct_models(load(tmp_path / "config.yaml"))
    assert [[member.name for member in group] for group in groups] == [["jax", "again"], ["wide"], ["torch"], ["other"]]


def test_a_data_function_is_tried_in_a_slot_of_its_schedule(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(DATA)
    file = tmp_path / "config.yaml"
    file.write_text("experiment: e\ndata: {dataset: d.py:data}\nbackends:\n  jax: {schedule: '0 1 29 2 *'}\n")
    now = datetime(2026, 11, 27, tzinfo=UTC)
    assert _slot(load(file), now) == datetime(2028, 2, 29, 1, tzinfo=UTC)
    file.write_text("experiment: e\nbackends:\n  jax: {schedule: '0 1 29 2 *'}\n")
    assert _slot(load(file), now) == now


@given(st.lists(st.integers(0, 4), min_size=1, max_size=300), st.integers(1, 40))
def test_few_items_have_every_class(labels: list[int], items: int) -> None:
    y = np.array(labels)
    arrays = {"x_train": np.arange(len(y)), "y_train": y, "x_val": np.arange(len(y)), "y_val": y, "class_names": np.arange(5)}
    arrays |= {"x_predict": np.arange(len(y)), "ids": np.arange(len(y)).astype(str)}
    cut = few_items(arrays, items)
    assert set(cut["y_train"]) == set(labels) and len(cut["y_train"]) <= max(items, len(set(labels)))
    assert (y[cut["x_train"]] == cut["y_train"]).all() and (cut["class_names"] == arrays["class_names"]).all()
    assert len(cut["x_predict"]) == len(cut["ids"]) <= items
