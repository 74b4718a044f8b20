"""Trains and predicts with model functions in one process, a line of JSON for each (Python 2.7 and 3).

Arguments: a folder to write in, and FUNCTION[=EPOCHS[=ENVIRONMENT VARIABLE=VALUE, set after the training]]...
"""

from __future__ import print_function

import io
import json
import os
import shutil
import sys

import numpy as np

from jobs.portable import backend, predict, train, user_code
from jobs.portable.inputs import WrongInput, exit_status, sha256, write_json

FUNCTIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model_functions.py")


def write_data(path):
    random = np.random.RandomState(7)
    y = random.randint(0, 3, 300)
    x = (random.normal(0, 0.3, (300, 6)) + y[:, None]).astype("float32")
    names = np.array(["a", "b", "c"])
    np.savez(path, x_train=x[:200], y_train=y[:200], x_val=x[200:250], y_val=y[200:250], x_predict=x[250:], class_names=names)
    np.savez(path + ".large.npz", x_predict=x[250:] * 1000, class_names=names)


def error_of(step, arguments):
    """What a step ends with: "" or the text of the error."""
    import keras

    backend.forget_models(keras)
    try:
        step(arguments)
    except WrongInput as error:
        return error.args[0]
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)
    return ""


def outcome(folder, data, name, epochs, variable):
    code, out = os.path.join(folder, "code"), os.path.join(folder, "out")
    for path in (folder, code, out):
        os.mkdir(path)
    shutil.copy(FUNCTIONS, code)
    task = {
        "backend": os.environ["KERAS_BACKEND"],
        "threads": 1,
        "seed": 3,
        "data_format": "channels_last",
        "data": {},
        "model": "model_functions.py:" + name,
        "hyperparameters": {"epochs": epochs, "batch_size": 16, "patience": 9},
    }
    with io.open(os.path.join(folder, "task.json"), "wb") as file:
        file.write(json.dumps(task).encode("utf-8"))
    arguments = ["--task", os.path.join(folder, "task.json"), "--data", data, "--out", out, "--code", code]
    said = {"name": name, "train": error_of(train.train, arguments + ["--progress", os.path.join(folder, "progress")])}
    if said["train"]:
        return said
    with io.open(os.path.join(out, "metrics.json"), encoding="utf-8") as file:
        said["metrics"] = json.load(file)
    user_code.forget_modules(code)
    os.environ.update([variable.split("=")] if variable else [])
    predictions = os.path.join(folder, "p.npy")
    said["predict"] = error_of(predict.predict, ["--model", out, "--data", data, "--code", code, "--out", predictions])
    if not said["predict"]:
        said["sums"] = [float(np.load(predictions).sum(axis=1).min()), float(np.load(predictions).sum(axis=1).max())]
    if name == "composed":
        large = ["--data", data + ".large.npz", "--out", predictions]
        said["other_scale"] = error_of(predict.predict, ["--model", out, "--code", code] + large)
    return said


def complete_file_outcome(folder, data):
    """Of a file with code in it, as earlier versions saved models: without and with the configuration that names the function."""
    import model_functions

    code = os.path.join(folder, "code")
    for path in (folder, code):
        os.mkdir(path)
    shutil.copy(FUNCTIONS, code)
    model_functions.malicious((6,), 3, {}).save(os.path.join(folder, "model.h5"))
    del os.environ["TEST_MARK"]
    recorded = {
        "file": "model.h5",
        "sha256": sha256(os.path.join(folder, "model.h5")),
        "backend": os.environ["KERAS_BACKEND"],
        "threads": 1,
        "seed": 3,
        "data_format": "channels_last",
        "class_names": ["a", "b", "c"],
        "classes": 3,
        "input_shape": [6],
        "scale": 1.0,
    }
    write_json(os.path.join(folder, "model.json"), recorded)
    task = os.path.join(folder, "task.json")
    write_json(task, {"model": "model_functions.py:doubled", "hyperparameters": {}})
    arguments = ["--model", folder, "--data", data, "--code", code, "--out", os.path.join(folder, "p.npy")]
    said = {"name": "complete file", "alone": error_of(predict.predict, arguments)}
    return dict(said, named=error_of(predict.predict, arguments + ["--task", task]), mark=os.environ.get("TEST_MARK", ""))


def train_all(argv):
    data = os.path.join(argv[0], "data.npz")
    write_data(data)
    for number, argument in enumerate(argv[1:]):
        name, _, rest = argument.partition("=")
        epochs, _, variable = rest.partition("=")
        folder = os.path.join(argv[0], "%02d" % number)
        print("outcome: " + json.dumps(outcome(folder, data, name, int(epochs or 1), variable)))
        sys.stdout.flush()
    print("outcome: " + json.dumps({"name": "imports", "tensorflow": "tensorflow" in sys.modules}))
    print("outcome: " + json.dumps(complete_file_outcome(os.path.join(argv[0], "complete"), data)))


if __name__ == "__main__":
    sys.exit(exit_status(train_all, sys.argv[1:]))
