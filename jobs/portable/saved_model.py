"""A trained model: its weights in a file, and the model that its function builds for them again. Python 2.7 and 3."""

from __future__ import print_function

import json
import os
import subprocess
import sys
import tempfile
import zipfile

from jobs.portable import models, user_code
from jobs.portable.inputs import WrongInput, say

FORMAT = "weights"
"""``format`` in model.json. A model file of an earlier version has none: it is a complete HDF5 model."""
MODEL_FILE = "weights.h5"
PREDICT_BATCH = 256
"""Items that are predicted at a time."""
SAMPLE_ITEMS, SAMPLE_BYTES = 8, 1 << 20
"""How many items, and of how many bytes at most, lie with their probabilities in the model file."""
TOLERANCE = 1e-4
"""By how much the probabilities of a model may differ from those that it is built again with, in one process."""
ELSEWHERE_TOLERANCE = 1e-2
"""The same on another machine or in another process, and for a model that computes in 16 bits."""
_HINT = (
    "it must build the same model at each call (no global state, no random choice but by the seed, no input from outside), "
    "and what is trained must be a weight that Keras knows (add_weight)"
)


def save(path, keras, model, weights, x, probabilities):
    """Write weights, as ``get_weights`` returns them, with a sample of predicted items; equal ones as equal bytes.

    ``x``: scaled items; ``probabilities``: what the model predicts for them with these weights.
    """
    import h5py
    import numpy

    names = _weight_names(model)
    if len(names) != len(weights):
        names = [""] * len(weights)
    count = max(1, min(SAMPLE_ITEMS, SAMPLE_BYTES // max(1, x[0].nbytes)))
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = keras.backend.backend()
        file.attrs["keras_version"] = keras.__version__
        group = file.create_group("weights")
        for number, (name, value) in enumerate(zip(names, weights)):
            value = numpy.asarray(value)
            # HDF5 has no bfloat16 and the like: their bytes are kept.
            stored = value if value.dtype.kind in "fiub" else numpy.frombuffer(value.tobytes(), "uint8")
            dataset = group.create_dataset("%06d" % number, data=stored, track_times=False)
            dataset.attrs["name"], dataset.attrs["dtype"] = name, value.dtype.name
            dataset.attrs["shape"] = numpy.array(value.shape, "int64")
        group = file.create_group("sample")
        group.create_dataset("inputs", data=x[:count], track_times=False)
        group.create_dataset("probabilities", data=probabilities[:count].astype("float32"), track_times=False)


def load(keras, folder, recorded, code, task=None):
    """The model of a training whose result lies in ``folder``, checked against the sample in its file.

    ``recorded``: its model.json; ``code``: the folder of the code that it was trained with; ``task``: the configuration that it
    was trained with, which only models of earlier versions need. Nothing in the file is run: the model is what the function
    of ``code`` builds. Raises WrongInput if that is another model than the one that was trained.
    """
    path = os.path.join(folder, os.path.basename(recorded["file"]))
    check_model_backend(path, recorded["backend"])
    if recorded.get("format") != FORMAT:
        return _load_complete(keras, path, recorded, code, task)
    model, x, expected = build_again(keras, path, recorded, code)
    problem = difference(model, x, expected, ELSEWHERE_TOLERANCE)
    if problem:
        raise WrongInput(
            "model: %s: the model that it builds now is not the one that was trained: %s" % (recorded["model"], problem)
        )
    return model


def _load_complete(keras, path, recorded, code, task):
    """A complete HDF5 model, as earlier versions saved them.

    Where Keras cannot load it, or would run what is in the file, the function that ``task`` names builds it for the weights.
    """
    if code:
        user_code.add_folders(code)
    problem = "it holds a function as byte code, which is not run"
    if not _holds_byte_code(path):
        try:
            return keras.models.load_model(path, compile=False)
        except Exception as error:
            if task is None:
                raise
            problem = "%s: %s" % (type(error).__name__, str(error).split("\n")[0])
    if task is None:
        raise WrongInput("the model cannot be loaded: %s" % problem)
    say("the function %s builds the model for its weights, for Keras does not load it (%s)" % (task["model"], problem[:300]))
    shape = [int(size) for size in recorded["input_shape"]]
    if recorded["data_format"] == "channels_first" and len(shape) == 3:
        shape = shape[-1:] + shape[:-1]
    hyperparameters = models.Hyperparameters(task["hyperparameters"])
    model = models.call(keras, task["model"], tuple(shape), recorded["classes"], hyperparameters, code)
    model.load_weights(path)
    return model


def _holds_byte_code(path):
    """Whether a complete HDF5 model has a function in it, as Lambda layers of Keras 2 have: loading it would run it."""
    import h5py

    with h5py.File(path, "r") as file:
        config = json.loads(_text(file.attrs.get("model_config", "null")))
    parts = [config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if any(key.endswith("_type") and value == "lambda" for key, value in part.items()):
                return True
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return False


def build_again(keras, path, recorded, code):
    """The model that the recorded function builds, with the weights in the file ``path``; and the sample in it.

    Returns (model, items, their probabilities). Raises WrongInput if the weights do not fit.
    """
    import h5py
    import numpy

    with h5py.File(path, "r") as file:
        datasets = [file["weights"][name] for name in sorted(file["weights"])]
        names = [_text(dataset.attrs["name"]) for dataset in datasets]
        weights = [_stored_array(dataset, numpy) for dataset in datasets]
        x, expected = file["sample"]["inputs"][()], file["sample"]["probabilities"][()]
    item_shape = x.shape[1:]
    model = models.call(
        keras, recorded["model"], item_shape, recorded["classes"], models.Hyperparameters(recorded["hyperparameters"]), code
    )
    if shapes(model.get_weights()) != [weight.shape for weight in weights]:
        model.predict_on_batch(x)  # a class of the user's makes its weights at its first call
    check_weights(recorded["model"], shapes(model.get_weights()), [weight.shape for weight in weights], names)
    model.set_weights(weights)
    return model, x, expected


def check_weights(reference, built, trained, names):
    """Raise WrongInput unless two lists of weights' shapes are the same: of a model that is built again, and as it was."""
    if built == trained:
        return
    text = "%d weights, not %d" % (len(built), len(trained))
    if len(built) == len(trained):
        number = next(number for number, (one, other) in enumerate(zip(built, trained)) if one != other)
        text = "the weight %s has the shape %s, not %s" % (names[number] or number, built[number], trained[number])
    raise WrongInput("model: %s builds another model when it is called again: %s: %s" % (reference, text, _HINT))


def difference(model, x, expected, tolerance):
    """Why a model predicts something else than ``expected`` for ``x``; empty if it does not.

    A model whose predictions are random may differ by as much as it differs from itself.
    """
    import numpy

    tolerance = tolerance if expected.dtype.itemsize >= 4 else ELSEWHERE_TOLERANCE
    first = predicted(model, x)
    largest = _largest_difference(first, expected)
    if largest <= tolerance:
        return ""
    own = max(_largest_difference(first, predicted(model, x)) for _ in range(3))
    if own > tolerance and largest <= 2 * own:
        say("the model's predictions are random: they differ from one call to the next by up to %.3g" % own)
        return ""
    return "its probabilities differ by up to %.3g: %s" % (largest, _HINT) if numpy.isfinite(largest) else "it predicts NaN"


def predicted(model, x):
    """Probabilities, batch by batch: ``predict`` builds its input pipeline at every call, which takes a tenth of an epoch."""
    import numpy

    batches = [model.predict_on_batch(x[start : start + PREDICT_BATCH]) for start in range(0, len(x), PREDICT_BATCH)]
    return numpy.concatenate(batches)


def load_in_new_process(folder, recorded, code):
    """Load the model in ``folder`` in a process of its own, as a later prediction will; returns why that fails, or "".

    It has no GPU: this process may have taken all its memory.
    """
    program = [sys.argv[0]] if zipfile.is_zipfile(sys.argv[0]) else ["-m", "jobs"]
    command = [sys.executable, "-s", "-W", "ignore"] + program + ["predict", "--model", folder, "--code", code]
    env = dict(os.environ, CUDA_VISIBLE_DEVICES="-1", JAX_PLATFORMS="cpu")
    # A file, not a pipe: what the user's code leaves running may keep a pipe open.
    with tempfile.TemporaryFile() as output:
        status = subprocess.call(command, env=env, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        last_line = output.read().decode("utf-8", "replace").strip().split("\n")[-1]
    if status == 0:
        return ""
    if last_line.startswith("model: "):
        return last_line
    text = last_line or "it ended with exit status %d" % status
    return "model: %s: the model that was saved cannot be loaded again: %s" % (recorded["model"], text)


def check_model_backend(path, backend):
    """Raise RuntimeError unless the HDF5 model file names ``backend`` as its writer."""
    import h5py

    with h5py.File(path, "r") as file:
        writer = _text(file.attrs["backend"])
    if writer != backend:
        raise RuntimeError("the model file was written by %s, not by %s" % (writer, backend))


def _largest_difference(one, other):
    """The largest magnitude of a difference; NaN if there is a NaN."""
    return float(abs(one.astype("float64") - other.astype("float64")).max())


def shapes(weights):
    """The shapes of weights, as tuples of numbers."""
    return [tuple(int(size) for size in weight.shape) for weight in weights]


def _weight_names(model):
    """The names of a model's weights in the order of ``get_weights``."""
    if hasattr(model.weights[0] if model.weights else None, "path"):  # Keras 3
        return [weight.path for weight in model.weights]
    return [weight.name for layer in getattr(model, "layers", ()) for weight in layer.weights]


def _stored_array(dataset, numpy):
    """A weight as it was saved."""
    name, value = _text(dataset.attrs["dtype"]), dataset[()]
    if value.dtype.name == name:
        return value
    return numpy.frombuffer(value.tobytes(), _named_type(name, numpy)).reshape(dataset.attrs["shape"])


def _named_type(name, numpy):
    try:
        return numpy.dtype(name)
    except TypeError:
        import ml_dtypes

        return numpy.dtype(getattr(ml_dtypes, name))


def _text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value
