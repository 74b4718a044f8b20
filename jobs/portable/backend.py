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
    """Seed Python, NumPy and, where Keras can, the framework; TensorFlow, if another is the backend, when it is imported."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed)
    if hasattr(keras.utils, "set_random_seed"):
        with without_import_of_tensorflow(keras) as is_absent:
            keras.utils.set_random_seed(seed)
        if is_absent:
            # Whoever imports it afterwards, as for tf.data, finds it seeded.
            others = [finder for finder in sys.meta_path if not isinstance(finder, _SeedTensorFlow)]
            sys.meta_path[:] = [_SeedTensorFlow(seed)] + others


@contextlib.contextmanager
def without_import_of_tensorflow(keras):
    """Within it, Keras takes TensorFlow for absent, unless it is the backend or imported already: its import takes seconds.

    Gives whether it does.
    """
    lazy_module = getattr(sys.modules.get("keras.src.utils.module_utils"), "tensorflow", None)
    if (
        keras.backend.backend() == "tensorflow"
        or "tensorflow" in sys.modules
        or getattr(lazy_module, "_available", 0) is not None
    ):
        yield False
        return
    lazy_module._available = False
    try:
        yield True
    finally:
        lazy_module._available = None


class _SeedTensorFlow(object):
    """Seeds TensorFlow when it is imported; a finder of Python 3."""

    def __init__(self, seed):
        self.seed = seed

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_seed(module):
                execute(module)
                module.random.set_seed(self.seed)

            spec.loader.exec_module = execute_and_seed
        return spec


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
