"""What a model of Keras 3's own layers computes, told by its configuration, without running it. Python 2.7 and 3.

To run a model is to compile it first, which takes a second of JAX, and longer the larger the model.
"""

from __future__ import print_function

from jobs.portable.backend import without_import_of_tensorflow


def structure(keras, model):
    """How a model computes: equal for two that compute the same from the same weights, whatever their layers are called.

    None where that cannot be told: for Keras 2, for anything in it that is not Keras's own, and for layers that keep something
    besides their weights and their configuration.
    """
    if type(model).__module__.split(".")[0] != "keras":
        return None
    try:
        with without_import_of_tensorflow(keras):
            config = model.get_config()
        return _without_names(config, _layer_names(config)) if _is_own(keras, config) else None
    except Exception:  # a layer that cannot say how it is configured
        return None


def gives_probabilities(keras, model, classes):
    """Whether a model surely predicts an array (items, ``classes``) of probabilities: it ends with a softmax of Keras's own."""
    if structure(keras, model) is None or not model.built:
        return False
    if len(model.outputs) != 1 or tuple(model.outputs[0].shape) != (None, classes):
        return False
    last = model.outputs[0]._keras_history.operation
    while isinstance(last, (keras.models.Sequential, keras.models.Model)) and len(last.outputs) == 1:
        last = last.outputs[0]._keras_history.operation
    if type(last) is keras.layers.Softmax:
        return last.axis in (-1, 1)
    return type(last) in (keras.layers.Dense, keras.layers.Activation) and last.activation is keras.activations.softmax


def _is_own(keras, value):
    """Whether all that a configuration names is Keras's own, and keeps nothing besides its weights."""
    if isinstance(value, dict):
        if value.get("class_name") not in (None, "__keras_tensor__"):
            name = value["class_name"]
            if str(value.get("module")).split(".")[0] != "keras" or value.get("registered_name") is not None:
                return False
            # A Lambda is a function of the user's; preprocessing layers learn from data when they are built.
            if name == "Lambda" or hasattr(getattr(keras.layers, name, None), "adapt"):
                return False
        return all(_is_own(keras, part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_own(keras, part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _layer_names(config):
    """The names of a model and of the layers in it, in their order, each with its number."""
    names = {}

    def add(part):
        names.setdefault(part.get("name"), len(names))
        for layer in part.get("layers") or ():
            add(layer["config"])

    add(config)
    names.pop(None, None)
    return names


def _without_names(value, names):
    if isinstance(value, dict):
        return {key: _without_names(part, names) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_names(part, names) for part in value]
    return "layer %d" % names[value] if isinstance(value, str) and value in names else value
