"""The predict program: the probabilities of a published model, in the runtime that trained it. Python 2.7 and 3."""

from __future__ import print_function

import argparse
import os
import time

from jobs.portable import user_code
from jobs.portable.inputs import (
    WrongInput,
    check_model_backend,
    class_names,
    exit_status,
    read_json,
    say,
    scaled,
    sha256,
    write_json,
)
from jobs.portable.value_range import to_training_scale


def main(argv):
    """Predict as the arguments say; returns the exit status."""
    return exit_status(predict, argv)


def predict(argv):
    """Write the probabilities, float32 of shape (items, classes), and a JSON file beside them.

    Raises WrongInput for a model file other than the recorded one, and for data that does not fit the model.
    """
    parser = argparse.ArgumentParser(prog="predict", description="Write one member's probabilities.")
    parser.add_argument("--model", required=True, help="the folder of the model and model.json")
    parser.add_argument("--data", required=True, help="the prepared data, .npz")
    parser.add_argument("--out", required=True, help="the .npy file to write")
    parser.add_argument("--code", default="", help="the folder of the user's code")
    options = parser.parse_args(argv)
    recorded = read_json(os.path.join(options.model, "model.json"))
    path = os.path.join(options.model, os.path.basename(recorded["file"]))
    # Loading a model can run code: only the file that the run recorded is loaded.
    if sha256(path) != recorded["sha256"]:
        raise WrongInput("%s: the file is not the one that was recorded (its sha256 differs)" % path)

    from jobs.portable import backend

    keras = backend.load(recorded["backend"], recorded["threads"], recorded["seed"], recorded["data_format"])
    import numpy

    data = numpy.load(options.data, allow_pickle=False)
    names = class_names(data)
    if names != recorded["class_names"]:
        raise WrongInput("the data's classes %s are not the model's %s" % (names, recorded["class_names"]))
    if list(data["x_predict"].shape[1:]) != recorded["input_shape"]:
        shapes = (list(data["x_predict"].shape[1:]), recorded["input_shape"])
        raise WrongInput("the inputs to predict have the shape %s, the model takes %s" % shapes)
    if options.code:
        user_code.add_folders(options.code)
    began = time.time()
    check_model_backend(path, recorded["backend"])
    model = keras.models.load_model(path, compile=False)
    inputs, done = data["x_predict"], ""
    if "input_range" in recorded:  # models of earlier versions have none
        inputs, done = to_training_scale(inputs, "the data to predict", recorded["input_range"], "the model's training data")
    if done:
        say(done)
    x = scaled(inputs, recorded["scale"], recorded["data_format"])
    probabilities = model.predict(x, batch_size=256, verbose=0).astype("float32")
    if not numpy.isfinite(probabilities).all():
        raise WrongInput("the model predicts NaN or infinity")
    numpy.save(options.out, probabilities)
    summary = {
        "sha256": sha256(options.out),
        "class_names": names,
        "backend": keras.backend.backend(),
        "items": int(len(probabilities)),
        "seconds": round(time.time() - began, 3),
    }
    write_json(os.path.splitext(options.out)[0] + ".json", summary)
    say("predicted %d items" % len(probabilities))
