"""A stand-in for a framework, and an experiment that uses it: real runs, whose training is a count of labels, in a second each.

Everything else is real: the commands, the engine, the supervisor, the store, `prepare` and `combine`. Keras itself takes ten
seconds of processor time to start, train and save, which would leave time for hardly any kill.
"""

from __future__ import annotations

import sys
from pathlib import Path

INTERPRETER = """#!{python}
import fcntl, os, sys, time
# As the supervisor starts an interpreter: -s -W ignore PROGRAM STEP ARGUMENTS.
program, step, arguments = sys.argv[4], sys.argv[5], sys.argv[6:]
if step not in ("train", "predict"):
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
sys.path.insert(0, program)
import numpy
from jobs.portable.end_report import run_reported
from jobs.portable.inputs import class_names, exit_status, read_json, say, sha256, write_json
from jobs.portable.train import _append_progress, _write_epochs

options = dict(zip(arguments[::2], arguments[1::2]))


def claim_run(folder):
    # Says so if another process trains the same run: the kernel gives the lock up with the process that holds it.
    handle = os.open(os.path.join({folder!r}, "locks", os.path.basename(folder)), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with open(os.path.join({folder!r}, "doubled"), "a") as file:
            print(folder, file=file)


def probabilities(items, labels, classes):
    counts = numpy.bincount(labels, minlength=classes) + 1.0
    return numpy.tile((counts / counts.sum()).astype("float32"), (items, 1))


def train(_):
    claim_run(os.path.dirname(os.path.abspath(options["--out"])))
    task, data = read_json(options["--task"]), numpy.load(options["--data"], allow_pickle=False)
    rows = []
    for epoch in range(task["hyperparameters"]["epochs"]):
        time.sleep({pause})
        rows.append(dict(epoch=epoch + 1, loss=1.0, accuracy=0.5, val_loss=1.0, val_accuracy=0.5, seconds={pause}))
        _append_progress(options["--progress"], dict(rows[-1], event="epoch", epochs=task["hyperparameters"]["epochs"]))
        say("epoch %d" % (epoch + 1))
    out, names = options["--out"], class_names(data)
    with open(os.path.join(out, "weights.h5"), "wb") as file:
        numpy.save(file, probabilities(1, data["y_train"].astype("int64"), len(names)))
    of_validation = probabilities(len(data["y_val"]), data["y_train"].astype("int64"), len(names))
    numpy.save(os.path.join(out, "validation.npy"), of_validation)
    _write_epochs(os.path.join(out, "epochs.csv"), rows)
    write_json(os.path.join(out, "model.json"), {{
        "format": "weights", "file": "weights.h5", "sha256": sha256(os.path.join(out, "weights.h5")),
        "model": task["model"],
        "hyperparameters": task["hyperparameters"], "backend": task["backend"], "versions": {{}}, "scale": 1.0,
        "class_names": names,
        "input_shape": list(data["x_train"].shape[1:]), "classes": len(names), "data_format": task["data_format"],
        "threads": task["threads"], "seed": task["seed"],
    }})
    metrics = {{"accuracy": 0.5, "loss": 1.0, "epochs": len(rows), "best_epoch": 1, "train_seconds": 1.0}}
    write_json(os.path.join(out, "metrics.json"), metrics)


def predict(_):
    recorded, data = read_json(os.path.join(options["--model"], "model.json")), numpy.load(options["--data"], allow_pickle=False)
    path = os.path.join(options["--model"], recorded["file"])
    assert sha256(path) == recorded["sha256"], "the file is not the one that was recorded"
    time.sleep({pause})
    out = options["--out"]
    numpy.save(out, numpy.repeat(numpy.load(path), len(data["x_predict"]), axis=0))
    summary = {{"sha256": sha256(out), "class_names": class_names(data), "items": len(data["x_predict"])}}
    write_json(os.path.splitext(out)[0] + ".json", summary)


sys.exit(run_reported(lambda arguments: exit_status(train if step == "train" else predict, arguments), arguments))
"""
CONFIGURATION = """experiment: e
store: ./store
data: {{dataset: d.npz}}
model: mlp
hyperparameters: {{epochs: 2}}
defaults: {{retries: 1, deadline: 1h, threads: 1}}
runtimes: {{keras3: {{python: {python}}}}}
backends:
  a: {{backend: jax, schedule: "{minutes} * * * *"}}
  b: {{backend: jax, schedule: "{minutes} * * * *"}}
ensemble: {{schedule: "{minutes} * * * *", quorum: 1}}
"""


def write_experiment(folder: Path, minutes: str = "0", pause: float = 0.1) -> Path:
    """Write an experiment of two members and an ensemble; returns its configuration. ``pause``: seconds an epoch."""
    from chaos.arrays import whole_arrays, zipped

    python = folder / "python"
    python.write_text(INTERPRETER.format(python=sys.executable, pause=pause, folder=str(folder)))
    (folder / "locks").mkdir()
    python.chmod(0o755)
    (folder / "d.npz").write_bytes(zipped(whole_arrays().items()))
    path = folder / "config.yaml"
    path.write_text(CONFIGURATION.format(python=python, minutes=minutes))
    return path
