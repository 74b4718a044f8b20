"""The model of benchmarks/night.py, and the bare program beside it; both tell the moment of their first step. Python 2.7 and 3.

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
    made = _build(keras, input_shape, classes)
    fit = made.fit

    def told(*arguments, **options):
        options["callbacks"] = [_first(keras)] + options["callbacks"]
        return fit(*arguments, **options)

    made.fit = told
    return made


def _build(keras, input_shape, classes):
    layers = keras.layers
    made = keras.models.Sequential()
    made.add(layers.Conv2D(32, (3, 3), padding="same", activation="relu", input_shape=tuple(input_shape)))
    made.add(layers.MaxPooling2D((2, 2)))
    made.add(layers.Conv2D(64, (3, 3), padding="same", activation="relu"))
    made.add(layers.Flatten())
    made.add(layers.Dense(128, activation="relu"))
    made.add(layers.Dense(classes, activation="softmax"))
    made.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return made


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
