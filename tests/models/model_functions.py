"""Model functions as other people write them, good and bad, for Keras 2 and 3 (Python 2.7 and 3). Three classes, six features."""

import os
import struct
import sys

import keras
import numpy as np
from keras import layers

KERAS_3 = not keras.__version__.startswith("2")
if KERAS_3:
    from keras import ops

    log, total = ops.log, lambda x: ops.sum(x, axis=-1)
    class_numbers = keras.losses.sparse_categorical_crossentropy
else:
    import keras.backend as K

    log, total = K.log, lambda x: K.sum(x, axis=-1)
    class_numbers = K.sparse_categorical_crossentropy


def compiled(model, loss="categorical_crossentropy", optimizer="adam"):
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def dense(classes, shape, activation="softmax", units=8):
    first = layers.Dense(units, activation="relu", input_shape=tuple(shape))
    return keras.models.Sequential([first, layers.Dense(classes, activation=activation)])


class Scale(layers.Layer):
    def build(self, shape):
        self.factors = self.add_weight(shape=(int(shape[-1]),), initializer="ones", name="factors")
        super(Scale, self).build(shape)

    def call(self, x):
        return x * self.factors

    def compute_output_shape(self, shape):
        return shape


def composed(shape, classes, hyperparameters):
    """Plain operations, a custom layer, a Lambda, a nested model, a layer that is used twice."""
    scale = 2.0
    x = layers.Input(tuple(shape))
    inner = keras.models.Sequential([layers.Dense(8, activation="relu", input_shape=tuple(shape)), layers.BatchNormalization()])
    h = layers.Add()([inner(x), inner(layers.Lambda(lambda t: t * scale)(x))])
    h = Scale()(h)
    if KERAS_3:
        h = h + layers.Dense(8)(h)
        h = layers.Concatenate()([h[:, :3], ops.relu(h[:, 3:])])
    return compiled(keras.models.Model(x, layers.Dense(classes, activation="softmax")(h)))


class Subclassed(keras.models.Model):
    def __init__(self, classes):
        super(Subclassed, self).__init__()
        self.hidden, self.last = layers.Dense(8, activation="relu"), layers.Dense(classes, activation="softmax")

    def call(self, x, training=None):
        return self.last(self.hidden(x))


def focal(y, p):
    return class_numbers(y, p)


def subclassed(shape, classes, hyperparameters):
    return compiled(Subclassed(classes), focal)


def my_sparse_thing(y, p):
    return -total(y * (1 - p) * log(p + 1e-7))


def unsaveable_optimizer(shape, classes, hyperparameters):
    class Warm(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.01 * ops.minimum(1.0, (ops.cast(step, "float32") + 1) / 10.0)

    model = dense(classes, shape)
    model.compile(keras.optimizers.Adam(Warm()), my_sparse_thing, metrics=[lambda y, p: ops.mean(p)])
    return model


def random_predictions(shape, classes, hyperparameters):
    x = layers.Input(tuple(shape))
    h = layers.Dropout(0.5)(layers.Dense(32, activation="relu")(x), training=True)
    return compiled(keras.models.Model(x, layers.Dense(classes, activation="softmax")(h)))


def sixteen_bits(shape, classes, hyperparameters):
    keras.config.set_floatx("bfloat16")
    try:
        return compiled(dense(classes, shape))
    finally:
        keras.config.set_floatx("float32")


def not_a_number_later(shape, classes, hyperparameters):
    class Broken(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return ops.where(step > 30, float("nan"), 0.01)

    return compiled(dense(classes, shape), optimizer=keras.optimizers.Adam(Broken()))


def loss_not_a_number_later(shape, classes, hyperparameters):
    """The weights stay good: nothing of the loss that is NaN depends on them."""

    class Step(layers.Layer):
        def build(self, shape):
            self.step = self.add_weight(shape=(), initializer="zeros", trainable=False, name="step")

        def call(self, x, training=None):
            if training:
                self.step.assign_add(1)
            self.add_loss(ops.where(self.step > 30, float("nan"), 0.0))
            return x

    x = layers.Input(tuple(shape))
    return compiled(keras.models.Model(x, layers.Dense(classes, activation="softmax")(Step()(x))))


def not_a_number(shape, classes, hyperparameters):
    rate = float("nan")
    optimizer = keras.optimizers.SGD(learning_rate=rate)
    return compiled(dense(classes, shape), optimizer=optimizer)


def once(shape, classes, hyperparameters):
    """It can be called once in a process."""
    if getattr(sys, "once_called", False):
        raise RuntimeError("called twice")
    sys.once_called = True
    return compiled(dense(classes, shape))


def other_weights(shape, classes, hyperparameters):
    return compiled(dense(classes, shape, units=1 + struct.unpack("<H", os.urandom(2))[0]))


def other_predictions(shape, classes, hyperparameters):
    factor = 1.0 + struct.unpack("<B", os.urandom(1))[0]
    x = layers.Input(tuple(shape))
    h = layers.Lambda(lambda t: t * factor)(x)
    return compiled(keras.models.Model(x, layers.Dense(classes, activation="softmax")(h)))


def from_outside(shape, classes, hyperparameters):
    units = os.environ.get("TEST_ACTIVATION", "relu")
    x = layers.Input(tuple(shape))
    h = layers.Dense(16, activation=units)(x)
    return compiled(keras.models.Model(x, layers.Dense(classes, activation="softmax")(h)))


def doubled(shape, classes, hyperparameters, function=lambda t: t * 2):
    x = layers.Input(tuple(shape))
    return compiled(keras.models.Model(x, layers.Dense(classes, activation="softmax")(layers.Lambda(function)(x))))


def malicious(shape, classes, hyperparameters):
    """The weights of ``doubled``, and a Lambda that leaves a mark wherever it is run."""
    return doubled(shape, classes, hyperparameters, lambda t: (__import__("os").environ.update(TEST_MARK="run"), t * 2)[1])


def nothing(shape, classes, hyperparameters):
    dense(classes, shape)


def tuple_of_two(shape, classes, hyperparameters):
    return dense(classes, shape), None


def class_itself(shape, classes, hyperparameters):
    return Subclassed


def function(shape, classes, hyperparameters):
    return dense


def generator(shape, classes, hyperparameters):
    yield dense(classes, shape)


def other_thing(shape, classes, hyperparameters):
    return np.zeros(3)


def uncompiled(shape, classes, hyperparameters):
    return dense(classes, shape)


def without_loss(shape, classes, hyperparameters):
    model = dense(classes, shape)
    model.compile("adam")
    return model


def two_losses(shape, classes, hyperparameters):
    return compiled(dense(classes, shape), ["mse", "mse"])


def loss_of_no_output(shape, classes, hyperparameters):
    x = layers.Input(tuple(shape))
    return compiled(keras.models.Model(x, layers.Dense(classes, activation="softmax", name="out")(x)), {"first": "mse"})


def other_input(shape, classes, hyperparameters):
    return compiled(dense(classes, (8,)))


def two_inputs(shape, classes, hyperparameters):
    x, y = layers.Input(tuple(shape)), layers.Input(tuple(shape))
    return compiled(keras.models.Model([x, y], layers.Dense(classes, activation="softmax")(layers.Add()([x, y]))))


def two_outputs(shape, classes, hyperparameters):
    x = layers.Input(tuple(shape))
    last = [layers.Dense(classes, activation="softmax")(x) for _ in range(2)]
    return compiled(keras.models.Model(x, last), ["mse", "mse"])


def five_columns(shape, classes, hyperparameters):
    return compiled(dense(5, shape))


def one_sigmoid(shape, classes, hyperparameters):
    return compiled(dense(1, shape, "sigmoid"), "binary_crossentropy")


def matrices(shape, classes, hyperparameters):
    x = layers.Input(tuple(shape))
    h = layers.Reshape((3, 2))(x)
    return compiled(keras.models.Model(x, layers.Dense(classes, activation="softmax")(h)))


def logits(shape, classes, hyperparameters):
    return compiled(dense(classes, shape, None), keras.losses.CategoricalCrossentropy(from_logits=True))


def sigmoids(shape, classes, hyperparameters):
    return compiled(dense(classes, shape, "sigmoid"), "binary_crossentropy")
