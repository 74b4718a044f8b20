"""The ensemble's methods from end to end: what real backends predict of the validation data, and what is made of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import run_command
from simple_optimisers import temperature_by_search, weights_by_em

CONFIG = """
experiment: small
runtimes: {{keras3: {{python: {keras3}}}, legacy: {{image: localhost/cronsemble-legacy}}}}
model: mlp
hyperparameters: {{epochs: 2, hidden: [16], seed: 7}}
backends: {{{members}}}
ensemble: {{method: "{method}", quorum: 2}}
"""
BROKEN = """
def model(input_shape, classes, hyperparameters):
    import keras
    flat = keras.layers.Flatten(input_shape=input_shape)
    start = keras.initializers.RandomNormal(stddev=9)
    dense = keras.layers.Dense(classes, activation="softmax", trainable=False, kernel_initializer=start)
    model = keras.Sequential([flat, dense])
    model.compile("sgd", loss="categorical_crossentropy")
    return model
"""
OWN = """
def combine(probabilities, validation_probabilities, validation_labels):
    right = validation_probabilities.argmax(axis=2) == validation_labels
    print("own method of", len(probabilities))
    return right.mean(axis=1) ** 8
"""


def cronsemble(folder: Path, *arguments: str) -> str:
    done = run_command(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def results(folder: Path) -> list[Path]:
    """The ensemble runs' results, the oldest first."""
    return sorted(folder.glob("store/runs/small/ensemble/*/*/result"))


def predictions(result: Path) -> Any:
    with open(result / "predictions.csv", newline="") as file:
        return np.array([row[3:] for row in list(csv.reader(file))[1:]], dtype="float64").astype("float32")


def test_calibrated_is_recomputed_from_the_stored_arrays_and_repeated_to_the_bit(
    tmp_path: Path, keras3: Path, legacy: str
) -> None:
    """On three backends, two members of one of which share a process; one member guesses, and is certain of it."""
    (tmp_path / "m.py").write_text(BROKEN)
    members = "tensorflow: {}, jax: {}, guess: {backend: jax, model: 'm.py:model'}, theano: {}"
    text = CONFIG.format(keras3=keras3, members=members, method="calibrated").replace("hidden: [16], ", "")
    (tmp_path / "config.yaml").write_text(text)
    cronsemble(tmp_path, "run")
    (result,) = results(tmp_path)
    ensemble = json.loads((result / "ensemble.json").read_text())
    record = json.loads((result / "record.json").read_text())
    assert record["ensemble"]["calibration"] == ensemble["calibration"]
    data = np.load(tmp_path / "store" / "datasets" / f"{record['data']['fingerprint']}.npz")
    labels, names = data["y_val"].astype("int64"), ["tensorflow", "jax", "guess", "theano"]
    validation = [np.load(result / "probabilities" / name / "validation.npy") for name in names]
    for name, array in zip(names, validation, strict=True):
        # The training's own, of the same data, to the bit.
        (training,) = tmp_path.glob(f"store/runs/small/train-{name}/*/*/result/validation.npy")
        assert array.tobytes() == np.load(training).tobytes() and array.shape == (len(labels), 10)
    weights = weights_by_em(validation, labels)
    assert [ensemble["members"][name]["weight"] for name in names] == pytest.approx(weights, abs=1e-7)
    assert weights[2] < 0.02
    pooled = sum(weight * array.astype("float64") for weight, array in zip(weights, validation, strict=True))
    temperature = ensemble["calibration"]["temperature"]
    assert temperature == pytest.approx(temperature_by_search(pooled, labels), rel=1e-5)
    own = [np.load(result / "probabilities" / name / "probabilities.npy").astype("float64") for name in names]
    powers = sum(weight * array for weight, array in zip(weights, own, strict=True)).clip(1e-15) ** (1 / temperature)
    assert predictions(result) == pytest.approx(powers / powers.sum(axis=1, keepdims=True), abs=1e-6)
    calibration = ensemble["calibration"]
    assert calibration["validation_items"] == len(labels) and calibration["loss_after"] < calibration["loss_before"]
    with open(result / "members" / "agreement.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    given = predictions(result).argmax(axis=1)
    differing = sum(array.argmax(axis=1) != given for array in own)
    assert [int(row["disagreeing"]) for row in rows] == differing.tolist()
    (archived,) = tmp_path.glob("store/predictions/small/*.members/agreement.csv")
    assert archived.read_bytes() == (result / "members" / "agreement.csv").read_bytes()

    shown = cronsemble(tmp_path, "show")
    assert f"temperature {temperature:.4f} by {len(labels)} validation items" in shown and "agreement.csv" in shown
    assert "nothing is wrong" in cronsemble(tmp_path, "fsck")
    cronsemble(tmp_path, "rerun", "latest", "--reuse-models")
    again = results(tmp_path)[1]
    for name in ("ensemble.json", "predictions.csv", "members/agreement.csv"):
        assert (again / name).read_bytes() == (result / name).read_bytes()


def test_a_method_of_ones_own_is_run_from_the_snapshot(tmp_path: Path, keras3: Path) -> None:
    (tmp_path / "combine.py").write_text(OWN)
    members = "jax: {}, small: {backend: jax, hyperparameters: {hidden: [4]}}"
    (tmp_path / "config.yaml").write_text(CONFIG.format(keras3=keras3, members=members, method="combine.py:combine"))
    cronsemble(tmp_path, "run")
    (tmp_path / "combine.py").write_text("def combine(p, v, y):\n    return [1, 0]\n")  # too late
    cronsemble(tmp_path, "rerun", "latest", "--reuse-models")
    first, again = results(tmp_path)
    assert (first / "ensemble.json").read_bytes() == (again / "ensemble.json").read_bytes()
    ensemble, record = (json.loads((first / name).read_text()) for name in ("ensemble.json", "record.json"))
    labels = np.load(tmp_path / "store" / "datasets" / f"{record['data']['fingerprint']}.npz")["y_val"]
    names = ["jax", "small"]
    validation = [np.load(first / "probabilities" / name / "validation.npy") for name in names]
    raw = np.array([(array.argmax(axis=1) == labels).mean() for array in validation]) ** 8
    assert [ensemble["members"][name]["weight"] for name in names] == pytest.approx(raw / raw.sum())
    assert ensemble["method"] == "combine.py:combine" and set(ensemble["members"]["jax"]["contribution"]) >= {"labels_changed"}
    assert "own method of 2" in cronsemble(tmp_path, "logs", first.parent.name)

    # What it raises ends the run with the line of its file.
    (tmp_path / "combine.py").write_text("def combine(p, v, y):\n    return p.sum(axis='items')\n")
    done = run_command("run", folder=tmp_path)
    assert done.returncode == 1 and "combine.py:2" in done.stderr, done.stderr
