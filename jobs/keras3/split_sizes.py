"""How many items of a test set are predicted, and whether enough are left to validate with. Without NumPy, for `check`."""

from __future__ import annotations

FEW_VALIDATION_ITEMS = 50
"""Below so many, the accuracies that members are weighted by differ by chance: 7 % is the standard error of 80 % on 32 items."""
HELD_OUT = 100
"""Test items that are kept for prediction, as in the article that this work comes from; half of a smaller test set."""


def default_holdout(items: int) -> int:
    """How many items of a test set are predicted where the configuration does not say it."""
    return HELD_OUT if items > HELD_OUT else items // 2


def validation_warnings(items: int, has_holdout: bool) -> list[str]:
    """The warning that a validation set is too small to weight members by, if it is."""
    if items >= FEW_VALIDATION_ITEMS:
        return []
    number = "1 item" if items == 1 else f"{items} items"
    ways = "more data, or a smaller data.holdout" if has_holdout else "more data"
    return [
        f"the validation set has {number}: by chance alone the accuracies that weight the members differ: give more validation "
        f"items ({ways}), or `method: uniform`, which learns nothing of them; `calibrated` needs such items as well"
    ]
