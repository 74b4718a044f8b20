"""The training program: one for all backends, in both Keras families. Python 2.7 and 3."""

from __future__ import print_function

import argparse
import io
import json
import os
import time

from jobs.portable.inputs import WrongInput, check_mark, class_names, guarded, read_json, scale_of, scaled, sha256, write_json

MODEL_FILE = "model.h5"
VALIDATION_FILE = "validation.npy"
BATCH = 256  # items that are predicted at a time
COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


def main(argv):
    return guarded(train, argv)


def train(argv):
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
    of_data = task["data"].get("hyperparameters", ())
    model = models.build(keras, task["model"], x_train.shape[1:], len(names), values, options.code, of_data)
    targets = y_train if _sparse(model) else numpy.eye(len(names), dtype="float32")[y_train]

    fit_began = time.time()
    best = _best(keras, x_val, y_val, values, options.progress)
    model.fit(
        x_train,
        targets,
        batch_size=values["batch_size"],
        epochs=values["epochs"],
        verbose=0,
        shuffle=True,
        callbacks=[best],
    )
    model.set_weights(best.weights)
    trained = time.time()

    path = os.path.join(options.out, MODEL_FILE)
    _save(model, path)
    check_mark(path, task["backend"])
    judged = model.predict(x_val, batch_size=BATCH, verbose=0)
    loss, accuracy = judge(judged, y_val)
    # By these a repeated training is compared with this one.
    numpy.save(os.path.join(options.out, VALIDATION_FILE), judged.astype("float32"))
    _write_epochs(os.path.join(options.out, "epochs.csv"), best.rows)
    described = {
        "file": MODEL_FILE,
        "sha256": sha256(path),
        "backend": keras.backend.backend(),
        "versions": backend.versions(keras, task["backend"]),
        "scale": scale,
        "data_format": task["data_format"],
        "input_shape": [int(size) for size in data["x_train"].shape[1:]],
        "classes": len(names),
        "class_names": names,
        "threads": task["threads"],
        "seed": task["seed"],
    }
    write_json(os.path.join(options.out, "model.json"), described)
    metrics = {
        "accuracy": accuracy,
        "loss": loss,
        "epochs": len(best.rows),
        "best_epoch": best.epoch,
        "train_seconds": round(trained - fit_began, 3),
        "import_seconds": round(imported - began, 3),
    }
    write_json(os.path.join(options.out, "metrics.json"), metrics)
    print("accuracy %.4f, loss %.4f after %d epochs" % (accuracy, loss, len(best.rows)))


def judge(probabilities, labels):
    """(log loss, accuracy) of probabilities (n, classes) against integer labels (n,)."""
    import numpy

    own = numpy.clip(probabilities[numpy.arange(len(labels)), labels].astype("float64"), 1e-15, 1.0)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return float(-numpy.log(own).mean()), accuracy


def _predicted(model, x):
    """Probabilities, batch by batch: ``predict`` makes its input pipeline anew at every call, which takes a tenth of an epoch."""
    import numpy

    return numpy.concatenate([model.predict_on_batch(x[start : start + BATCH]) for start in range(0, len(x), BATCH)])


def _sparse(model):
    loss = getattr(model, "loss", "")
    return "sparse" in str(getattr(loss, "name", None) or getattr(loss, "__name__", None) or loss)


def _best(keras, x_val, y_val, values, progress):
    """The callback that judges each epoch by predict, keeps the best weights and stops early."""

    class Best(keras.callbacks.Callback):
        def __init__(self):
            super(Best, self).__init__()
            self.rows, self.weights, self.epoch, self.loss = [], None, 0, float("inf")

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.time()

        def on_epoch_end(self, epoch, logs=None):
            loss, accuracy = judge(_predicted(self.model, x_val), y_val)
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
            print("epoch %d/%d: loss %.4f, accuracy %.4f" % (epoch + 1, values["epochs"], loss, accuracy))
            if loss != loss:
                raise WrongInput("training: the loss is not a number after epoch %d" % (epoch + 1))
            if loss < self.loss:
                self.loss, self.epoch, self.weights = loss, epoch + 1, self.model.get_weights()
            elif epoch + 1 - self.epoch >= max(1, values["patience"]):
                self.model.stop_training = True

    return Best()


def _save(model, path):
    """HDF5 in both Keras families: it names the backend that wrote it, and equal models are equal bytes."""
    try:
        model.save(path)
    except NotImplementedError as error:
        raise WrongInput("model: it cannot be saved: build it as Sequential or functional (%s)" % str(error).split("\n")[0])


def _write_epochs(path, rows):
    lines = [",".join(COLUMNS)] + [",".join(repr(row[name]) for name in COLUMNS) for row in rows]
    with io.open(path, "wb") as file:
        file.write(("\n".join(lines) + "\n").encode("utf-8"))
