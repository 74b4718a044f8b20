"""The built-in models, and how a model function is called. Keras 2 and 3, Python 2.7 and 3."""

from __future__ import print_function

try:
    from collections.abc import Mapping
except ImportError:  # Python 2.7
    from collections import Mapping

from jobs.portable import model_checks
from jobs.portable.inputs import WrongInput
from jobs.portable.user_code import user_function

TRAINING_HYPERPARAMETERS = ("epochs", "batch_size", "patience", "optimizer", "learning_rate", "seed")
"""Those that the training itself takes; a model function may read them too."""
OPTIMIZERS = {
    "adam": "Adam",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
}
"""Keras's classes by the names in a configuration."""


class Hyperparameters(Mapping):
    """A read-only mapping that keeps the names of the keys that were read, in ``read``."""

    def __init__(self, values):
        self._values, self.read = dict(values), set()

    def __getitem__(self, key):
        value = self._values[key]
        self.read.add(key)
        return value

    def __contains__(self, key):
        return key in self._values

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)


def build(keras, reference, input_shape, classes, values, code, data_hyperparameters=()):
    """The compiled model that ``reference`` names: a built-in one, or of a function in the folder ``code``.

    ``input_shape``: of one item; ``classes``: their number; ``values``: the hyperparameters. Raises WrongInput for one that
    neither the training, nor the model, nor the data function (``data_hyperparameters``) takes, and for what is no compiled
    model or cannot be trained on such items.
    """
    hyperparameters = Hyperparameters(values)
    model = call(keras, reference, input_shape, classes, hyperparameters, code)
    unread = sorted(set(values) - hyperparameters.read - set(TRAINING_HYPERPARAMETERS) - set(data_hyperparameters))
    if unread:
        raise WrongInput("hyperparameters.%s: the model %s does not take it" % (unread[0], reference))
    model_checks.check_input_shape(model, reference, input_shape)
    return model


def call(keras, reference, input_shape, classes, hyperparameters, code):
    """What the model function ``reference`` returns for :class:`Hyperparameters`; raises WrongInput for no compiled model."""
    function = BUILT_IN.get(reference)
    if function is not None:
        return function(keras, input_shape, classes, hyperparameters)
    model = user_function(reference, code)(input_shape, classes, hyperparameters)
    model_checks.check_model(keras, model, reference)
    return model


def cnn(keras, input_shape, classes, values):
    """A VGG-like network: blocks of two 3x3 convolutions with dropout, pooled by 2 while the image has 4 pixels or more."""
    layers = keras.layers
    if len(input_shape) != 3:
        raise WrongInput("model: cnn needs images, not inputs of shape %s" % (tuple(input_shape),))
    channels_first = keras.backend.image_data_format() == "channels_first"
    size = min(input_shape[1:] if channels_first else input_shape[:-1])
    model = keras.models.Sequential()
    options = {"input_shape": tuple(input_shape)}
    for filters in values.get("filters", [32, 64]):
        for _ in range(2):
            model.add(layers.Conv2D(filters, (3, 3), padding="same", activation="relu", **options))
            options = {}
        if size >= 4:
            model.add(layers.MaxPooling2D(pool_size=(2, 2)))
            size //= 2
        model.add(layers.Dropout(values.get("dropout", 0.25)))
    model.add(layers.Flatten())
    model.add(layers.Dense(values.get("dense", 512), activation="relu"))
    model.add(layers.Dropout(values.get("dense_dropout", 0.5)))
    model.add(layers.Dense(classes, activation="softmax"))
    return compiled(keras, model, values)


def mlp(keras, input_shape, classes, values):
    """Dense layers with dropout on the flattened input."""
    layers = keras.layers
    model = keras.models.Sequential()
    options = {"input_shape": tuple(input_shape)}
    if len(input_shape) > 1:
        model.add(layers.Flatten(**options))
        options = {}
    for units in values.get("hidden", [128]):
        model.add(layers.Dense(units, activation="relu", **options))
        options = {}
        model.add(layers.Dropout(values.get("dropout", 0.0)))
    model.add(layers.Dense(classes, activation="softmax", **options))
    return compiled(keras, model, values)


def compiled(keras, model, values):
    """The model compiled with the optimizer and learning rate of ``values``; raises WrongInput for an unknown optimizer."""
    name = OPTIMIZERS.get(str(values.get("optimizer", "adam")).lower())
    if name is None:
        known = ", ".join(sorted(OPTIMIZERS))
        raise WrongInput("hyperparameters.optimizer: there is no optimizer %s: use one of %s" % (values.get("optimizer"), known))
    optimizer = getattr(keras.optimizers, name)(learning_rate=values.get("learning_rate", 0.001))
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model


BUILT_IN = {"cnn": cnn, "mlp": mlp}
