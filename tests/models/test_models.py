"""Other people's models: what trains can be predicted with, and what cannot is refused with a sentence of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from images.test_images import inside
from scheduler.runtimes.mounts import Mount

ROOT = Path(__file__).parents[2]
PROGRAM = "tests/models/train_models.py"
GOOD = ["composed", "subclassed"]
BAD: dict[str, str] = {
    "nothing": "returns nothing: end it with `return model`",
    "tuple_of_two": "returns a tuple of 2: return one model alone",
    "class_itself": "returns the class Subclassed: return a model of it, Subclassed(...)",
    "function": "returns a function: return the model that it builds",
    "generator": "is a generator (it has a `yield`): return the model instead",
    "other_thing": "returns a numpy.ndarray, which is no model of `import keras`",
    "uncompiled": "returns a model that is not compiled: call model.compile(optimizer=..., loss=...)",
    "other_input": "takes items of the shape (8,), the data's have the shape (6,): use the argument input_shape",
    "two_inputs": "has 2 inputs: it must take one array",
    "two_outputs": "returns a list of 2 outputs: it must return one, of the shape (None, 3)",
    "five_columns": "has the output shape (None, 5), not (None, 3): give it Dense(3, activation='softmax') as its last layer",
    "one_sigmoid": "has the output shape (None, 1), not (None, 3): give it Dense(3, activation='softmax')",
    "matrices": "has the output shape (None, 3, 3), not (None, 3): give it Flatten() or a global pooling before Dense(3,",
    "logits": "not in [0, 1]: end it with Dense(3, activation='softmax') and compile it with a loss that has from_logits=False",
    "sigmoids": ", not to 1: end it with Dense(3, activation='softmax')",
    "not_a_number": "training: the loss is not a number after epoch 1: the model predicts NaN or infinity",
}
"""What is said of each on every backend."""
BAD_IN_KERAS_3 = {
    "without_loss": "compiles its model without a loss: add one, model.compile(loss='categorical_crossentropy', ...)",
    "two_losses": "compiles its model with 2 losses for one output: give one",
    "loss_of_no_output": "gives a loss for the output 'first', and the model's output is called 'out'",
}
"""Keras 2 refuses these itself."""


def outcomes(output: str) -> dict[str, dict[str, Any]]:
    """By name what the program said of each model function."""
    said = [json.loads(line.removeprefix("outcome: ")) for line in output.splitlines() if line.startswith("outcome: ")]
    return {outcome["name"]: outcome for outcome in said}


def train_in_environment(keras3: Path, folder: Path, *functions: str) -> dict[str, dict[str, Any]]:
    env = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    command = [str(keras3), "-W", "ignore", PROGRAM, str(folder), *functions]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return outcomes(done.stdout)


def train_in_image(legacy: str, folder: Path, backend: str, *functions: str) -> dict[str, dict[str, Any]]:
    folder.chmod(0o777)
    env = {"KERAS_BACKEND": backend, "PYTHONPATH": "/code", "OMP_NUM_THREADS": "1", "THEANO_FLAGS": "base_compiledir=/tmp/theano"}
    program = f"cp -r $CRONSEMBLE_THEANO_WARM /tmp/theano && exec python2.7 -W ignore /code/{PROGRAM} /data " + " ".join(
        functions
    )
    mounts = [Mount(ROOT, "/code"), Mount(folder, "/data", True)]
    done = inside(legacy, ["sh", "-c", program], mounts, env)
    assert done.returncode == 0, done.stdout + done.stderr
    return outcomes(done.stdout)


def check_good(by_name: dict[str, dict[str, Any]], names: list[str]) -> None:
    for name in names:
        assert (by_name[name]["train"], by_name[name].get("predict")) == ("", ""), by_name[name]
        assert by_name[name]["sums"] == pytest.approx([1, 1], abs=1e-3 if name != "sixteen_bits" else 1e-2)


def check_other_scale(by_name: dict[str, dict[str, Any]]) -> None:
    """What is predicted is on the scale of the data that the model learnt from, of whatever day."""
    said = by_name["composed"]["other_scale"]
    assert said.startswith("the data to predict is float32 from ") and ", the model's training data is float32 from " in said


def check_refused(by_name: dict[str, dict[str, Any]], sentences: dict[str, str]) -> None:
    for name, sentence in sentences.items():
        problem = by_name[name]["train"]
        assert sentence in problem and "\n" not in problem
        assert f"model_functions.py:{name}" in problem or problem.startswith("training: ")


def check_complete_file(by_name: dict[str, dict[str, Any]]) -> None:
    """No code of a model's file is run; the function of the snapshot builds the model instead."""
    outcome = by_name["complete file"]
    assert "not run" in outcome["alone"] or "Lambda" in outcome["alone"]
    assert (outcome["named"], outcome["mark"]) == ("", "")


def test_models_of_keras_3(tmp_path: Path, keras3: Path) -> None:
    good = ["unsaveable_optimizer", "random_predictions", "sixteen_bits"]
    later = ["not_a_number_later=4", "loss_not_a_number_later=4"]
    changed = "from_outside=1=TEST_ACTIVATION=tanh"
    by_name = train_in_environment(keras3, tmp_path, *GOOD, *good, *later, changed, *BAD, *BAD_IN_KERAS_3, "other_predictions=1")
    check_good(by_name, [*GOOD, *good])
    check_other_scale(by_name)
    check_refused(by_name, BAD | BAD_IN_KERAS_3)
    check_complete_file(by_name)
    # Neither a training nor a prediction on JAX imports it.
    assert by_name["imports"]["tensorflow"] is False
    # By what the loss takes, whatever its name.
    forms = {name: by_name[name]["metrics"]["labels"] for name in ("subclassed", "unsaveable_optimizer")}
    assert forms == {"subclassed": "class numbers", "unsaveable_optimizer": "one-hot"}

    outcome = by_name["not_a_number_later"]
    text = "the model predicts NaN or infinity after epoch 3 of 4: the weights of epoch 2, the best before it, are kept"
    assert outcome["train"] == outcome["predict"] == "" and outcome["metrics"]["degraded"] == text
    outcome = by_name["loss_not_a_number_later"]
    assert outcome["predict"] == "" and outcome["metrics"]["degraded"].startswith("the training loss is nan after epoch 3 of 4")

    outcome = by_name["from_outside"]
    assert outcome["train"] == "" and "is not the one that was trained: its probabilities differ by" in outcome["predict"]
    outcome = by_name["other_predictions"]
    assert (
        "model_functions.py:other_predictions: the model that it builds now is not the one that was trained" in outcome["train"]
    )


@pytest.mark.parametrize("backend", ["theano", "cntk"])
def test_models_of_keras_2(tmp_path: Path, legacy: str, backend: str) -> None:
    others = ["once", "other_weights"] if backend == "cntk" else []
    by_name = train_in_image(legacy, tmp_path, backend, *GOOD, *others, *BAD)
    check_good(by_name, GOOD)
    check_other_scale(by_name)
    check_refused(by_name, BAD)
    check_complete_file(by_name)
    if others:
        assert by_name["once"]["train"] == ""
        sentence = "model_functions.py:other_weights builds another model when it is called again: the weight dense_"
        assert sentence in by_name["other_weights"]["train"]
