"""Inputs of train and predict: arguments, the data file, the user's errors. Python 2.7 and 3."""

from __future__ import print_function

import hashlib
import importlib
import io
import json
import os
import sys

WRONG_INPUT = 3


class WrongInput(Exception):
    """The user's data, model or hyperparameters are wrong; the text is one line."""


def guarded(program, argv):
    """Run program(argv); a WrongInput becomes one line on stderr and its exit status."""
    try:
        program(argv)
    except WrongInput as error:
        sys.stdout.flush()
        print(error.args[0], file=sys.stderr)
        return WRONG_INPUT
    return 0


def read_json(path):
    with io.open(path, encoding="utf-8") as file:
        return json.load(file)


def write_json(path, value):
    text = json.dumps(value, indent=1, sort_keys=True)
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode("utf-8"))


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_mark(path, backend):
    """Raise RuntimeError unless the HDF5 model names that backend as its writer: trust the file, not the variable."""
    import h5py

    with h5py.File(path, "r") as file:
        mark = file.attrs["backend"]
    mark = mark.decode() if isinstance(mark, bytes) else mark
    if mark != backend:
        raise RuntimeError("the model file was written by %s, not by %s" % (mark, backend))


def class_names(data):
    """The prepared data's class names as text, unicode on Python 2 as well."""
    return ["%s" % name for name in data["class_names"].tolist()]


def scale_of(x):
    """What inputs are divided by: 255 for bytes, else the largest magnitude if above 1."""
    if x.dtype.name == "uint8":
        return 255.0
    largest = float(abs(x).max()) if x.size else 1.0
    return largest if largest > 1.0 else 1.0


def scaled(x, scale, data_format):
    """float32 inputs, channels first if asked for; x is (n, h, w, c) or (n, features)."""
    x = x.astype("float32") / x.dtype.type(scale) if x.dtype.kind == "f" else x.astype("float32") / scale
    x = x.astype("float32")
    if data_format == "channels_first" and x.ndim == 4:
        x = x.transpose(0, 3, 1, 2).copy()
    return x


def user_function(reference, code):
    """The function that `file.py:function` names, from the unpacked code folder."""
    source, _, name = reference.rpartition(":")
    folder = os.path.join(code, os.path.dirname(source))
    sys.path.insert(0, code)
    sys.path.insert(0, folder)
    module = importlib.import_module(os.path.splitext(os.path.basename(source))[0])
    function = getattr(module, name, None)
    if not callable(function):
        raise WrongInput("model: %s has no function %s" % (source, name))
    return function
