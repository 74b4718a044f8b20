"""Which items of two prepared data are the same: those whose values are. Python 2.7 and 3."""

from __future__ import print_function

import hashlib

_BLOCK = 1024
"""Items that are converted at a time."""


def digests(items):
    """Of each item of an array a digest of its values, as float32, which models are trained in."""
    import numpy

    found = []
    for begin in range(0, len(items), _BLOCK):
        # -0.0 + 0.0 is 0.0.
        block = numpy.ascontiguousarray(items[begin : begin + _BLOCK], dtype="float32") + numpy.float32(0)
        found += [hashlib.sha256(item.tobytes()).digest() for item in block]
    return found


def learnt_before(x, earlier, new):
    """Of each of the items ``x`` whether one model was trained on it, and another was not.

    ``earlier`` and ``new``: the digests of what they were trained on.
    """
    import numpy

    earlier, new = set(earlier), set(new)
    return numpy.array([digest in earlier and digest not in new for digest in digests(x)], dtype=bool)
