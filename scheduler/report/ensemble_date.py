"""One ensemble run of a date: its items with every member's label beside the ensemble's, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler.history.slots import Row
from scheduler.report.calibration import Reliability, reliability
from scheduler.report.class_names import display_names
from scheduler.report.confusion import Confusion, confusion
from scheduler.report.pictures import Sprite
from scheduler.results.contribution import Contribution
from scheduler.results.contribution import agreement as agree
from scheduler.results.ensemble_result import EnsembleResult, MemberResult
from scheduler.results.member_table import calibration_line
from scheduler.results.probabilities import DamagedResult

MOST_ITEMS = 200
"""Items that are shown of a date: wrong ones first, then disputed ones, then those with the smallest probability."""


@dataclass(frozen=True)
class Label:
    """A label that was given: the class's number and its probability."""

    number: int
    probability: float


@dataclass(frozen=True)
class ItemPrediction:
    """An item: its number and id, its true class (None where unknown), and what the ensemble and each member make of it.

    ``entropy``: of the ensemble's probabilities, in nats.
    """

    number: int
    item: str
    true: int | None
    ensemble: Label
    members: Sequence[Label | None]
    entropy: float = 0.0

    @property
    def is_wrong(self) -> bool:
        """Whether the ensemble's label is not the true one, which is known."""
        return self.true is not None and self.ensemble.number != self.true

    @property
    def disagreeing(self) -> int:
        """How many members have another label than the ensemble."""
        return sum(label is not None and label.number != self.ensemble.number for label in self.members)

    @property
    def is_disputed(self) -> bool:
        """Whether some member has another label than the ensemble."""
        return self.disagreeing > 0


@dataclass(frozen=True)
class MemberSummary:
    """A member of the ensemble run, with what is computed of it: its contribution, calibration error, and agreement.

    ``age``: hours of its model; ``agreement``: the share of items on which it has the ensemble's label.
    """

    result: MemberResult
    age: float | None
    contribution: Contribution | None
    calibration_error: float | None
    agreement: float | None


@dataclass(frozen=True)
class EnsembleDate:
    """What the report shows of one ensemble run; ``problem``: why its items cannot be shown, else empty.

    ``items`` are those shown of ``item_count``; ``disagreements``: by pairs of members the share of items with different labels.
    """

    row: Row
    result: EnsembleResult
    classes: Sequence[str]
    members: Sequence[MemberSummary]
    member_names: Sequence[str] = ()
    items: Sequence[ItemPrediction] = ()
    item_count: int = 0
    wrong: int | None = None
    disputed: int = 0
    mean_entropy: float | None = None
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    disagreements: Sequence[Sequence[float]] = ()
    problem: str = ""
    sprite: Sprite | None = field(default=None, compare=False)

    @property
    def calibration(self) -> str:
        """What the method `calibrated` has learnt, as a line; empty for other methods."""
        return calibration_line(self.result)


def read_date(row: Row, result: EnsembleResult, most: int = MOST_ITEMS) -> EnsembleDate:
    """What an ensemble run predicted, from its files."""
    from jobs.keras3.agreement import entropies

    classes = display_names(result.classes)
    try:
        combined, items = result.probabilities, result.items
        arrays, labels, contributions = result.member_probabilities, result.labels, result.contributions
        agreement = result.agreement
    except DamagedResult as error:
        return EnsembleDate(row, result, classes, _summaries(row, result), problem=str(error))
    if combined is None or not len(combined):
        removed = "its predictions are not in the store any more" if result.combined_members else "it predicted nothing"
        return EnsembleDate(row, result, classes, _summaries(row, result), problem=removed)
    if len(classes) != combined.shape[1]:
        classes = [f"class {n}" for n in range(combined.shape[1])]
    if labels is not None and (labels.min() < 0 or labels.max() >= combined.shape[1]):
        labels = None
    given = combined.argmax(axis=1)
    by_member = {name: array.argmax(axis=1) for name, array in arrays.items()}
    names = list(by_member)
    wrong = None if labels is None else given != labels
    is_disputed = sum((other != given for other in by_member.values()), start=given != given)
    if agreement is None:  # the files of some members are not kept any more
        agreement = agree(arrays, combined)
    order = _order(combined, wrong, is_disputed)[:most]
    entropy = dict(zip(order, entropies(combined[order]).tolist(), strict=True))
    predictions = [
        ItemPrediction(
            n,
            items[n],
            None if labels is None else int(labels[n]),
            Label(int(given[n]), float(combined[n, given[n]])),
            [Label(int(by_member[name][n]), float(arrays[name][n, by_member[name][n]])) for name in names],
            entropy[n],
        )
        for n in order
    ]
    return EnsembleDate(
        row,
        result,
        classes,
        _summaries(row, result, arrays, labels, contributions, given),
        names,
        predictions,
        len(items),
        None if wrong is None else int(wrong.sum()),
        agreement.disputed_items,
        agreement.mean_entropy,
        None if labels is None else confusion(given, labels, combined.shape[1]),
        None if labels is None else reliability(combined, labels),
        [[agreement.disagreements.get(left, {}).get(right, 0.0) for right in names] for left in names],
    )


def _order(combined: Any, wrong: Any, disputed: Any) -> list[int]:
    """The numbers of the items, those worth a look first."""
    import numpy as np

    keys = [combined.max(axis=1), -(disputed > 0).astype(int)]
    if wrong is not None:
        keys.append(-wrong.astype(int))
    numbers: list[int] = np.lexsort(keys).tolist()
    return numbers


def _summaries(
    row: Row,
    result: EnsembleResult,
    arrays: dict[str, Any] | None = None,
    labels: Any = None,
    contributions: dict[str, Contribution] | None = None,
    given: Any = None,
) -> list[MemberSummary]:
    summaries = []
    for member in result.members:
        array = (arrays or {}).get(member.member)
        summaries.append(
            MemberSummary(
                member,
                None if member.model is None else (row.minute - member.model.minute) / 60,
                (contributions or {}).get(member.member),
                None if array is None or labels is None else reliability(array, labels).error,
                None if array is None or given is None else float((array.argmax(axis=1) == given).mean()),
            )
        )
    return summaries
