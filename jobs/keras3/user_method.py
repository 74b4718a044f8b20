"""The method `file.py:function`: the user's own function combines the members. Called, and what it returns checked."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.keras3.pools import GivenProbabilities, LinearPool, Pool
from jobs.portable.inputs import WrongInput, one_line
from jobs.portable.model_checks import probability_problem
from jobs.portable.user_code import user_function

LEAVE_ONE_OUT_SECONDS = 60.0
"""After so long the function is not called again without a further member: what that one adds is unknown."""


@dataclass(frozen=True)
class ValidationData:
    """What the members predict of the validation items, (items, classes) each, and the items' class numbers (items,)."""

    probabilities: Sequence[Any]
    labels: Any

    def without(self, member: int) -> ValidationData:
        """The same of the other members."""
        return ValidationData([own for n, own in enumerate(self.probabilities) if n != member], self.labels)


class UserMethod:
    """A function of the user's: ``combine(probabilities, validation_probabilities, validation_labels)``.

    It gets float32 arrays (members, items, classes), copies of its own, and int64 class numbers (items,), and returns the
    ensemble's probabilities (items, classes), or a weight for each member. Random numbers of `random` and NumPy begin anew at
    each call. Raises WrongInput if there is no such function.
    """

    def __init__(self, reference: str, code: str, seed: int) -> None:
        self._reference, self._seed = reference, seed
        self._function = user_function(reference, code)

    def __call__(self, members: Sequence[Any], validation: ValidationData) -> Pool:
        """The pool that the function makes of these members' probabilities; raises WrongInput for what is none."""
        random.seed(self._seed)
        np.random.seed(self._seed)
        given = [np.array(arrays, dtype="float32") for arrays in (members, validation.probabilities)]
        returned = self._function(*given, np.array(validation.labels, dtype="int64"))
        return checked(returned, len(members), np.shape(members[0]), f"ensemble.method: {self._reference}")

    def without_each(
        self, names: Sequence[str], members: Sequence[Any], validation: ValidationData
    ) -> tuple[dict[str, Pool], dict[str, str]]:
        """By member the pool of the others, and by each other member why there is none: the function may need them all."""
        pools: dict[str, Pool] = {}
        problems: dict[str, str] = {}
        give_up_at = time.monotonic() + LEAVE_ONE_OUT_SECONDS
        for n, name in enumerate(names if len(names) > 1 else ()):
            if time.monotonic() > give_up_at:
                problems[name] = f"not computed: without the members before it the function took {LEAVE_ONE_OUT_SECONDS:g} s"
                continue
            try:
                pools[name] = self([own for m, own in enumerate(members) if m != n], validation.without(n))
            except WrongInput as error:
                problems[name] = one_line(f"without it: {error.args[0]}")
            except (Exception, SystemExit) as error:  # a function for all of its members is right too
                problems[name] = one_line(f"without it, the function fails: {type(error).__name__}: {error}"[:300])
        return pools, problems


def checked(returned: Any, members: int, shape: tuple[int, ...], where: str) -> Pool:
    """The pool of what a function returned: probabilities of ``shape`` (items, classes), or weights (members,).

    Raises WrongInput, one sentence that begins with ``where``, for what is neither.
    """
    needed = f"return probabilities of the shape {shape}, (items, classes), or a weight for each of the {members} members"
    if returned is None:
        raise WrongInput(f"{where} returns nothing: {needed}")
    if np.ma.is_masked(returned):
        raise WrongInput(f"{where} returns masked values: fill them")
    try:
        array = np.asarray(returned)
    except (ValueError, TypeError, RuntimeError) as error:
        raise WrongInput(f"{where} returns no array: {error}: {needed}") from error
    if array.dtype.kind not in "iufb":
        raise WrongInput(f"{where} returns {type(returned).__name__} of {array.dtype}, not numbers: {needed}")
    if array.shape not in ((members,), shape):
        raise WrongInput(f"{where} returns the shape {array.shape}: {needed}")
    array = array.astype("float64")
    what = "a weight" if array.shape == (members,) else "a probability"
    if not np.isfinite(array).all():
        place = tuple(int(n) for n in np.argwhere(~np.isfinite(array))[0])
        raise WrongInput(f"{where} returns {what} that is no number: {array[place]} at {list(place)}")
    if array.shape == (members,):
        if array.min() < 0 or array.max() <= 0:
            raise WrongInput(f"{where} returns the weights {array.tolist()}: none may be below 0, nor all of them 0")
        shares = array / array.max()  # first: a sum of large numbers may be infinite
        return LinearPool(shares / shares.sum())
    problem = probability_problem(array)
    if problem:
        raise WrongInput(f"{where} returns no probabilities: {problem}")
    return GivenProbabilities(array.clip(0.0, 1.0).astype("float32"))
