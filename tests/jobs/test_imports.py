"""Steps that compute with NumPy alone import no framework: that takes seconds, and memory beside the training's."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
from jobs.keras3 import combine, prepare
import polars  # what combine writes with
digits = prepare.load("digits", Path("."), "", {})
heavy = ["cntk", "jax", "keras", "scipy", "sklearn", "tensorflow", "theano", "torch"]
imported = [name for name in heavy if name in sys.modules]
from sklearn.datasets import load_digits
bunch = load_digits()
of_scikit = {"x_train": bunch.images, "y_train": bunch.target}
print(json.dumps([imported, prepare.fingerprint(digits) == prepare.fingerprint(of_scikit)]))
"""


def test_prepare_and_combine_import_no_framework_and_the_digits_are_those_of_scikit_learn(keras3: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(keras3), "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], True]
