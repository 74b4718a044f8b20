"""What is told of a model by its configuration: whether two compute the same, whether it predicts probabilities. Real Keras."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

TESTS = Path(__file__).parents[1]
PROGRAM = """
import json, keras, numpy, sys
from keras import layers
from jobs.portable import model_structure
from models import model_functions as functions

def ending(*last, shape=(6,)):
    return lambda: keras.Sequential([layers.Input(shape), *(make() for make in last)])

def of(name):
    return lambda: getattr(functions, name)((6,), 3, {})

def learnt():
    layer = layers.Normalization()
    layer.adapt(numpy.random.rand(9, 6))
    return keras.Sequential([layers.Input((6,)), layer, layers.Dense(3, activation="softmax")])

def own_activation():
    return layers.Dense(3, activation=lambda x: keras.ops.softmax(x))

def two_of_one_name():
    inner = keras.Sequential([layers.Input((6,)), layers.Dense(3, activation="softmax")])
    x = layers.Input((6,))
    return keras.Model(x, inner(layers.Add()([x, x])))

softmax = lambda: layers.Dense(3, activation="softmax")
flags = iter((True, False))
made = {
    "plain": ending(softmax),
    "without a declared input": lambda: keras.Sequential([softmax()]),
    "nested": two_of_one_name,
    "activation": ending(lambda: layers.Dense(3), lambda: layers.Activation("softmax")),
    "softmax layer": ending(lambda: layers.Dense(3), layers.Softmax),
    "softmax of items": ending(lambda: layers.Dense(3), lambda: layers.Softmax(axis=0)),
    "in a recurrent layer": ending(lambda: layers.LSTM(3, activation="softmax"), shape=(3, 2)),
    "after it": ending(softmax, lambda: layers.Rescaling(2.0)),
    "other units": ending(lambda: layers.Dense(7 if next(flags) else 8), softmax),
    "its own activation": ending(own_activation),
    "learnt from data": learnt,
    **{name: of(name) for name in ("composed", "subclassed", "sixteen_bits", "random_predictions", "other_predictions",
                                   "five_columns", "logits", "sigmoids", "matrices", "two_outputs")},
}
for name, make in made.items():
    models = [make(), make()]
    structures = [model_structure.structure(keras, model) for model in models]
    same = None if None in structures else structures[0] == structures[1]
    print(json.dumps([name, same, model_structure.gives_probabilities(keras, models[0], 3)]))
print(json.dumps(["imports", "tensorflow" in sys.modules]))
"""
SAME, OTHER, UNKNOWN = True, False, None
EXPECTED = {
    "plain": (SAME, True),
    "without a declared input": (SAME, False),
    "nested": (SAME, True),
    "activation": (SAME, True),
    "softmax layer": (SAME, True),
    "softmax of items": (SAME, False),
    "in a recurrent layer": (SAME, False),
    "after it": (SAME, False),
    "other units": (OTHER, True),
    "its own activation": (UNKNOWN, False),
    "learnt from data": (UNKNOWN, False),
    "composed": (UNKNOWN, False),
    "subclassed": (UNKNOWN, False),
    "sixteen_bits": (SAME, True),
    "random_predictions": (SAME, True),
    "other_predictions": (UNKNOWN, False),
    "five_columns": (SAME, False),
    "logits": (SAME, False),
    "sigmoids": (SAME, False),
    "matrices": (SAME, False),
    "two_outputs": (SAME, False),
    "imports": (False,),
}
"""By model: whether a second build of it is told to be the same, and whether it is told to predict three probabilities; whether
TensorFlow is imported for that.
"""


def test_what_is_told_of_models(keras3: Path) -> None:
    env = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([str(keras3), "-c", PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = {name: tuple(rest) for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert said == EXPECTED
