"""The bare Keras script that training through the tool is measured against. Python 2.7 and 3.

Usage: bare.py DATASET.npz BACKEND THREADS EPOCHS SEED DATA_FORMAT; prints the seconds of fit as its last line.
"""

from __future__ import print_function

import sys
import time

import numpy


def main(dataset, backend, threads, epochs, seed, data_format):
    if backend == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    elif backend == "cntk":
        import cntk

        cntk.cntk_py.set_max_num_cputhreads(threads)
    import keras
    from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

    keras.backend.set_image_data_format(data_format)
    numpy.random.seed(seed)
    if hasattr(keras.utils, "set_random_seed"):
        keras.utils.set_random_seed(seed)
    data = numpy.load(dataset)
    scale = float(abs(data["x_train"]).max())
    x, x_val = [(data[name] / scale).astype("float32") for name in ("x_train", "x_val")]
    if data_format == "channels_first":
        x, x_val = [x_part.transpose(0, 3, 1, 2).copy() for x_part in (x, x_val)]
    y, y_val = [keras.utils.to_categorical(data[name], 10) for name in ("y_train", "y_val")]
    model = keras.models.Sequential()
    model.add(Conv2D(32, (3, 3), padding="same", activation="relu", input_shape=x.shape[1:]))
    model.add(Conv2D(32, (3, 3), padding="same", activation="relu"))
    model.add(MaxPooling2D((2, 2)))
    model.add(Dropout(0.25))
    model.add(Conv2D(64, (3, 3), padding="same", activation="relu"))
    model.add(Conv2D(64, (3, 3), padding="same", activation="relu"))
    model.add(MaxPooling2D((2, 2)))
    model.add(Dropout(0.25))
    model.add(Flatten())
    model.add(Dense(512, activation="relu"))
    model.add(Dropout(0.5))
    model.add(Dense(10, activation="softmax"))
    model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=epochs)
    keep = keras.callbacks.ModelCheckpoint("/tmp/bare-best-%s.h5" % backend, monitor="val_loss", save_best_only=True)
    began = time.time()
    model.fit(x, y, batch_size=32, epochs=epochs, validation_data=(x_val, y_val), callbacks=[stop, keep], verbose=0)
    print(time.time() - began)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
