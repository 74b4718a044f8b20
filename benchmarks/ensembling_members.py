"""The data and the members of ensembling.py: `data FOLDER SPLITS` writes prepared data, `train FOLDER MEMBER` trains on it.

By the tool's own programs, in one process for each member. Python 2.7 and 3; `data` needs scikit-learn.
"""

from __future__ import print_function

import json
import os
import shutil
import sys

import numpy

MEMBERS = {
    "tensorflow": {"backend": "tensorflow", "hyperparameters": {"hidden": [64], "epochs": 40, "patience": 2}},
    "jax": {"backend": "jax", "hyperparameters": {"hidden": [16], "epochs": 40, "patience": 2}},
    "theano": {"backend": "theano", "hyperparameters": {"hidden": [32], "epochs": 6, "patience": 2}},
}
"""Of different strength, as where a member is cheap and another is not; those that are alike have one network on each backend."""
for backend in ("tensorflow", "jax", "theano", "cntk"):
    MEMBERS["alike-" + backend] = {"backend": backend, "hyperparameters": {"epochs": 40, "patience": 5}}
NETWORKS = {"cnn": {"filters": [16, 32], "dense": 64}, "mlp": {"hidden": [64]}}
"""The network of members that are alike: one for images, one for columns."""
CONDITIONS = {
    "of different strength": ("tensorflow", "jax", "theano"),
    "alike": ("alike-tensorflow", "alike-jax", "alike-theano", "alike-cntk"),
}
"""The members that are combined."""
SIZES = {"digits": (500, 300), "noisy digits": (500, 300), "wine": (80, 49), "breast cancer": (250, 150)}
"""Training and validation items; the others are predicted."""
NOISE = 0.2


def write_data(folder, splits):
    """Write the splits of every data set, as the prepare step would."""
    from sklearn import datasets

    loaders = {"digits": "load_digits", "noisy digits": "load_digits", "wine": "load_wine", "breast cancer": "load_breast_cancer"}
    for name, loader in loaders.items():
        x, y = getattr(datasets, loader)(return_X_y=True)
        classes = int(y.max()) + 1
        for split in range(splits):
            random = numpy.random.RandomState(split)
            order = random.permutation(len(y))
            train, validation, rest = numpy.split(order, numpy.cumsum(SIZES[name]))
            y_train = y[train].copy()
            if name.startswith("noisy"):
                changed = random.rand(len(y_train)) < NOISE
                y_train[changed] = random.randint(classes, size=changed.sum())
            values = x.astype("float32")
            if "digits" in name:
                values = values.reshape(-1, 8, 8, 1)
            else:  # columns of different units
                mean, spread = values[train].mean(axis=0), values[train].std(axis=0)
                values = ((values - mean) / spread).astype("float32")
            target = os.path.join(folder, "%s-%d" % (name.replace(" ", "-"), split))
            os.makedirs(target, exist_ok=True)
            arrays = {"x_train": values[train], "y_train": y_train, "x_val": values[validation], "y_val": y[validation]}
            arrays.update({"x_predict": values[rest], "y_predict": y[rest], "ids": rest.astype(str)})
            arrays["class_names"] = numpy.asarray([str(number) for number in range(classes)])
            numpy.savez(os.path.join(target, "data.npz"), **arrays)


def train_all(folder, name):
    """Train a member on every split, and write what its model predicts for the validation items and for the others."""
    from jobs.portable import predict, train

    member = MEMBERS[name]
    for split in sorted(os.listdir(folder)):
        target = os.path.join(folder, split, name)
        data = os.path.join(folder, split, "data.npz")
        if not os.path.isfile(data) or os.path.exists(os.path.join(target, "done")):
            continue
        shutil.rmtree(target, ignore_errors=True)
        os.makedirs(target)
        values = dict({"batch_size": 32, "optimizer": "adam", "learning_rate": 0.001}, **member["hyperparameters"])
        model = "mlp"
        if name.startswith("alike-"):
            model = "cnn" if "digits" in split else "mlp"
            values.update(NETWORKS[model])
        layout = "channels_first" if member["backend"] in ("theano", "cntk") else "channels_last"
        task = {"backend": member["backend"], "threads": 1, "seed": 1, "data_format": layout, "model": model}
        task.update({"hyperparameters": values, "data": {}})
        with open(os.path.join(target, "task.json"), "w") as file:
            json.dump(task, file)
        paths = {"task": "task.json", "progress": "progress.jsonl"}
        arguments = [part for key, path in paths.items() for part in ("--" + key, os.path.join(target, path))]
        train.train(arguments + ["--data", data, "--out", target])
        arguments = ["--model", target, "--data", data, "--out", os.path.join(target, "probabilities.npy")]
        predict.predict(arguments + ["--validation", os.path.join(target, "predicted-validation.npy")])
        open(os.path.join(target, "done"), "w").close()


if __name__ == "__main__":
    if sys.argv[1] == "data":
        write_data(sys.argv[2], int(sys.argv[3]))
    else:
        train_all(sys.argv[2], sys.argv[3])
