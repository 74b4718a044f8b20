"""What a model function must return, and what its model must predict: one sentence for each fault. Python 2.7 and 3."""

from __future__ import print_function

import inspect

from jobs.portable.inputs import WrongInput

SUM_TOLERANCE = 1e-3
"""By how much the probabilities of an item may miss [0, 1], and their sum 1."""
HALF_TOLERANCE = 1e-2
"""The same for a model that computes in 16 bits."""


def check_model(keras, value, reference):
    """Raise WrongInput unless what the model function ``reference`` returned is a compiled Keras model."""
    if value is None:
        raise WrongInput("model: %s returns nothing: end it with `return model`" % reference)
    if inspect.isgenerator(value):
        raise WrongInput("model: %s is a generator (it has a `yield`): return the model instead" % reference)
    if getattr(inspect, "iscoroutine", inspect.isgenerator)(value):
        value.close()
        raise WrongInput("model: %s is an `async` function: make it a plain one" % reference)
    if isinstance(value, type):
        name = value.__name__
        raise WrongInput("model: %s returns the class %s: return a model of it, %s(...)" % (reference, name, name))
    if isinstance(value, (list, tuple, dict)):
        kind = type(value).__name__
        raise WrongInput("model: %s returns a %s of %d: return one model alone" % (reference, kind, len(value)))
    if inspect.isroutine(value):
        raise WrongInput("model: %s returns a function: return the model that it builds" % reference)
    if not isinstance(value, keras.models.Model):
        name = "%s.%s" % (type(value).__module__, type(value).__name__)
        raise WrongInput("model: %s returns a %s, which is no model of `import keras` %s" % (reference, name, keras.__version__))
    if not (value.compiled if hasattr(value, "compiled") else getattr(value, "optimizer", None)):
        raise WrongInput(
            "model: %s returns a model that is not compiled: call model.compile(optimizer=..., loss=...) before `return model`"
            % reference
        )


def check_loss(keras, model, reference):
    """Raise WrongInput unless a compiled model has a loss for its one output, or a training step of its own."""
    loss = model.loss
    if not loss:
        own = any(
            getattr(type(model), name, None) is not getattr(keras.models.Model, name, None)
            for name in ("train_step", "compute_loss")
        )
        if not own and not model.losses:
            raise WrongInput(
                "model: %s compiles its model without a loss: add one, model.compile(loss='categorical_crossentropy', ...)"
                % reference
            )
    elif isinstance(loss, (list, tuple, dict)) and len(loss) > 1:
        raise WrongInput("model: %s compiles its model with %d losses for one output: give one" % (reference, len(loss)))
    elif isinstance(loss, dict) and getattr(model, "output_names", None):
        (name,) = loss
        if name not in model.output_names:
            raise WrongInput(
                "model: %s gives a loss for the output %r, and the model's output is called %r: give the loss without a name"
                % (reference, str(name), str(model.output_names[0]))
            )


def check_input_shape(model, reference, item_shape):
    """Raise WrongInput if a model takes several inputs, or items of another shape than ``item_shape``.

    A model without a declared input, as of a class of the user's, takes what it can.
    """
    try:
        shape = model.input_shape
    except (AttributeError, ValueError, RuntimeError):
        return
    if isinstance(shape, dict) or (isinstance(shape, (list, tuple)) and shape and isinstance(shape[0], (list, tuple))):
        if len(shape) > 1:
            raise WrongInput("model: the model of %s has %d inputs: it must take one array" % (reference, len(shape)))
        shape = list(shape.values() if isinstance(shape, dict) else shape)[0]
    if not isinstance(shape, (list, tuple)):
        return
    # Keras adds or drops a last axis of 1 itself.
    takes, gets = _without_last_ones(shape[1:]), _without_last_ones(item_shape)
    if len(takes) != len(gets) or any(size not in (None, given) for size, given in zip(takes, gets)):
        raise WrongInput(
            "model: the model of %s takes items of the shape %s, the data's have the shape %s: use the argument input_shape"
            % (reference, _shape(shape[1:]), _shape(item_shape))
        )


def check_outputs(outputs, reference, items, classes):
    """Raise WrongInput unless a model predicted an array (``items``, ``classes``) of probabilities.

    Items for which it predicted NaN or infinity are not looked at.
    """
    if isinstance(outputs, (list, tuple, dict)):
        raise WrongInput(
            "model: the model of %s returns a %s of %d outputs: it must return one, of the shape (None, %d)"
            % (reference, type(outputs).__name__, len(outputs), classes)
        )
    if outputs.ndim != 2 or outputs.shape[1] != classes:
        shape = _shape((None,) + tuple(outputs.shape[1:]))
        hint = "Dense(%d, activation='softmax') as its last layer" % classes
        if outputs.ndim in (1, 2) and outputs.size == items and classes == 2:
            hint += " and loss='categorical_crossentropy' instead of one sigmoid"
        elif outputs.ndim > 2:
            hint = "Flatten() or a global pooling before " + hint
        raise WrongInput(
            "model: the model of %s has the output shape %s, not (None, %d): give it %s" % (reference, shape, classes, hint)
        )
    if len(outputs) != items:
        raise WrongInput("model: the model of %s gives %d rows for %d items" % (reference, len(outputs), items))
    problem = probability_problem(outputs)
    if problem:
        raise WrongInput(
            "model: the model of %s predicts no probabilities: %s: end it with Dense(%d, activation='softmax') "
            "and compile it with a loss that has from_logits=False" % (reference, problem, classes)
        )


def probability_problem(outputs):
    """Why an array (items, classes) holds no probabilities; empty if it does. Rows with NaN or infinity are left out."""
    import numpy

    tolerance = SUM_TOLERANCE if outputs.dtype.itemsize >= 4 else HALF_TOLERANCE
    rows = outputs.astype("float64")
    rows = rows[numpy.isfinite(rows).all(axis=1)]
    if not len(rows):
        return ""
    if rows.min() < -tolerance or rows.max() > 1 + tolerance:
        return "they lie from %.3g to %.3g, not in [0, 1]" % (rows.min(), rows.max())
    sums = rows.sum(axis=1)
    if abs(sums - 1).max() > tolerance:
        return "those of an item sum to %.3g up to %.3g, not to 1" % (sums.min(), sums.max())
    return ""


def _without_last_ones(shape):
    shape = tuple(shape)
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _shape(shape):
    """A shape in Python's own form, whatever the types of its numbers."""
    return "(%s%s)" % (", ".join("None" if size is None else "%d" % size for size in shape), "," if len(shape) == 1 else "")
