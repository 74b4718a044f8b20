"""The model of benchmarks/night.py, and the bare program beside it; both print the moment of their first step. Python 2.7 and 3.

`first_step.py BACKEND DATA.npz DATA_FORMAT` is the bare one.
"""

from __future__ import print_function

import sys
import time


def tell(what):
    print("moment %s %.3f" % (what, time.time()))
    sys.stdout.flush()


def model(input_shape, classes, hyperparameters):
    """The model for the tool: the moments of its making, by when everything is imported and read, and of its first step."""
    import keras

    tell("model")
    keras_model = _build(keras, input_shape, classes)
    fit = keras_model.fit

    def fit_and_tell(*arguments, **options):
        options["callbacks"] = [_first(keras)] + options["callbacks"]
        return fit(*arguments, **options)

    keras_model.fit = fit_and_tell
    return keras_model


def _build(keras, input_shape, classes):
    layers = keras.layers
    keras_model = keras.models.Sequential()
    keras_model.add(layers.Conv2D(32, (3, 3), padding="same", activation="relu", input_shape=tuple(input_shape)))
    keras_model.add(layers.MaxPooling2D((2, 2)))
    keras_model.add(layers.Conv2D(64, (3, 3), padding="same", activation="relu"))
    keras_model.add(layers.Flatten())
    keras_model.add(layers.Dense(128, activation="relu"))
    keras_model.add(layers.Dense(classes, activation="softmax"))
    keras_model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return keras_model


def _first(keras):
    class First(keras.callbacks.Callback):
        def __init__(self):
            super(First, self).__init__()
            self.over = False

        def on_train_batch_end(self, batch, logs=None):
            if not self.over:
                tell("step")
                self.over = True

    return First()


def bare(backend, path, data_format):
    tell("started")
    if backend == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    elif backend == "cntk":
        import cntk

        cntk.cntk_py.set_max_num_cputhreads(1)
    import keras
    import numpy

    keras.backend.set_image_data_format(data_format)
    tell("imported")
    data = numpy.load(path)
    x = (data["x"] / 16.0).astype("float32")
    x = x[:, None] if data_format == "channels_first" else x[..., None]
    y = numpy.eye(10, dtype="float32")[data["y"]]
    tell("model")
    _build(keras, x.shape[1:], 10).fit(x, y, batch_size=32, epochs=1, verbose=0, callbacks=[_first(keras)])


if __name__ == "__main__":
    bare(*sys.argv[1:])
