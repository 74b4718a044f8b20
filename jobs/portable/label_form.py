"""Whether a loss takes class numbers or one-hot rows, by what it does with both. Keras 2 and 3, Python 2.7 and 3."""

from __future__ import print_function

from jobs.portable.backend import kept_name_scopes

LABELS = 8
"""The most classes that a loss is tried with."""


def takes_class_numbers(keras, model, classes):
    """Whether the loss of a compiled model takes class numbers (items,), and not one-hot rows (items, ``classes``).

    Keras's own losses are known by their names. Any other is evaluated on both: the form is right in which predictions of
    the right classes have a smaller loss than predictions of others. Where both are right, or there is no loss, it is one-hot.
    """
    loss = model.loss
    if isinstance(loss, (list, tuple, dict)):
        (loss,) = loss.values() if isinstance(loss, dict) else loss
    if not loss or classes < 2:
        return False
    name = _own_name(keras, loss)
    if name is not None:
        return "sparse" in name.lower()
    one_hot, numbers = _Trial(keras, loss, classes), _Trial(keras, loss, classes)
    one_hot.evaluate(one_hot=True)
    if one_hot.is_right:
        return False
    numbers.evaluate(one_hot=False)
    if numbers.is_right or one_hot.is_finite != numbers.is_finite:
        return numbers.is_right or numbers.is_finite
    # It distinguishes no classes: its name is all there is to go by.
    return "sparse" in str(getattr(loss, "name", None) or getattr(loss, "__name__", None) or loss).lower()


def _own_name(keras, loss):
    """The name of a loss of Keras itself; None for any other, and for a wrapper of one."""
    if not callable(loss):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return None
    own = loss if hasattr(loss, "__name__") else type(loss)
    is_own = str(getattr(own, "__module__", "")).split(".")[0] == "keras"
    return own.__name__ if is_own and own.__name__ not in ("Loss", "LossFunctionWrapper") else None


class _Trial(object):  # noqa: UP004 (Python 2.7)
    """A loss, evaluated by Keras as in a training; ``is_right`` and ``is_finite`` say what came of it."""

    def __init__(self, keras, loss, classes):
        self.keras, self.loss, self.classes = keras, loss, classes
        self.is_right = self.is_finite = False

    def evaluate(self, one_hot):
        """Compare the loss of predictions of the right classes with that of predictions of others."""
        import numpy

        labels = min(self.classes, LABELS)
        # The number of items differs from that of classes: arrays of wrong shapes are not to be broadcast.
        y = numpy.arange((2 if 2 * labels != self.classes else 3) * labels) % labels
        targets = numpy.eye(self.classes, dtype="float32")[y] if one_hot else y
        layers = self.keras.layers
        inputs = layers.Input((self.classes,))
        model = self.keras.models.Model(inputs, layers.Activation("linear")(inputs))
        try:
            with kept_name_scopes(self.keras):
                model.compile(optimizer="sgd", loss=self.loss)
                losses = [
                    float(model.test_on_batch(_predictions(self.classes, (y + shift) % labels), targets))
                    for shift in range(min(labels, 4))
                ]
        except Exception:  # a form that it does not take may fail in any way
            return
        self.is_finite = bool(numpy.isfinite(losses).all())
        margin = 1e-6 + 1e-5 * abs(losses[0])
        self.is_right = self.is_finite and min(losses[1:]) - losses[0] > margin


def _predictions(classes, predicted):
    """Probabilities (items, ``classes``), float32, of which the largest is that of ``predicted`` (items,)."""
    import numpy

    rows = numpy.full((len(predicted), classes), 0.3 / (classes - 1), dtype="float32")
    rows[numpy.arange(len(predicted)), predicted] = 0.7
    return rows
