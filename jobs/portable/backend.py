"""The Keras backend: imports it, checks that it is the right one, seeds it, sets its threads. Python 2.7 and 3."""

from __future__ import print_function

import contextlib
import logging
import os
import random
import sys


def load(backend, threads, seed, data_format):
    """Import keras on ``backend`` and return the module; raises RuntimeError for any other backend.

    KERAS_BACKEND must be set before this process starts: after an import of keras it has no effect. ``data_format`` is
    ``channels_first`` or ``channels_last``; ``threads`` those of the framework's own pools.
    """
    if os.environ.get("KERAS_BACKEND") != backend:
        raise RuntimeError("KERAS_BACKEND is %r, not %r" % (os.environ.get("KERAS_BACKEND"), backend))
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    elif backend == "torch":
        import torch

        torch.set_num_threads(threads)
    elif backend == "cntk":
        import cntk

        cntk.cntk_py.set_max_num_cputhreads(threads)
    import keras

    # Keras 3 warns that HDF5 is a legacy format at every save.
    logging.getLogger("absl").setLevel(logging.ERROR)
    if keras.backend.backend() != backend:
        raise RuntimeError("keras loaded %s, not %s" % (keras.backend.backend(), backend))
    keras.backend.set_image_data_format(data_format)
    seed_all(keras, seed)
    return keras


def seed_all(keras, seed):
    """Seed Python, NumPy and, where Keras can, the framework."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed)
    if hasattr(keras.utils, "set_random_seed"):
        keras.utils.set_random_seed(seed)


def forget_models(keras):
    """Free what Keras keeps of the models that were built, and name layers from the first number on again."""
    getattr(keras.backend, "clear_session", getattr(keras.backend, "reset_uids", None))()  # Keras 2 on Theano has the second


@contextlib.contextmanager
def kept_name_scopes(keras):
    """Leave the scopes that name Keras 2's tensors as they were: after an exception it stays in those that were entered."""
    module = sys.modules.get("keras.backend.%s_backend" % keras.backend.backend())
    scopes = getattr(module, "NAME_SCOPE_STACK", [])
    depth = len(scopes)
    try:
        yield
    finally:
        del scopes[depth:]


def versions(keras, backend):
    """The versions for the record, by name: the interpreter, keras, numpy and the backend's package."""
    import numpy

    versions_by_name = {"python": sys.version.split()[0], "keras": keras.__version__, "numpy": numpy.__version__}
    module = sys.modules.get(backend)
    if module is not None:
        versions_by_name[backend] = module.__version__
    return versions_by_name
