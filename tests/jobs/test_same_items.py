"""Items that are the same: by their values, whatever their type."""

from __future__ import annotations

import numpy as np

from jobs.portable.same_items import digests, learnt_before


def test_by_value_in_any_type() -> None:
    values = np.arange(12).reshape(3, 2, 2, 1)
    for dtype in ("uint8", "int64", "float64", "float32"):
        assert digests(values.astype(dtype)) == digests(values)
    assert len(set(digests(np.repeat(values, 1000, axis=0)))) == 3
    assert digests(np.array([[0.0, 1.0]])) == digests(np.array([[-0.0, 1.0]])) != digests(np.array([[1.0, 0.0]]))
    assert digests(np.asfortranarray(np.arange(6.0).reshape(2, 3))) == digests(np.arange(6.0).reshape(2, 3))


def test_what_one_model_alone_was_trained_on() -> None:
    items = np.arange(20.0).reshape(10, 2)
    earlier, new = digests(items[[0, 1, 2, 3]]), digests(items[[3, 4, 5]])
    assert learnt_before(items[[0, 3, 4, 9]], earlier, new).tolist() == [True, False, False, False]
    assert not learnt_before(items, [], new).any()
