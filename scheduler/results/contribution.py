"""What each member adds to an ensemble (leave one out), and where members disagree. Values only.

A run records them; here they are computed of runs of earlier versions, which do not have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contribution:
    """The ensemble with a member minus the ensemble of the others, which are combined by the same method.

    ``accuracy``: above 0 where the member helps. ``loss`` (log loss): below 0 where it helps. Both are None where the
    labels are not known. ``labels_changed``: how many items have another label because of it.
    """

    accuracy: float | None
    loss: float | None
    labels_changed: int


@dataclass(frozen=True)
class Agreement:
    """Where the members of an ensemble disagree.

    ``disputed_items``: for how many a member has another label than the ensemble; ``mean_entropy``: of the ensemble's
    probabilities, in nats. Shares of items with different labels: ``disagreements`` of pairs of members, by both their names,
    and ``from_ensemble`` of a member and the ensemble.
    """

    disputed_items: int
    mean_entropy: float | None
    disagreements: Mapping[str, Mapping[str, float]]
    from_ensemble: Mapping[str, float]


def agreement(members: Mapping[str, Any], ensemble: Any) -> Agreement:
    """Where members disagree, by their probabilities (items, classes) and the ensemble's; one item or more."""
    import numpy as np

    from jobs.keras3.agreement import entropies

    given, labels = ensemble.argmax(axis=1), {name: array.argmax(axis=1) for name, array in members.items()}
    disputed = np.zeros(len(given), dtype=bool)
    for own in labels.values():
        disputed |= own != given
    return Agreement(
        int(disputed.sum()),
        float(entropies(ensemble).mean()),
        {
            name: {other: float((own != labels[other]).mean()) for other in labels if other != name}
            for name, own in labels.items()
        },
        {name: float((own != given).mean()) for name, own in labels.items()},
    )


def contributions(members: Mapping[str, Any], weights: Mapping[str, float], labels: Any | None) -> dict[str, Contribution]:
    """What each member adds to an ensemble whose members have weights: the others keep theirs in proportion.

    Args:
        members: by name, probabilities of shape (items, classes); two or more.
        weights: by name; they need not sum to 1.
        labels: the items' true class numbers (items,), or None.
    """
    from jobs.keras3.pools import combine

    def combined(names: list[str]) -> Any:
        total = sum(weights[name] for name in names)
        own = [weights[name] for name in names] if total > 0 else [1.0] * len(names)
        return combine([members[name] for name in names], own)

    whole = combined(list(members))
    results = {}
    for left_out in members:
        others = combined([name for name in members if name != left_out])
        accuracy = loss = None
        if labels is not None and len(labels):
            accuracy = _accuracy(whole, labels) - _accuracy(others, labels)
            loss = log_loss(whole, labels) - log_loss(others, labels)
        changed = int((whole.argmax(axis=1) != others.argmax(axis=1)).sum())
        results[left_out] = Contribution(accuracy, loss, changed)
    return results


def _accuracy(probabilities: Any, labels: Any) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def log_loss(probabilities: Any, labels: Any) -> float:
    """The mean of -log p of the right class, p clipped to [1e-15, 1]: as the combine program computes it."""
    import numpy as np

    of_right_class = probabilities[np.arange(len(labels)), labels].astype("float64")
    return float(-np.log(np.clip(of_right_class, 1e-15, 1.0)).mean())
