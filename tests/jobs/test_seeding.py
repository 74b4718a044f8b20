"""Seeding on another backend than TensorFlow does not import that, and seeds it if the user's code does. Real Keras on jax."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from jobs.portable import backend
keras = backend.load("jax", 1, 7, "channels_last")
first = [float(keras.random.uniform(())), "tensorflow" in sys.modules]
backend.seed_all(keras, 7)
second = [float(keras.random.uniform(())), "tensorflow" in sys.modules]
import tensorflow
of_tensorflow = [float(tensorflow.random.uniform(()))]
tensorflow.random.set_seed(7)
of_tensorflow.append(float(tensorflow.random.uniform(())))
keras.utils.set_random_seed(7)
print(json.dumps([first, second, float(keras.random.uniform(())), of_tensorflow]))
"""


def test_tensorflow_is_seeded_when_it_is_imported(keras3: Path) -> None:
    env = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([str(keras3), "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    first, second, by_keras, of_tensorflow = json.loads(done.stdout)
    assert first == second == [by_keras, False]
    assert of_tensorflow[0] == of_tensorflow[1]
