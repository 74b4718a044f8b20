"""The built-in models, and the call of a user's: every Keras family, Python 2.7 and 3."""

from __future__ import print_function

try:
    from collections.abc import Mapping
except ImportError:  # Python 2.7
    from collections import Mapping

from jobs.portable.inputs import WrongInput, user_function

OURS = ("epochs", "batch_size", "patience", "optimizer", "learning_rate", "seed")
OPTIMIZERS = {
    "adam": "Adam",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
}


class Hyperparameters(Mapping):
    """A mapping that knows which of its keys were read."""

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


def build(keras, reference, input_shape, classes, values, code, others=()):
    """The compiled model; raises WrongInput for a hyperparameter that it does not take and that is not of ``others``."""
    taken = Hyperparameters(values)
    function = BUILT_IN.get(reference)
    if function is not None:
        model = function(keras, input_shape, classes, taken)
    else:
        model = user_function(reference, code)(input_shape, classes, taken)
    unread = sorted(set(values) - taken.read - set(OURS) - set(others))
    if unread:
        raise WrongInput("hyperparameters.%s: the model %s does not take it" % (unread[0], reference))
    shape = tuple(getattr(model, "output_shape", ()))
    if shape != (None, classes):
        raise WrongInput("model: %s gives outputs of shape %s, not (None, %d)" % (reference, shape, classes))
    return model


def cnn(keras, input_shape, classes, values):
    """The VGG-like network: blocks of two 3x3 convolutions, a pool where the image allows it, dropout."""
    layers = keras.layers
    if len(input_shape) != 3:
        raise WrongInput("model: cnn needs images, not inputs of shape %s" % (tuple(input_shape),))
    first = keras.backend.image_data_format() == "channels_first"
    size = min(input_shape[1:] if first else input_shape[:-1])
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
    """Dense layers on the flattened input."""
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
    name = OPTIMIZERS.get(str(values.get("optimizer", "adam")).lower())
    if name is None:
        known = ", ".join(sorted(OPTIMIZERS))
        raise WrongInput("hyperparameters.optimizer: %s: give one of %s" % (values.get("optimizer"), known))
    optimizer = getattr(keras.optimizers, name)(learning_rate=values.get("learning_rate", 0.001))
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model


BUILT_IN = {"cnn": cnn, "mlp": mlp}
