"""Reading and checking what train and predict get: files, arrays, and errors in them. Python 2.7 and 3."""

from __future__ import print_function

import hashlib
import io
import json
import sys
import unicodedata

from jobs.portable.end_report import send

WRONG_INPUT = 3
"""The exit status for a fault in the user's data, model or configuration: ``jobs.contract.ExitCode.WRONG_INPUT``."""


class WrongInput(Exception):
    """A fault in the user's data, model or hyperparameters; the text is one line."""


def exit_status(program, argv):
    """Run ``program(argv)``; returns 0, or WRONG_INPUT after printing and reporting a WrongInput's text."""
    try:
        program(argv)
    except WrongInput as error:
        text = one_line(error.args[0])
        send({"event": "wrong input", "message": text})
        say(text, sys.stderr)
        return WRONG_INPUT
    return 0


def one_line(text):
    """A message on one line of printable characters: it may name what is in a file of somebody else's."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = " ".join(text.splitlines())
    return "".join(character for character in text if unicodedata.category(character) not in ("Cc", "Cf", "Cs"))


def say(text, out=None):
    """Print a line on ``out``, stdout by default; without it where the user's code has closed that."""
    try:
        print(text, file=out or sys.stdout)
        (out or sys.stdout).flush()
    except (AttributeError, OSError, IOError, ValueError):
        pass


def read_json(path):
    """The JSON value in a file; its texts are unicode on Python 2 too."""
    with io.open(path, encoding="utf-8") as file:
        return json.load(file)


def write_json(path, value):
    """Write a value as indented JSON with sorted keys."""
    text = to_json(value, indent=1)
    with open(path, "wb") as file:
        file.write(text)


def to_json(value, indent=None):
    """A value as JSON in ASCII bytes, keys sorted; NaN and infinity, which JSON has not, as null."""
    text = json.dumps(_finite(value), indent=indent, sort_keys=True, allow_nan=False)
    return text if isinstance(text, bytes) else text.encode("ascii")


def _finite(value):
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def sha256(path):
    """The SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def class_names(data):
    """The class names of prepared data, as text (unicode on Python 2), in the order of the class numbers."""
    return ["%s" % name for name in data["class_names"].tolist()]


def listed(names):
    """Names for a message: the first few."""
    return ", ".join(names[:10]) + (" and %d more" % (len(names) - 10) if len(names) > 10 else "")


def scale_of(x):
    """The number by which inputs are divided: 255 for bytes, else their largest magnitude if that is above 1, else 1."""
    if x.dtype.name == "uint8":
        return 255.0
    # Not abs(x).max(): the magnitude of the smallest signed integer does not fit its type.
    largest = max(abs(float(x.max())), abs(float(x.min()))) if x.size else 1.0
    return largest if largest > 1.0 else 1.0


def scaled(x, scale, data_format):
    """Inputs divided by ``scale`` as float32, transposed to channels first if ``data_format`` says so.

    ``x`` is (items, height, width, channels) or (items, features).
    """
    x = x.astype("float32") / x.dtype.type(scale) if x.dtype.kind == "f" else x.astype("float32") / scale
    x = x.astype("float32")
    if data_format == "channels_first" and x.ndim == 4:
        x = x.transpose(0, 3, 1, 2).copy()
    return x
