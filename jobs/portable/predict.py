"""The predict program: the probabilities of a published model, in the runtime that trained it. Python 2.7 and 3."""

from __future__ import print_function

import argparse
import os
import time

from jobs.portable.inputs import WrongInput, class_names, exit_status, listed, read_json, say, scaled, sha256, write_json
from jobs.portable.value_range import to_training_scale


def main(argv):
    """Predict as the arguments say; returns the exit status."""
    return exit_status(predict, argv)


def predict(argv):
    """Write the probabilities, float32 of shape (items, classes), and a JSON file beside them; without data only load the model.

    Raises WrongInput for a model file other than the recorded one, for a model that is not the one that was trained, and for
    data that does not fit it.
    """
    parser = argparse.ArgumentParser(prog="predict", description="Write one member's probabilities.")
    parser.add_argument("--model", required=True, help="the folder of the model's file")
    parser.add_argument("--description", help="the JSON file that says which model it is; model.json in that folder by default")
    parser.add_argument("--data", help="the prepared data, .npz")
    parser.add_argument("--out", help="the .npy file to write")
    parser.add_argument("--validation", help="the .npy file for the probabilities of the validation data, where they are needed")
    parser.add_argument("--code", default="", help="the folder of the code that the model was trained with")
    parser.add_argument("--task", help="the configuration that the model was trained with, JSON")
    options = parser.parse_args(argv)
    recorded = recorded_model(options.model, options.description)

    from jobs.portable import backend, saved_model

    keras = backend.load(recorded["backend"], recorded["threads"], recorded["seed"], recorded["data_format"])
    if options.data is None:
        saved_model.load(keras, options.model, recorded, options.code)
        return
    import numpy

    data = numpy.load(options.data, allow_pickle=False)
    check_fit(data, "x_predict", recorded)
    began = time.time()
    task = read_json(options.task) if options.task else None
    model = saved_model.load(keras, options.model, recorded, options.code, task)
    probabilities = predicted_probabilities(model, recorded, data["x_predict"], "the data to predict")
    numpy.save(options.out, probabilities)
    if options.validation:
        numpy.save(options.validation, predicted_probabilities(model, recorded, data["x_val"], "the validation data"))
    summary = {
        "sha256": sha256(options.out),
        "class_names": class_names(data),
        "backend": keras.backend.backend(),
        "items": int(len(probabilities)),
        "seconds": round(time.time() - began, 3),
    }
    write_json(os.path.splitext(options.out)[0] + ".json", summary)
    say("predicted %d items" % len(probabilities))


def recorded_model(folder, description=None):
    """What is recorded of the model whose file lies in ``folder``: its model.json, or ``description``, the path of such a file.

    Raises WrongInput for a model file other than the recorded one.
    """
    recorded = read_json(description or os.path.join(folder, "model.json"))
    path = os.path.join(folder, os.path.basename(recorded["file"]))
    # Loading a complete model of an earlier version can run code: only the file that the run recorded is loaded.
    if sha256(path) != recorded["sha256"]:
        raise WrongInput("%s: the file is not the one that was recorded (its sha256 differs)" % path)
    return recorded


def check_fit(data, name, recorded):
    """Raise WrongInput unless the items ``name`` of prepared data have the classes and the shape that a model takes."""
    names = class_names(data)
    if names != recorded["class_names"]:
        raise WrongInput("the data's classes %s are not the model's %s" % (listed(names), listed(recorded["class_names"])))
    if list(data[name].shape[1:]) != recorded["input_shape"]:
        shapes = (list(data[name].shape[1:]), recorded["input_shape"])
        raise WrongInput("the inputs to predict have the shape %s, the model takes %s" % shapes)


def predicted_probabilities(model, recorded, inputs, name):
    """The probabilities, float32 of shape (items, classes), that a loaded model predicts for unscaled inputs.

    ``name`` names the inputs in messages. Raises WrongInput for what are no probabilities.
    """
    import numpy

    from jobs.portable import model_checks, saved_model

    done = ""
    if "input_range" in recorded:  # models of earlier versions have none
        inputs, done = to_training_scale(inputs, name, recorded["input_range"], "the model's training data")
    if done:
        say(done)
    x = scaled(inputs, recorded["scale"], recorded["data_format"])
    probabilities = model.predict(x, batch_size=saved_model.PREDICT_BATCH, verbose=0)
    if not numpy.isfinite(probabilities.astype("float32")).all():
        raise WrongInput("the model predicts NaN or infinity for %s" % name)
    problem = model_checks.probability_problem(probabilities)
    if problem:
        raise WrongInput("the model predicts no probabilities for %s: %s" % (name, problem))
    return probabilities.astype("float32")
