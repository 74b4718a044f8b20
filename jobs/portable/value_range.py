"""The range of inputs: whether they are on the scale of the training inputs, and bringing them to it. Python 2.7 and 3."""

from __future__ import print_function

from jobs.portable.inputs import WrongInput

BYTE = 255.0
"""What bytes (uint8) are divided by; a fraction in 0..1 is this part of it."""
BLOCK = 4096  # items that are looked at at a time
FEW = 10  # rows of features below which their range says little
ABOVE_IMAGES, ABOVE_FEATURES, BELOW = 4.0, 10.0, 50.0
"""How many times larger, or smaller, than the training values others may be, in their largest and in their mean magnitude."""
FRACTIONS_BELOW = 8.0  # the same for values of at most 1, which look like fractions
CENTRED = 0.1  # the share of values below 0 from which on images are centred on 0
CENTRED_FEATURES = 0.25  # and features


def value_range(x):
    """What is compared of an array of numbers (items, ...), as JSON values: dtype, rank, smallest, largest, mean magnitude, the
    share below 0, whether all are whole.
    """
    import numpy

    count, magnitude, below, whole = 0, 0.0, 0, True
    smallest, largest = float("inf"), float("-inf")
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK]
        smallest, largest = min(smallest, float(block.min())), max(largest, float(block.max()))
        count += block.size
        magnitude += float(numpy.abs(block.astype("float64")).sum())
        below += int((block < 0).sum()) if block.dtype.kind in "if" else 0
        if whole and block.dtype.kind == "f":
            whole = bool((block == numpy.round(block)).all())
    return {
        "dtype": x.dtype.name,
        "rank": int(x.ndim),
        "items": int(len(x)),
        "smallest": smallest,
        "largest": largest,
        "mean_magnitude": magnitude / max(1, count),
        "below_zero": float(below) / max(1, count),
        "whole": whole,
    }


def to_training_scale(x, name, training, training_name="x_train"):
    """Inputs on the scale of the training inputs, whose :func:`value_range` is given, and what was done to them ("" for nothing).

    Bytes and fractions in 0..1 are brought to each other by 255; other numbers are taken as they are. Raises WrongInput for
    those whose range shows that they are on another scale.
    """
    own = value_range(x)
    most = _magnitude(own)
    if most == 0:
        return x, ""
    is_image = own["rank"] == 4
    if _are_bytes(training) and x.dtype.kind == "f" and _are_fractions(own) and not own["whole"]:
        done = "%s has fractions in 0..1, %s bytes: multiplied by 255" % (name, training_name)
        return (x.astype("float32") * BYTE).astype("float32"), done
    if _are_bytes(own) and _are_fractions(training) and (is_image or most >= 2 * FRACTIONS_BELOW):
        done = "%s has bytes, %s fractions in 0..1: divided by 255" % (name, training_name)
        return (x.astype("float32") / BYTE).astype("float32"), done
    if _is_another_scale(own, training, is_image):
        ranges = "%s is %s, %s is %s" % (name, _description(own), training_name, _description(training))
        raise WrongInput(ranges + ": on another scale: give both on the same, as bytes (uint8) or as fractions in 0..1, say")
    if x.dtype.name == "float16" and training["dtype"] != "float16":
        # It cannot hold the numbers that the others are divided by.
        x = x.astype("float32")
    return x, ""


def _magnitude(values):
    return max(abs(values["smallest"]), abs(values["largest"]))


def _are_bytes(values):
    """Unsigned 8-bit integers that are no flags of 0 and 1."""
    return values["dtype"] == "uint8" and values["largest"] > 1


def _are_fractions(values):
    return values["smallest"] >= 0 and values["largest"] <= 1


def _is_another_scale(own, training, is_image):
    """Whether ranges differ more than those of one kind of inputs do: both the largest and the mean magnitude, or the sign."""
    most, training_most = _magnitude(own), _magnitude(training)
    if training_most == 0:
        return False
    mean = max(training["mean_magnitude"], 1e-30)
    above = ABOVE_IMAGES if is_image else ABOVE_FEATURES
    if most > above * training_most and own["mean_magnitude"] > above * mean:
        return True
    is_few = not is_image and own["items"] < FEW
    if most <= 1 and training_most >= FRACTIONS_BELOW * max(most, 0.5):
        # Fractions where the training has whole numbers, or 0 and 1 where it has a range of them.
        if not is_few or (training["whole"] and not own["whole"]):
            return True
    if is_few:
        return False
    if most * BELOW < training_most and own["mean_magnitude"] * BELOW < mean:
        return True
    centred = CENTRED if is_image else CENTRED_FEATURES
    shares = own["below_zero"], training["below_zero"]
    return min(shares) == 0 and max(shares) >= centred


def _description(values):
    return "%s from %g to %g" % (values["dtype"], values["smallest"], values["largest"])
