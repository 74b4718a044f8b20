"""The train program: one for all backends. Keras 2 and 3, Python 2.7 and 3."""

from __future__ import print_function

import argparse
import io
import json
import os
import time

from jobs.portable.inputs import (
    WrongInput,
    check_model_backend,
    class_names,
    exit_status,
    read_json,
    say,
    scale_of,
    scaled,
    sha256,
    write_json,
)
from jobs.portable.value_range import value_range

MODEL_FILE = "model.h5"
VALIDATION_FILE = "validation.npy"
PREDICT_BATCH = 256  # items that are predicted at a time
EPOCH_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


def main(argv):
    """Train as the arguments say; returns the exit status."""
    return exit_status(train, argv)


def train(argv):
    """Train a model with early stopping and write it with its metrics, epochs and validation probabilities.

    The best epoch's weights are kept. Raises WrongInput for a fault in the user's model or data.
    """
    parser = argparse.ArgumentParser(prog="train", description="Train one member's model.")
    parser.add_argument("--task", required=True, help="the task's resolved configuration, JSON")
    parser.add_argument("--data", required=True, help="the prepared data, .npz")
    parser.add_argument("--out", required=True, help="the folder for model, metrics and epochs")
    parser.add_argument("--progress", required=True, help="the file that gets a JSON line an epoch")
    parser.add_argument("--code", default="", help="the folder of the user's code")
    options = parser.parse_args(argv)
    task = read_json(options.task)
    values = task["hyperparameters"]

    began = time.time()
    from jobs.portable import backend, models

    keras = backend.load(task["backend"], task["threads"], task["seed"], task["data_format"])
    import numpy

    imported = time.time()
    data = numpy.load(options.data, allow_pickle=False)
    names = class_names(data)
    scale = scale_of(data["x_train"])
    x_train = scaled(data["x_train"], scale, task["data_format"])
    x_val = scaled(data["x_val"], scale, task["data_format"])
    y_train, y_val = data["y_train"].astype("int64"), data["y_val"].astype("int64")
    data_hyperparameters = task["data"].get("hyperparameters", ())
    model = models.build(keras, task["model"], x_train.shape[1:], len(names), values, options.code, data_hyperparameters)
    targets = y_train if _has_sparse_loss(model) else numpy.eye(len(names), dtype="float32")[y_train]

    fit_began = time.time()
    best = _best_epoch(keras, x_val, y_val, values, options.progress)
    model.fit(
        x_train,
        targets,
        batch_size=values["batch_size"],
        # A check of the functions trains on a few items, and not for long.
        epochs=1 if task.get("few_items") else values["epochs"],
        verbose=0,
        shuffle=True,
        callbacks=[best],
    )
    model.set_weights(best.weights)
    trained = time.time()

    path = os.path.join(options.out, MODEL_FILE)
    _save(model, path)
    check_model_backend(path, task["backend"])
    probabilities = model.predict(x_val, batch_size=PREDICT_BATCH, verbose=0)
    loss, accuracy = loss_and_accuracy(probabilities, y_val)
    # By these a repeated training is compared with this one.
    numpy.save(os.path.join(options.out, VALIDATION_FILE), probabilities.astype("float32"))
    _write_epochs(os.path.join(options.out, "epochs.csv"), best.rows)
    description = {
        "file": MODEL_FILE,
        "sha256": sha256(path),
        "backend": keras.backend.backend(),
        "versions": backend.versions(keras, task["backend"]),
        "scale": scale,
        "input_range": value_range(data["x_train"]),
        "data_format": task["data_format"],
        "input_shape": [int(size) for size in data["x_train"].shape[1:]],
        "classes": len(names),
        "class_names": names,
        "threads": task["threads"],
        "seed": task["seed"],
    }
    write_json(os.path.join(options.out, "model.json"), description)
    metrics = {
        "accuracy": accuracy,
        "loss": loss,
        "epochs": len(best.rows),
        "best_epoch": best.epoch,
        "train_seconds": round(trained - fit_began, 3),
        "import_seconds": round(imported - began, 3),
    }
    write_json(os.path.join(options.out, "metrics.json"), metrics)
    say("accuracy %.4f, loss %.4f after %d epochs" % (accuracy, loss, len(best.rows)))


def loss_and_accuracy(probabilities, labels):
    """(log loss, accuracy) of probabilities (items, classes) for the class numbers ``labels`` (items,).

    The log loss is the mean of -ln p of the right class, p at least 1e-15.
    """
    import numpy

    of_right_class = numpy.clip(probabilities[numpy.arange(len(labels)), labels].astype("float64"), 1e-15, 1.0)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return float(-numpy.log(of_right_class).mean()), accuracy


def _predicted(model, x):
    """Probabilities, batch by batch: ``predict`` builds its input pipeline at every call, which takes a tenth of an epoch."""
    import numpy

    return numpy.concatenate(
        [model.predict_on_batch(x[start : start + PREDICT_BATCH]) for start in range(0, len(x), PREDICT_BATCH)]
    )


def _has_sparse_loss(model):
    """Whether the model's loss takes class numbers, not one-hot rows."""
    loss = getattr(model, "loss", "")
    return "sparse" in str(getattr(loss, "name", None) or getattr(loss, "__name__", None) or loss)


def _best_epoch(keras, x_val, y_val, values, progress):
    """The callback that evaluates each epoch on the validation data, keeps the best weights and stops early.

    A line of JSON is appended to the file ``progress`` after each epoch.
    """

    class BestEpoch(keras.callbacks.Callback):
        def __init__(self):
            super(BestEpoch, self).__init__()
            self.rows, self.weights, self.epoch, self.loss = [], None, 0, float("inf")

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.time()

        def on_epoch_end(self, epoch, logs=None):
            loss, accuracy = loss_and_accuracy(_predicted(self.model, x_val), y_val)
            logs = logs or {}
            row = {
                "epoch": epoch + 1,
                "loss": float(logs.get("loss", float("nan"))),
                "accuracy": float(logs.get("accuracy", logs.get("acc", float("nan")))),
                "val_loss": loss,
                "val_accuracy": accuracy,
                "seconds": round(time.time() - self.began, 3),
            }
            self.rows.append(row)
            with io.open(progress, "ab") as file:
                line = dict(row, event="epoch", epochs=values["epochs"])
                file.write((json.dumps(line, sort_keys=True) + "\n").encode("utf-8"))
            say("epoch %d/%d: loss %.4f, accuracy %.4f" % (epoch + 1, values["epochs"], loss, accuracy))
            if loss != loss:
                raise WrongInput("training: the loss is not a number after epoch %d" % (epoch + 1))
            if loss < self.loss:
                self.loss, self.epoch, self.weights = loss, epoch + 1, self.model.get_weights()
            elif epoch + 1 - self.epoch >= max(1, values["patience"]):
                self.model.stop_training = True

    return BestEpoch()


def _save(model, path):
    """Save as HDF5, which names the backend that wrote it, and whose bytes are equal for equal models. Raises WrongInput."""
    try:
        model.save(path)
    except NotImplementedError as error:
        raise WrongInput(
            "model: it cannot be saved: build it with the Sequential or the functional API (%s)" % str(error).split("\n")[0]
        )


def _write_epochs(path, rows):
    """Write the epochs as CSV, numbers in their shortest form."""
    lines = [",".join(EPOCH_COLUMNS)] + [",".join(repr(row[name]) for name in EPOCH_COLUMNS) for row in rows]
    with io.open(path, "wb") as file:
        file.write(("\n".join(lines) + "\n").encode("utf-8"))
