"""Compares repeated runs with their originals by what the store has of both, and stores the verdicts."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.long_process import Say
from scheduler.rerun.verdict import CHANGED, NOTHING, PinnedInputs, Verdict, differences, judge
from scheduler.results import probabilities
from scheduler.results.probabilities import DamagedResult
from scheduler.stores.run_snapshot import snapshot, task_of

Members = Mapping[str, str | c.RunId]
"""Of each member of an ensemble its repeated training by a key, a run that was not repeated, or why it has none."""


_NO_SUCH_MEMBER = "the repeated ensemble had no such member"


@dataclass(frozen=True)
class RepeatOutcome:
    """A repeated run, what it repeats, and the verdict; an ensemble's members by name."""

    original: c.RunId | None
    run: Run | None
    verdict: Verdict
    members: Mapping[str, RepeatOutcome] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As JSON values: what `rerun --json` prints and `verdict.json` holds."""
        runs = {"repeats": None if self.original is None else str(self.original), "run": None, "status": "not started"}
        if self.run is not None:
            runs |= {"run": str(self.run.id), "status": self.run.status}
        members = {name: member.as_json() for name, member in self.members.items()}
        return {**runs, **self.verdict.as_json(), **({"members": members} if members else {})}


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
    if verdict is None and old is not None and run is not None:
        try:
            pairs = _complete([(probabilities.validation(store, old.id), probabilities.validation(store, run.id))])
            verdict = judge(pairs, tolerance, differences(_pinned(store, old), _pinned(store, run)))
        except DamagedResult as error:
            verdict = Verdict(NOTHING, reason=str(error))
    return RepeatOutcome(original, run, verdict or Verdict(NOTHING))


def _complete(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The pairs of which both sides were kept."""
    return [(before, after) for before, after in pairs if before is not None and after is not None]


def compare_ensemble(
    store: Store, original: Run, models: Members, run: Run | None, trained: Mapping[str, RepeatOutcome], tolerance: float
) -> RepeatOutcome:
    """The verdict on ``run``, a repeated ensemble, and on its members; ``trained`` are those on their trainings by key."""
    members = {name: _compare_member(store, original, run, name, key, trained, tolerance) for name, key in models.items()}
    verdict = _incomparable(original, run)
    if verdict is None and run is not None:
        old, new = original.id, run.id
        differs = differences(_pinned(store, original), _pinned(store, run))
        differs += _members_that_differ(original, run, members)
        try:
            pairs = _complete([(probabilities.ensemble(store, old), probabilities.ensemble(store, new))])
            verdict = judge(pairs, tolerance, differs)
            if probabilities.items(store, old) != probabilities.items(store, new):
                verdict = replace(verdict, verdict=CHANGED, differs=("the items that are predicted", *differs))
        except DamagedResult as error:
            verdict = Verdict(NOTHING, reason=str(error))
    return RepeatOutcome(original.id, run, verdict or Verdict(NOTHING), members)


def _compare_member(
    store: Store,
    ensemble: Run,
    run: Run | None,
    name: str,
    key: str | c.RunId,
    trained: Mapping[str, RepeatOutcome],
    tolerance: float,
) -> RepeatOutcome:
    """The verdict on what a member predicted, and on its training if it was made again."""
    training = trained.get(key) if isinstance(key, str) else None
    if isinstance(key, str) and training is None:
        return RepeatOutcome(None, None, Verdict(NOTHING, reason=key))
    original = training.original if training else key if isinstance(key, c.RunId) else None
    model = training.run if training else store.read(key) if isinstance(key, c.RunId) else None
    verdict = _incomparable(None if original is None else store.read(original), model)
    if verdict is not None or original is None or model is None:
        return RepeatOutcome(original, model, verdict or Verdict(NOTHING, reason=_NO_SUCH_MEMBER))
    try:
        pairs = [(probabilities.validation(store, original), probabilities.validation(store, model.id))] if training else []
        if run is not None and run.status == Status.SUCCEEDED:
            pairs.append((probabilities.member(store, ensemble.id, name), probabilities.member(store, run.id, name)))
    except DamagedResult as error:
        return RepeatOutcome(original, model, Verdict(NOTHING, reason=str(error)))
    differs = differences(_pinned(store, store.read(original)), _pinned(store, model))
    return RepeatOutcome(original, model, judge(_complete(pairs), tolerance, differs))


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
    before, after = ({member["member"]: member.get("left_out") for member in run.record.get("members", [])} for run in (old, new))
    lines = [f"member {name}" for name, outcome in members.items() if outcome.verdict.verdict == CHANGED]
    for name in sorted({*before, *after}):
        was_combined, is_combined = (name in members and members[name] is None for members in (before, after))
        if was_combined != is_combined:
            lines.append(f"member {name}: {'left out' if was_combined else 'not left out'} now")
    return lines


def _pinned(store: Store, run: Run) -> PinnedInputs:
    return PinnedInputs(run.record, task_of(store, run), _code(store, snapshot(run).get("code", "")))


def _code(store: Store, digest: str) -> dict[str, str]:
    """By file of a snapshot of the user's code its CRC-32; empty where there is none."""
    if not digest:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(store.read_snapshot("code", digest))) as archive:
            return {file.filename: f"{file.CRC:08x}" for file in archive.infolist()}
    except (OSError, zipfile.BadZipFile):
        return {}


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
