"""The method `calibrated`: weights learnt on validation data, then one temperature; both with a prior, so that few items do.

NumPy's own sums, and none of BLAS, whose threads would change the last bits: the same arrays give the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs.keras3.pools import SMALLEST, LinearPool, combine, weighted_mean, weights
from jobs.portable.inputs import WrongInput

CONCENTRATION = 2.0
"""Of the symmetric Dirichlet prior of the weights: each member counts as if it had explained an item alone."""
SPREAD = 1.0
"""The standard deviation of the normal prior of log T, whose mean is 0."""
FOLDS = 5
"""Into so many parts the validation items are divided for figures that are not in-sample."""
BINS = 10
"""Of the expected calibration error, equal in width."""
_LOG_TEMPERATURES = np.arange(-7.0, 8.0)
"""Between which log T is looked for: the penalised log loss need not have one minimum alone."""


def fit(probabilities: Sequence[Any], labels: Any) -> LinearPool:
    """The pool of members whose probabilities of validation items are given, (items, classes) each, by class numbers (items,)."""
    member_weights = fit_weights(probabilities, labels)
    return LinearPool(member_weights, fit_temperature(weighted_mean(probabilities, member_weights), labels))


def fit_weights(probabilities: Sequence[Any], labels: Any) -> Any:
    """The weights, float64 (members,), all above 0 and summing to 1, that maximise Σⱼ log Σᵢ wᵢ·pᵢ(yⱼ) + (α-1)·Σᵢ log wᵢ.

    The first term is minus the log loss of the linear pool, summed over the items; the second the logarithm of a Dirichlet(α)
    prior with α = `CONCENTRATION`: the weights are the maximum a posteriori (MAP; Bishop, Pattern Recognition and Machine
    Learning, 2006, 9.2 and B.20). The sum is strictly concave, so that there is one maximum. By Euler's theorem its Lagrange
    multiplier is λ = items + (α-1)·members, which leaves -f(w) + λ·Σ wᵢ to be minimised without a constraint.
    """
    optimize = _scipy_optimize()
    items, members = np.arange(len(labels)), len(probabilities)
    right = np.array([np.asarray(own[items, labels], dtype="float64") for own in probabilities]).clip(SMALLEST, None)
    multiplier = len(labels) + (CONCENTRATION - 1) * members

    def objective(values: Any) -> float:
        if values.min() <= 0:
            return float("inf")
        likelihood = np.log((values[:, None] * right).sum(axis=0)).sum()
        return float((multiplier * values.sum() - likelihood - (CONCENTRATION - 1) * np.log(values).sum()) / multiplier)

    def gradient(values: Any) -> Any:
        shares = right / (values[:, None] * right).sum(axis=0)
        return 1 - (shares.sum(axis=1) + (CONCENTRATION - 1) / values) / multiplier

    def hessian(values: Any) -> Any:
        shares = right / (values[:, None] * right).sum(axis=0)
        curvature = np.array([[(one * other).sum() for other in shares] for one in shares])
        return (curvature + np.diag((CONCENTRATION - 1) / values**2)) / multiplier

    start = np.full(members, 1.0 / members)
    if members == 1:
        return start
    found = optimize.minimize(objective, start, method="trust-exact", jac=gradient, hess=hessian, options={"gtol": 1e-12}).x
    return found / found.sum()


def fit_temperature(pooled: Any, labels: Any) -> float:
    """The temperature T that minimises the log loss of pᵀ⁻¹ / Σ pᵀ⁻¹, summed over the items, + (log T)² / (2·`SPREAD`²).

    ``pooled``: probabilities (items, classes). Temperature scaling (Guo et al., 2017, https://arxiv.org/abs/1706.04599) of one
    pool, with a normal prior of log T: 60 items do not lead it astray.
    """
    optimize = _scipy_optimize()
    scores = np.log(np.clip(pooled, SMALLEST, None))
    scores -= scores.max(axis=1, keepdims=True)
    right = scores[np.arange(len(labels)), labels]

    def objective(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        loss = np.log(np.exp(scores * inverse).sum(axis=1)).sum() - (right * inverse).sum()
        return float(loss + 0.5 * (log_temperature / SPREAD) ** 2)

    best = min(range(1, len(_LOG_TEMPERATURES) - 1), key=lambda n: objective(float(_LOG_TEMPERATURES[n])))
    bounds = (_LOG_TEMPERATURES[best - 1], _LOG_TEMPERATURES[best + 1])
    found = optimize.minimize_scalar(objective, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(np.exp(found.x))


def cross_fitted(probabilities: Sequence[Any], labels: Any) -> dict[str, Any]:
    """Log loss and calibration error on the validation items, each item's pool fitted on the other folds alone.

    ``before`` is the pool weighted by the accuracies on the other folds, ``after`` that of `fit`. All four are None for a single
    item.
    """
    names = ("loss_before", "loss_after", "calibration_error_before", "calibration_error_after")
    if len(labels) < 2:
        return {"folds": 0, **dict.fromkeys(names)}
    fold_of, count = folds(labels), min(FOLDS, len(labels))
    before, after = (np.zeros(np.shape(probabilities[0]), dtype="float32") for _ in range(2))
    for fold in range(count):
        inside = fold_of == fold
        others, own = ([np.asarray(member)[rows] for member in probabilities] for rows in (~inside, inside))
        accuracies = [float((member.argmax(axis=1) == labels[~inside]).mean()) for member in others]
        before[inside] = combine(own, weights("accuracy", accuracies))
        after[inside] = fit(others, labels[~inside])(own, slice(None))
    values = (log_loss(before, labels), log_loss(after, labels), *(calibration_error(pool, labels) for pool in (before, after)))
    return {"folds": count, **dict(zip(names, values, strict=True))}


def folds(labels: Any) -> Any:
    """The fold of each item (items,), from 0: by turns over the items in the order of their classes, then of their places."""
    numbers = np.empty(len(labels), dtype="int64")
    numbers[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % min(FOLDS, len(labels))
    return numbers


def log_loss(probabilities: Any, labels: Any) -> float:
    """The mean of -log p of the right class, p clipped to [`SMALLEST`, 1]."""
    right = np.asarray(probabilities[np.arange(len(labels)), labels], dtype="float64")
    return float(-np.log(right.clip(SMALLEST, 1.0)).mean())


def calibration_error(probabilities: Any, labels: Any) -> float:
    """The expected calibration error (Guo et al., 2017): of the label's probability, in `BINS` bins, weighted by items."""
    confidence = probabilities.max(axis=1).astype("float64")
    gaps = (probabilities.argmax(axis=1) == labels) - confidence
    bins = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    return float(sum(abs(gaps[bins == n].sum()) for n in range(BINS)) / len(labels))


def _scipy_optimize() -> Any:
    """SciPy's optimizers, which only this method needs; raises WrongInput where the runtime has none."""
    try:
        from scipy import optimize
    except ImportError as error:
        raise WrongInput(
            f"ensemble.method: calibrated needs SciPy, which this runtime has not: {error}: install scipy"
        ) from error
    return optimize
