"""What an ensemble run produced: which models it took, with what weight and accuracy, and the probabilities of its items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jobs.contract import RunId, member_task, parse_run_id
from jobs.store import Run, Store
from scheduler.results import probabilities
from scheduler.results.contribution import Agreement, Contribution, agreement, contributions


@dataclass(frozen=True)
class MemberResult:
    """What an ensemble run has of one member; numbers are None where they are not known, or where it was left out.

    ``model`` is the training whose model it took. ``accuracy`` and ``loss`` (log loss) are on the ensemble's items,
    ``validation_accuracy`` is the training's own. ``left_out`` says why it was not combined, ``degraded`` what is wrong
    with its training, ``contribution_problem`` why it is not known what it adds; all are empty otherwise.
    """

    member: str
    model: RunId | None
    weight: float | None
    accuracy: float | None
    loss: float | None
    validation_accuracy: float | None
    left_out: str = ""
    degraded: str = ""
    contribution_problem: str = ""

    @property
    def is_combined(self) -> bool:
        """Whether its predictions are part of the ensemble's."""
        return not self.left_out


class EnsembleResult:
    """What an ensemble run produced. Of one that has no result (it failed), the members alone, as far as it came.

    Arrays are read when they are asked for; whatever reads them raises DamagedResult for a file that is not what the run wrote.
    """

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self.run = run
        self._summary: Mapping[str, Any] = run.record.get("ensemble") or {}
        self.method = str(self._summary.get("method") or "")
        self.accuracy: float | None = self._summary.get("accuracy")
        """Of the combined predictions, where the items' labels are known; ``loss`` is their log loss."""
        self.loss: float | None = self._summary.get("loss")
        self.calibration: Mapping[str, Any] = self._summary.get("calibration") or {}
        """Of the method `calibrated`: temperature, validation items, and figures before and after; empty otherwise."""
        self.classes = tuple(str(name) for name in self._summary.get("classes") or ())
        self.members = tuple(self._member(choice) for choice in store.model_selection(run))
        """In the order of the configuration, those that were left out among them."""

    def _member(self, choice: Mapping[str, Any]) -> MemberResult:
        name = str(choice.get("member"))
        combined = self._recorded(name)
        left_out = str(choice.get("left_out") or "")
        if not left_out and self._summary and not combined:
            left_out = "the result does not name it"
        return MemberResult(
            name,
            parse_run_id(str(choice.get("run")), self.run.id.experiment, member_task(name)),
            combined.get("weight"),
            combined.get("accuracy_here"),
            combined.get("loss"),
            choice.get("accuracy"),
            left_out,
            str(choice.get("degraded") or ""),
            str(combined.get("contribution_problem") or ""),
        )

    def member(self, name: str) -> MemberResult | None:
        """The member of that name; None if the ensemble had no such member."""
        return next((member for member in self.members if member.member == name), None)

    @property
    def combined_members(self) -> tuple[MemberResult, ...]:
        """The members whose predictions are part of the ensemble's."""
        return tuple(member for member in self.members if member.is_combined and self._summary)

    @cached_property
    def _table(self) -> tuple[list[str], Any] | None:
        return probabilities.ensemble_table(self._store, self.run.id)

    @cached_property
    def items(self) -> tuple[str, ...]:
        """The ids of the predicted items, in order; empty where there is no result."""
        return tuple(self._table[0]) if self._table is not None else ()

    @property
    def probabilities(self) -> Any | None:
        """The combined probabilities, float32 (items, classes); None where there is no result."""
        return None if self._table is None else self._table[1]

    @cached_property
    def labels(self) -> Any | None:
        """The items' true class numbers, int64 (items,); None where they are not known, or their data is not here any more."""
        labels = probabilities.labels(self._store, self.run)
        return labels if labels is not None and len(labels) == len(self.items) else None

    @cached_property
    def member_probabilities(self) -> dict[str, Any]:
        """By member that was combined and whose probabilities are kept: float32 (items, classes)."""
        arrays = {
            member.member: probabilities.member(self._store, self.run.id, member.member) for member in self.combined_members
        }
        shape = None if self.probabilities is None else self.probabilities.shape
        return {name: array for name, array in arrays.items() if array is not None and array.shape == shape}

    @cached_property
    def contributions(self) -> dict[str, Contribution]:
        """By member, what it adds: as it was recorded; empty for a single member.

        Of a run of an earlier version it is computed, where every combined member's probabilities are kept.
        """
        members = self.combined_members
        recorded = {member.member: self._recorded(member.member).get("contribution") for member in members}
        if any(recorded.values()):
            return {
                name: Contribution(values.get("accuracy"), values.get("loss"), int(values.get("labels_changed") or 0))
                for name, values in recorded.items()
                if values
            }
        if "agreement" in self._summary:
            return {}
        arrays = self.member_probabilities
        if len(members) < 2 or any(member.member not in arrays or member.weight is None for member in members):
            return {}
        weights = {member.member: member.weight or 0.0 for member in members}
        return contributions({name: arrays[name] for name in weights}, weights, self.labels)

    @cached_property
    def agreement(self) -> Agreement | None:
        """Where its members disagree: as it was recorded, else computed where every combined member's probabilities are kept."""
        members = [member.member for member in self.combined_members]
        recorded = self._summary.get("agreement")
        if recorded is not None:
            from_ensemble = {name: self._recorded(name).get("disagreement") for name in members}
            return Agreement(
                int(recorded.get("disputed_items") or 0),
                recorded.get("mean_entropy"),
                {name: (recorded.get("disagreements") or {}).get(name) or {} for name in members},
                {name: share for name, share in from_ensemble.items() if share is not None},
            )
        arrays = self.member_probabilities
        if self.probabilities is None or not len(self.probabilities) or set(arrays) != set(members):
            return None
        return agreement(arrays, self.probabilities)

    def _recorded(self, member: str) -> Mapping[str, Any]:
        """What ensemble.json has of a member."""
        return (self._summary.get("members") or {}).get(member) or {}


def read_ensemble(store: Store, run: Run) -> EnsembleResult:
    """What an ensemble run produced."""
    return EnsembleResult(store, run)
