"""Which items are trained on, validated with and predicted: shuffled, or by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from jobs.keras3.split_sizes import default_holdout
from jobs.portable.inputs import WrongInput


def train_and_test(y: Any, seed: int, stratified: bool) -> tuple[Any, Any]:
    """The items to train on and the fifth to test with, as places in ``y``, the class numbers: by a shuffle seeded by ``seed``.

    ``stratified``: each class in its proportion. In any case the training gets an item of each class. Raises WrongInput.
    """
    order = np.random.RandomState(seed).permutation(len(y))
    count = len(order) // 5
    if count < 2:
        raise WrongInput(f"data: there are {len(order)} items: too few to train, validate and predict: give 10 or more")
    if stratified:
        return _by_class(order[::-1], y, count, keep=1)
    train, test = order[: len(order) - count], order[len(order) - count :]
    learnt, counts = np.unique(y[train], return_counts=True)
    missing = np.setdiff1d(np.unique(y), learnt)
    if len(missing):
        train, test, left = train.copy(), test.copy(), dict(zip(learnt.tolist(), counts.tolist(), strict=True))
        for number in missing.tolist():
            place = int(np.flatnonzero(y[test] == number)[0])
            spare = next((n for n in range(len(train) - 1, -1, -1) if left.get(int(y[train[n]]), 0) > 1), None)
            if spare is None:
                train, test = np.append(train, test[place]), np.delete(test, place)
                continue
            left[int(y[train[spare]])] -= 1
            train[spare], test[place] = test[place], train[spare]
    return train, test


def held_out(y: Any, holdout: int | None, stratified: bool) -> tuple[Any, Any]:
    """The test items to predict and those to validate with, as places in ``y``, their class numbers.

    ``holdout``: how many are predicted; without it `default_holdout`. Raises WrongInput where
    none is left to validate with.
    """
    count = default_holdout(len(y)) if holdout is None else holdout
    if len(y) < 2:
        raise WrongInput(
            f"data: the test set has {len(y)} items: too few to validate and predict: give more, or `predict: FILE.npz`"
        )
    if count >= len(y):
        problem = f"data.holdout: {count} is given, and the test set has {len(y)} items: none is left for validation"
        raise WrongInput(f"{problem}: give at most {len(y) - 1}")
    order = np.arange(len(y))
    if not stratified:
        return order[:count], order[count:]
    validation, predicted = _by_class(order, y, count, keep=0)
    return predicted, validation


def _by_class(order: Any, y: Any, count: int, keep: int) -> tuple[Any, Any]:
    """The others, and ``count`` places of ``order``, each class in its proportion: the first of each, in the order given.

    Of each class ``keep`` are left among the others. What the proportions leave over goes by the largest remainder.
    """
    numbers, counts = np.unique(y[order], return_counts=True)
    shares = counts * count / len(order)
    most = np.maximum(counts - keep, 0)
    quota = np.minimum(np.floor(shares).astype(int), most)
    for n in np.argsort(-(shares - np.floor(shares)), kind="stable"):
        if quota.sum() < count and quota[n] < most[n]:
            quota[n] += 1
    while quota.sum() < min(count, int(most.sum())):
        quota[int(np.argmax(most - quota))] += 1
    taken = np.zeros(len(order), dtype=bool)
    for number, size in zip(numbers, quota, strict=True):
        taken[np.flatnonzero(y[order] == number)[:size]] = True
    return order[~taken], order[taken]


def few_items(arrays: dict[str, Any], items: int) -> dict[str, Any]:
    """Prepared arrays cut to about so many items to train, validate and predict each, of each class the same number.

    For a check of the functions, which must be quick. A class has at least one item of those that it had.
    """
    cut = dict(arrays)
    for names, labels in ((("x_train", "y_train"), "y_train"), (("x_val", "y_val"), "y_val")):
        y = arrays[labels]
        classes = np.unique(y)
        each = max(1, items // len(classes))
        chosen = np.sort(np.concatenate([np.flatnonzero(y == number)[:each] for number in classes]))
        cut |= {name: arrays[name][chosen] for name in names}
    return cut | {name: arrays[name][:items] for name in ("x_predict", "ids", "y_predict") if name in arrays}
