"""The train program: one for all backends. Keras 2 and 3, Python 2.7 and 3."""

from __future__ import print_function

import argparse
import io
import os
import shutil
import tempfile
import time

from jobs.portable.inputs import (
    WrongInput,
    class_names,
    exit_status,
    read_json,
    say,
    scale_of,
    scaled,
    sha256,
    to_json,
    write_json,
)
from jobs.portable.value_range import value_range

VALIDATION_FILE = "validation.npy"
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
    from jobs.portable import backend, label_form, model_checks, model_structure, models, saved_model

    keras = backend.load(task["backend"], task["threads"], task["seed"], task["data_format"])
    import numpy

    imported = time.time()
    data = numpy.load(options.data, allow_pickle=False)
    names = class_names(data)
    scale = scale_of(data["x_train"])
    x_train = scaled(data["x_train"], scale, task["data_format"])
    x_val = scaled(data["x_val"], scale, task["data_format"])
    y_train, y_val = data["y_train"].astype("int64"), data["y_val"].astype("int64")
    description = {
        "format": saved_model.FORMAT,
        "file": saved_model.MODEL_FILE,
        "model": task["model"],
        "hyperparameters": values,
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
    data_hyperparameters = task["data"].get("hyperparameters", ())
    model = models.build(keras, task["model"], x_train.shape[1:], len(names), values, options.code, data_hyperparameters)
    # What would fail after the last epoch fails before the first.
    x_first = x_val[: saved_model.PREDICT_BATCH]
    probabilities = None
    if not model_structure.gives_probabilities(keras, model, len(names)):
        probabilities = model.predict_on_batch(x_first)
        model_checks.check_outputs(probabilities, task["model"], len(x_first), len(names))
    model_checks.check_loss(keras, model, task["model"])
    scratch = os.path.dirname(os.path.abspath(options.task))
    _check_second_build(keras, model, x_first, probabilities, description, options.code, scratch)
    takes_numbers = label_form.takes_class_numbers(keras, model, len(names))
    targets = y_train if takes_numbers else numpy.eye(len(names), dtype="float32")[y_train]
    backend.seed_all(keras, task["seed"])

    fit_began = time.time()
    best = _best_epoch(keras, x_val, y_val, values, task["model"], options.progress)
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
    trained = time.time()

    path = os.path.join(options.out, saved_model.MODEL_FILE)
    saved_model.save(path, keras, model, best.weights, x_val, best.probabilities)
    description["sha256"] = sha256(path)
    write_json(os.path.join(options.out, "model.json"), description)
    del model
    best.set_model(None)
    probabilities = _predicted_by_saved(keras, options, description, x_val, best.probabilities)
    loss, accuracy = loss_and_accuracy(probabilities, y_val)
    # By these a repeated training is compared with this one.
    numpy.save(os.path.join(options.out, VALIDATION_FILE), probabilities.astype("float32"))
    _write_epochs(os.path.join(options.out, "epochs.csv"), best.rows)
    metrics = {
        "accuracy": accuracy,
        "loss": loss,
        "labels": "class numbers" if takes_numbers else "one-hot",
        "epochs": len(best.rows),
        "best_epoch": best.epoch,
        "train_seconds": round(trained - fit_began, 3),
        "import_seconds": round(imported - began, 3),
        "check_seconds": round(time.time() - trained, 3),
    }
    if best.degraded:
        metrics["degraded"] = best.degraded
    write_json(os.path.join(options.out, "metrics.json"), metrics)
    say("accuracy %.4f, loss %.4f after %d epochs" % (accuracy, loss, len(best.rows)))


def _check_second_build(keras, model, x, probabilities, description, code, scratch):
    """Raise WrongInput if a model function builds another model when it is called again.

    ``x``: some items; ``probabilities``: what the untrained ``model`` predicts for them, None where it has not been asked;
    ``scratch``: a temporary folder.
    """
    from jobs.portable import backend, model_structure, models, saved_model, user_code

    if description["model"] in models.BUILT_IN:
        return
    backend.seed_all(keras, description["seed"])
    user_code.forget_modules(code)
    hyperparameters = models.Hyperparameters(description["hyperparameters"])
    try:
        with backend.kept_name_scopes(keras):
            again = models.call(keras, description["model"], x.shape[1:], description["classes"], hyperparameters, code)
            if len(again.weights) != len(model.weights):
                again.predict_on_batch(x)
        weights = model.get_weights()
        if saved_model.shapes(again.get_weights()) == saved_model.shapes(weights):
            structure = model_structure.structure(keras, model)
            if structure is not None and structure == model_structure.structure(keras, again):
                return
            if probabilities is None:
                probabilities = model.predict_on_batch(x)
            again.set_weights(weights)
            if not saved_model.difference(again, x, probabilities, saved_model.TOLERANCE):
                return
    except Exception as error:
        say("the model cannot be built twice in one process: %s: %s" % (type(error).__name__, error))
    if probabilities is None:
        probabilities = model.predict_on_batch(x)
    folder = tempfile.mkdtemp(prefix="model-", dir=scratch)
    try:
        path = os.path.join(folder, description["file"])
        saved_model.save(path, keras, model, model.get_weights(), x, probabilities)
        write_json(os.path.join(folder, "model.json"), dict(description, sha256=sha256(path)))
        problem = saved_model.load_in_new_process(folder, description, code)
    finally:
        shutil.rmtree(folder)
    if problem:
        raise WrongInput(problem)


def _predicted_by_saved(keras, options, description, x, expected):
    """What the model that was just saved predicts for ``x``, loaded as a later prediction will load it.

    ``expected``: what the trained model predicted. Raises WrongInput for a model that cannot be loaded or predicts otherwise.
    """
    from jobs.portable import backend, saved_model, user_code

    backend.forget_models(keras)
    if options.code:
        user_code.forget_modules(options.code)
    backend.seed_all(keras, description["seed"])
    path = os.path.join(options.out, description["file"])
    try:
        model, _, _ = saved_model.build_again(keras, path, description, options.code)
        if not saved_model.difference(model, x, expected, saved_model.TOLERANCE):
            return saved_model.predicted(model, x)
    except Exception as error:
        say("the model cannot be built again in this process: %s: %s" % (type(error).__name__, error))
    # A function that can be called only once in a process is no fault: a later prediction has a process of its own.
    problem = saved_model.load_in_new_process(options.out, description, options.code)
    if problem:
        raise WrongInput(problem)
    return expected


def loss_and_accuracy(probabilities, labels):
    """(log loss, accuracy) of probabilities (items, classes) for the class numbers ``labels`` (items,).

    The log loss is the mean of -ln p of the right class, p at least 1e-15.
    """
    import numpy

    of_right_class = numpy.clip(probabilities[numpy.arange(len(labels)), labels].astype("float64"), 1e-15, 1.0)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return float(-numpy.log(of_right_class).mean()), accuracy


def _best_epoch(keras, x_val, y_val, values, reference, progress):
    """The callback that evaluates each epoch on the validation data, keeps the best weights and stops early.

    A line of JSON is appended to the file ``progress`` after each epoch. An epoch with NaN or infinity ends the training:
    in failure, unless an epoch before it was good; then ``degraded`` says so.
    """
    import numpy

    from jobs.portable import model_checks, saved_model

    class BestEpoch(keras.callbacks.Callback):
        def __init__(self):
            super(BestEpoch, self).__init__()
            self.rows, self.weights, self.probabilities, self.epoch, self.loss = [], None, None, 0, float("inf")
            self.degraded = ""

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.time()

        def on_epoch_end(self, epoch, logs=None):
            probabilities = saved_model.predicted(self.model, x_val)
            loss, accuracy = loss_and_accuracy(probabilities, y_val)
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
            _append_progress(progress, dict(row, event="epoch", epochs=values["epochs"]))
            say("epoch %d/%d: loss %.4f, accuracy %.4f" % (epoch + 1, values["epochs"], loss, accuracy))
            weights = self.model.get_weights() if loss < self.loss else None
            problem = ""
            if not numpy.isfinite(probabilities.astype("float32")).all():
                problem = "the model predicts NaN or infinity"
            elif "loss" in logs and not numpy.isfinite(row["loss"]):
                problem = "the training loss is %s" % row["loss"]
            elif any(value.dtype.kind != "i" and (value != value).any() for value in weights or ()):
                problem = "a weight is NaN"
            if problem:
                self.end(epoch + 1, problem)
                return
            model_checks.check_outputs(probabilities, reference, len(x_val), probabilities.shape[1])
            if weights is not None:
                self.loss, self.epoch, self.weights, self.probabilities = loss, epoch + 1, weights, probabilities
            elif epoch + 1 - self.epoch >= max(1, values["patience"]):
                self.model.stop_training = True

        def end(self, epoch, problem):
            if self.weights is None:
                raise WrongInput("training: the loss is not a number after epoch %d: %s" % (epoch, problem))
            self.degraded = "%s after epoch %d of %d: the weights of epoch %d, the best before it, are kept" % (
                problem,
                epoch,
                values["epochs"],
                self.epoch,
            )
            say("degraded: %s" % self.degraded)
            _append_progress(progress, {"event": "notice", "text": "degraded: %s" % self.degraded})
            self.model.stop_training = True

    return BestEpoch()


def _append_progress(path, event):
    with io.open(path, "ab") as file:
        file.write(to_json(event) + b"\n")


def _write_epochs(path, rows):
    """Write the epochs as CSV, numbers in their shortest form."""
    lines = [",".join(EPOCH_COLUMNS)] + [",".join(repr(row[name]) for name in EPOCH_COLUMNS) for row in rows]
    with io.open(path, "wb") as file:
        file.write(("\n".join(lines) + "\n").encode("utf-8"))
