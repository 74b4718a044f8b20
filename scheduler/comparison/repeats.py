"""Compares repeated runs with their originals by what the store has of both, and stores the verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.comparison.difference import Difference
from scheduler.comparison.predictions import PredictionChanges
from scheduler.comparison.run_comparison import RunComparer
from scheduler.comparison.verdict import CHANGED, NOTHING, Verdict, judge
from scheduler.long_process import Say
from scheduler.results.ensemble_result import read_ensemble
from scheduler.results.probabilities import DamagedResult

Members = Mapping[str, str | c.RunId]
"""Of each member of an ensemble its repeated training by a key, a run that was not repeated, or why it has none."""


_NO_SUCH_MEMBER = "the repeated ensemble had no such member"
_STORED_FLIPS = 100
"""Items with another label that a verdict names."""


@dataclass(frozen=True)
class RepeatOutcome:
    """A repeated run, what it repeats, and the verdict; an ensemble's members by name.

    ``predictions`` is how its predictions differ, of a member those within the ensemble; ``differences`` is what is pinned and
    differs.
    """

    original: c.RunId | None
    run: Run | None
    verdict: Verdict
    members: Mapping[str, RepeatOutcome] = field(default_factory=dict)
    predictions: PredictionChanges | None = None
    differences: tuple[Difference, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As JSON values: what `rerun --json` prints and `verdict.json` holds."""
        runs = {"repeats": None if self.original is None else str(self.original), "run": None, "status": "not started"}
        if self.run is not None:
            runs |= {"run": str(self.run.id), "status": self.run.status}
        members = {name: member.as_json() for name, member in self.members.items()}
        changes = {} if self.predictions is None else _changes_as_json(self.predictions)
        return {**runs, **self.verdict.as_json(), **changes, **({"members": members} if members else {})}


def _changes_as_json(changes: PredictionChanges) -> dict[str, Any]:
    """Metrics on the items of both, and the first items whose label flipped."""
    flips = [
        {"item": flip.item, "before": flip.before, "after": flip.after, "label": flip.label}
        for flip in changes.flips[:_STORED_FLIPS]
    ]
    return {
        "accuracy_before": changes.accuracy.before,
        "accuracy_after": changes.accuracy.after,
        "loss_before": changes.loss.before,
        "loss_after": changes.loss.after,
        **({"flipped_items": flips} if flips else {}),
    }


def store_verdict(store: Store, outcome: RepeatOutcome, tolerance: float, say: Say) -> None:
    """Store a verdict beside the new run, unless that is still running; what cannot be written is printed."""
    run = outcome.run
    if run is None or outcome.original is None or run.status == Status.RUNNING:
        return
    try:
        store.record_verdict(run.id, {"schema": c.SCHEMA, "tolerance": tolerance, **outcome.as_json()})
    except OSError as error:
        say(f"{run.id}: its verdict could not be written to the store: {error.strerror}")


def compare_training(store: Store, original: c.RunId | None, run: Run | None, tolerance: float) -> RepeatOutcome:
    """The verdict on ``run``, a repeated training; None was stopped before it started."""
    old = None if original is None else store.read(original)
    verdict = _incomparable(old, run)
    if verdict is not None or old is None or run is None:
        return RepeatOutcome(original, run, verdict or Verdict(NOTHING))
    comparer = RunComparer(store, tolerance)
    training = comparer.training(old, run, is_repeat=True)
    return RepeatOutcome(original, run, training.verdict, {}, training.predictions, comparer.differences(old, run))


def compare_ensemble(
    store: Store, original: Run, models: Members, run: Run | None, trained: Mapping[str, RepeatOutcome], tolerance: float
) -> RepeatOutcome:
    """The verdict on ``run``, a repeated ensemble, and on its members; ``trained`` are those on their trainings by key."""
    comparer = RunComparer(store, tolerance)
    members = {name: _compare_member(comparer, original, run, name, key, trained) for name, key in models.items()}
    verdict = _incomparable(original, run)
    if verdict is not None or run is None:
        return RepeatOutcome(original.id, run, verdict or Verdict(NOTHING), members)
    predictions, notes = comparer.predictions(original, run)
    differences = comparer.differences(original, run)
    if predictions is None:
        return RepeatOutcome(original.id, run, Verdict(NOTHING, reason="; ".join(notes)), members, None, differences)
    lines = [*(difference.text for difference in differences), *_members_that_differ(original, run, members)]
    if not predictions.has_same_items:
        lines.insert(0, "the items that are predicted")
    return RepeatOutcome(original.id, run, judge([predictions], tolerance, lines), members, predictions, differences)


def _compare_member(
    comparer: RunComparer, ensemble: Run, run: Run | None, name: str, key: str | c.RunId, trained: Mapping[str, RepeatOutcome]
) -> RepeatOutcome:
    """The verdict on what a member predicted, and on its training if it was made again."""
    store = comparer.store
    training = trained.get(key) if isinstance(key, str) else None
    if isinstance(key, str) and training is None:
        return RepeatOutcome(None, None, Verdict(NOTHING, reason=key))
    original = training.original if training else key if isinstance(key, c.RunId) else None
    model = training.run if training else store.read(key) if isinstance(key, c.RunId) else None
    old = None if original is None else store.read(original)
    verdict = _incomparable(old, model)
    if verdict is not None or old is None or model is None:
        return RepeatOutcome(original, model, verdict or Verdict(NOTHING, reason=_NO_SUCH_MEMBER))
    predictions = None
    if run is not None and run.status == Status.SUCCEEDED:
        try:
            predictions = comparer.member_predictions(read_ensemble(store, ensemble), read_ensemble(store, run), name, name)
        except DamagedResult as error:
            return RepeatOutcome(original, model, Verdict(NOTHING, reason=str(error)))
    changes = [each for each in (training.predictions if training else None, predictions) if each is not None]
    differences = comparer.differences(old, model)
    verdict = judge(changes, comparer.tolerance, [difference.text for difference in differences])
    return RepeatOutcome(original, model, verdict, {}, predictions or (changes[0] if changes else None), differences)


def _incomparable(old: Run | None, new: Run | None) -> Verdict | None:
    """Why there is nothing to compare; None if there is."""
    if new is None:
        return Verdict(NOTHING, reason="stopped before it was started")
    if new.status == Status.RUNNING:
        return Verdict(NOTHING, reason="the repeat is still running")
    if new.status != Status.SUCCEEDED:
        return Verdict(NOTHING, reason=f"the repeat {new.status}: {new.reason}")
    if old is None:
        return Verdict(NOTHING, reason=_NO_SUCH_MEMBER)
    if old.status != Status.SUCCEEDED:
        return Verdict(NOTHING, reason=f"the original {old.status}: {old.reason}")
    return None


def _members_that_differ(old: Run, new: Run, members: Mapping[str, RepeatOutcome]) -> list[str]:
    """Members that changed, and those that only one of the two ensembles combined."""
    before, after = (
        {member["member"]: member.get("left_out") for member in run.record.get("members") or []} for run in (old, new)
    )
    lines = [f"member {name}" for name, outcome in members.items() if outcome.verdict.verdict == CHANGED]
    for name in sorted({*before, *after}):
        was_combined, is_combined = (name in members and members[name] is None for members in (before, after))
        if was_combined != is_combined:
            lines.append(f"member {name}: {'left out' if was_combined else 'not left out'} now")
    return lines


def compare_repeat(store: Store, run: Run, tolerance: float) -> RepeatOutcome:
    """The verdict on a run that repeats another; of an ensemble, on its members' trainings too."""
    original = repeated_run(run)
    if run.id.task != c.ENSEMBLE_TASK or original is None:
        return compare_training(store, original, run, tolerance)
    models: dict[str, str | c.RunId] = {}
    trained: dict[str, RepeatOutcome] = {}
    for member in store.model_selection(run):
        name = str(member["member"])
        model = c.parse_run_id(str(member.get("run")), run.id.experiment, c.member_task(name))
        if model is None or member.get("left_out"):
            models[name] = str(member.get("left_out") or "its run has no name")
            continue
        training = store.read(model)
        original_training = repeated_run(training)
        if original_training is None:
            models[name] = model
        else:
            models[name] = str(model)
            trained[str(model)] = compare_training(store, original_training, training, tolerance)
    return compare_ensemble(store, store.read(original), models, run, trained, tolerance)


def repeated_run(run: Run) -> c.RunId | None:
    """The run that a run repeats, as it recorded it."""
    return c.parse_run_id(str(run.record.get("repeats")), run.id.experiment, run.id.task)
