"""Judges repeated runs by what the store has of them and of their originals, and keeps the verdicts."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.rerun import probabilities, selection
from scheduler.rerun.verdict import CHANGED, NOTHING, PinnedInputs, Verdict, differences, judge
from scheduler.runtimes.venvs import Say

Taken = Mapping[str, str | c.RunId]
"""Of each member of an ensemble its training by its key among the repeated ones, a run that was not repeated, or why none."""


@dataclass(frozen=True)
class RepeatOutcome:
    """A repeated run, what it repeats, and the verdict; an ensemble's members by name."""

    original: c.RunId | None
    run: Run | None
    verdict: Verdict
    members: Mapping[str, RepeatOutcome] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        told = {"repeats": None if self.original is None else str(self.original), "run": None, "status": "not started"}
        if self.run is not None:
            told |= {"run": str(self.run.id), "status": self.run.status}
        members = {name: each.as_json() for name, each in self.members.items()}
        return {**told, **self.verdict.as_json(), **({"members": members} if members else {})}


def store_verdict(store: Store, outcome: RepeatOutcome, tolerance: float, say: Say) -> None:
    """Keep a verdict beside the new run; one that is still at work has none yet."""
    run = outcome.run
    if run is None or outcome.original is None or run.status == Status.RUNNING:
        return
    try:
        store.record_verdict(run.id, {"schema": c.SCHEMA, "tolerance": tolerance, **outcome.as_json()})
    except OSError as error:
        say(f"{run.id}: its verdict could not be kept in the store: {error.strerror}")


def compare_training(store: Store, original: c.RunId | None, run: Run | None, tolerance: float) -> RepeatOutcome:
    """The verdict on a repeated training."""
    old = None if original is None else store.read(original)
    verdict = _incomparable(old, run)
    if verdict is None and old is not None and run is not None:
        pair = (probabilities.validation(store, old.id), probabilities.validation(store, run.id))
        pairs = [] if any(each is None for each in pair) else [pair]
        verdict = judge(pairs, tolerance, differences(_pinned(store, old), _pinned(store, run)))
    return RepeatOutcome(original, run, verdict or Verdict(NOTHING))


def compare_ensemble(
    store: Store, original: Run, taken: Taken, run: Run | None, trained: Mapping[str, RepeatOutcome], tolerance: float
) -> RepeatOutcome:
    """The verdict on a repeated ensemble and on its members, whose trainings were judged already."""
    members = {name: _member(store, original, run, name, key, trained, tolerance) for name, key in taken.items()}
    verdict = _incomparable(original, run)
    if verdict is None and run is not None:
        old, new = original.id, run.id
        differs = differences(_pinned(store, original), _pinned(store, run))
        differs += _members_that_differ(original, run, members)
        pair = (probabilities.ensemble(store, old), probabilities.ensemble(store, new))
        verdict = judge([] if any(each is None for each in pair) else [pair], tolerance, differs)
        if probabilities.items(store, old) != probabilities.items(store, new):
            verdict = replace(verdict, verdict=CHANGED, differs=("the items that are predicted", *differs))
    return RepeatOutcome(original.id, run, verdict or Verdict(NOTHING), members)


def _member(
    store: Store,
    ensemble: Run,
    run: Run | None,
    name: str,
    key: str | c.RunId,
    trained: Mapping[str, RepeatOutcome],
    tolerance: float,
) -> RepeatOutcome:
    """The verdict on what a member predicted, and on its training if it was made again."""
    again = trained.get(key) if isinstance(key, str) else None
    if isinstance(key, str) and again is None:
        return RepeatOutcome(None, None, Verdict(NOTHING, reason=key))
    original = again.original if again else key if isinstance(key, c.RunId) else None
    made = again.run if again else store.read(key) if isinstance(key, c.RunId) else None
    verdict = _incomparable(None if original is None else store.read(original), made)
    if verdict is not None or original is None or made is None:
        return RepeatOutcome(original, made, verdict or Verdict(NOTHING, reason="the repeated ensemble had no such member"))
    pairs = [(probabilities.validation(store, original), probabilities.validation(store, made.id))] if again else []
    if run is not None and run.status == Status.SUCCEEDED:
        told = [probabilities.member(store, each.id, name) for each in (ensemble, run)]
        pairs.append((told[0], told[1]))
    pairs = [pair for pair in pairs if not any(each is None for each in pair)]
    differs = differences(_pinned(store, store.read(original)), _pinned(store, made))
    return RepeatOutcome(original, made, judge(pairs, tolerance, differs))


def _incomparable(old: Run | None, new: Run | None) -> Verdict | None:
    if new is None:
        return Verdict(NOTHING, reason="stopped before its turn came")
    if new.status == Status.RUNNING:
        return Verdict(NOTHING, reason="the repeat is still at work")
    if new.status != Status.SUCCEEDED:
        return Verdict(NOTHING, reason=f"the repeat {new.status}: {new.reason}")
    if old is None:
        return Verdict(NOTHING, reason="the repeated ensemble had no such member")
    if old.status != Status.SUCCEEDED:
        return Verdict(NOTHING, reason=f"the original {old.status}: {old.reason}")
    return None


def _members_that_differ(old: Run, new: Run, members: Mapping[str, RepeatOutcome]) -> list[str]:
    """Members that changed, and those that only one of the two ensembles took."""
    before, after = ({each["member"]: each.get("left_out") for each in run.record.get("members", [])} for run in (old, new))
    found = [f"member {name}" for name, outcome in members.items() if outcome.verdict.verdict == CHANGED]
    for name in sorted({*before, *after}):
        taken = [name in told and told[name] is None for told in (before, after)]
        if taken[0] != taken[1]:
            found.append(f"member {name}: {'left out' if taken[0] else 'not left out'} now")
    return found


def _pinned(store: Store, run: Run) -> PinnedInputs:
    return PinnedInputs(run.record, selection.task_of(store, run), _code(store, selection.snapshot(run).get("code", "")))


def _code(store: Store, digest: str) -> dict[str, str]:
    if not digest:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(store.read_snapshot("code", digest))) as archive:
            return {each.filename: f"{each.CRC:08x}" for each in archive.infolist()}
    except (OSError, zipfile.BadZipFile):
        return {}


def compare_repeats(store: Store, found: list[Run], tolerance: float) -> list[RepeatOutcome]:
    """The verdicts on runs that repeat others; of an ensemble, on its members' trainings too."""
    return [_repeat(store, run, tolerance) for run in found]


def _repeat(store: Store, run: Run, tolerance: float) -> RepeatOutcome:
    original = repeated_run(run)
    if run.id.task != c.ENSEMBLE_TASK or original is None:
        return compare_training(store, original, run, tolerance)
    taken: dict[str, str | c.RunId] = {}
    trained: dict[str, RepeatOutcome] = {}
    for each in store.model_selection(run):
        name = str(each["member"])
        model = c.parse_run_id(str(each.get("run")), run.id.experiment, c.member_task(name))
        if model is None or each.get("left_out"):
            taken[name] = str(each.get("left_out") or "its run has no name")
            continue
        made = store.read(model)
        before = repeated_run(made)
        if before is None:
            taken[name] = model
        else:
            taken[name] = str(model)
            trained[str(model)] = compare_training(store, before, made, tolerance)
    return compare_ensemble(store, store.read(original), taken, run, trained, tolerance)


def repeated_run(run: Run) -> c.RunId | None:
    """The run that a run repeats, as it recorded it."""
    return c.parse_run_id(str(run.record.get("repeats")), run.id.experiment, run.id.task)
