"""How many items a configuration's dataset has, where that is known before it is prepared, and warnings about it."""

from __future__ import annotations

from pathlib import Path

from cronjobs.experiment import Experiment
from jobs.keras3.split_sizes import default_holdout, validation_warnings

_KNOWN = {"digits": (1797, 0), "mnist": (60_000, 10_000), "cifar10": (50_000, 10_000)}
"""Training and test items; without a test set the tool splits one off."""


def warnings(experiment: Experiment) -> list[str]:
    """That few items are left to weight members by, or none; nothing where the numbers are not known."""
    if experiment.ensemble is None:
        return []
    sizes = items_to_test(experiment)
    if sizes is None:
        return []
    test, held_out = sizes
    if held_out >= test:
        return [f"data: the test set has {test} items and {held_out} are held out: none is left for validation, runs will fail"]
    if experiment.ensemble.method != "accuracy":
        return []  # nothing is learnt of them, or priors make few enough
    return [f"data: {warning}" for warning in validation_warnings(test - held_out, experiment.data.predict == "holdout")]


def items_to_test(experiment: Experiment) -> tuple[int, int] | None:
    """How many items the test set has, and how many of them are held out; the rest is for validation. None where not known."""
    data = experiment.data
    sizes = _KNOWN.get(data.dataset) or _sizes_of_file(experiment.folder / data.dataset)
    if sizes is None:
        return None
    train, test = sizes
    test = test or train // 5
    holdout = data.holdout if data.holdout is not None else default_holdout(test)
    return test, holdout if data.predict == "holdout" else 0


def _sizes_of_file(path: Path) -> tuple[int, int] | None:
    """The training and test items of an .npz, by the headers of its arrays; None where they cannot be read."""
    if path.suffix != ".npz" or not path.is_file():
        return None
    from jobs.keras3 import array_files  # late: numpy takes longer than all the rest of `check`

    try:
        headers = array_files.read_headers(path)
        train, test = (headers[name].shape[0] if name in headers else 0 for name in ("x_train", "x_test"))
    except (OSError, array_files.BadArrays, IndexError):
        return None
    return (train, test) if train else None
