"""From starting a container to the framework being imported and the first training step done, per backend; sizes of the images.

The built-in cnn on 8x8 images, one thread, the way that the tool starts a step. Medians.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from scheduler.runtimes import containers
from scheduler.runtimes.mounts import Mount

ROOT = Path(__file__).resolve().parents[1]
IMAGES = {"theano": "legacy", "cntk": "legacy", "tensorflow": "keras3", "jax": "keras3"}
WARM = 'import os, shutil; shutil.copytree(os.environ["CRONSEMBLE_THEANO_WARM"], "/tmp/theano")'
PROGRAM = """
import json, sys, time
told = {"started": time.time()}
from jobs.portable import backend, models
layout = "channels_first" if sys.argv[1] in ("theano", "cntk") else "channels_last"
keras = backend.load(sys.argv[1], 1, 1, layout)
told["imported"] = time.time()
import numpy
shape = (1, 8, 8) if layout == "channels_first" else (8, 8, 1)
model = models.build(keras, "cnn", shape, 10, {}, "")
model.train_on_batch(numpy.zeros((32,) + shape, "float32"), numpy.eye(10, dtype="float32")[numpy.arange(32) % 10])
told["stepped"] = time.time()
print(json.dumps(told))
"""


def measure(engine: containers.ContainerEngine, backend: str) -> dict[str, float]:
    """Seconds since the engine was asked: started, imported, stepped."""
    env = {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": "/code",
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PROGRAM": PROGRAM,
    }
    start = f'exec $CRONSEMBLE_PYTHON -W ignore -c "$PROGRAM" {backend}'
    if backend == "theano":
        env |= {"THEANO_FLAGS": "base_compiledir=/tmp/theano", "WARM": WARM}
        start = f'python3 -c "$WARM" && {start}'
    image, name = f"localhost/cronsemble-{IMAGES[backend]}", f"cronsemble-bench-{uuid.uuid4().hex[:8]}"
    mounts = [Mount(ROOT, "/code")]
    command = containers.run_command(engine, image, name, ["sh", "-c", start], env, mounts, "12345:12345")
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    moments = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"')))
    return {key: value - began for key, value in moments.items()}


def main(rounds: int) -> None:
    engine = containers.find_engine()
    for name in dict.fromkeys(IMAGES.values()):
        command = [*engine.prefix, "image", "inspect", f"localhost/cronsemble-{name}", "--format", "{{.Size}}"]
        size = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"{name}: {size / 1e6:.0f} MB")
    times: dict[str, list[dict[str, float]]] = {backend: [] for backend in IMAGES}
    for _ in range(rounds):
        for backend in IMAGES:
            times[backend].append(measure(engine, backend))
    for backend, rounds_of_backend in times.items():
        medians = {
            key: statistics.median(moments[key] for moments in rounds_of_backend) for key in ("started", "imported", "stepped")
        }
        print(f"{backend}: " + ", ".join(f"{key} {value:.1f} s" for key, value in medians.items()))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
