"""Which model is latest: the choice that an ensemble run makes among published trainings. Standard library alone, Python 3.9."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.contract import RESULT, RunId, RunKind, member_task, parse_run_id
from jobs.store.store import Store


@dataclass(frozen=True)
class ModelChoice:
    """The model taken for one member, or why there is none."""

    member: str
    run: RunId | None
    reason: str = ""


def is_candidate(record: dict[str, Any], invocation: str) -> bool:
    """Whether a published training may feed an ensemble run of this invocation.

    Manual runs feed only their own ensemble unless they were published for all, and so do their repeats; a run
    made with another configuration feeds none.
    """
    if record.get("other_configuration"):
        return False
    if (record.get("repeats_kind") or record.get("kind")) != RunKind.MANUAL or record.get("published"):
        return True
    return bool(invocation) and record.get("invocation") == invocation


def is_model_removed(store: Store, run: RunId, record: dict[str, Any]) -> bool:
    """Whether gc took the model out of a published training."""
    return store.is_removed(run, f"{RESULT}/{(record.get('model') or {}).get('file')}")


def choose_models(
    store: Store, ensemble: RunId, members: Iterable[str], max_age: int | None, invocation: str
) -> list[ModelChoice]:
    """For each member its latest model: of the newest slot, then of the newest attempt.

    Only slots at or before the ensemble's own count. ``max_age`` is in seconds, ensemble slot minus
    member slot.
    """
    return [_latest(store, ensemble, member, max_age, invocation) for member in members]


def rejection_reason(
    store: Store, ensemble: RunId, run: RunId, max_age: int | None, invocation: str, chosen_at: str | None
) -> str:
    """Why an ensemble run could not take a training at the time (ISO 8601) at which it chose; empty if it could."""
    record = store.result(run)
    if record is None:
        unpublished = store.read(run)
        return unpublished.status + (f": {unpublished.reason}" if unpublished.reason else "")
    if run.minute > ensemble.minute:
        return "of a later slot"
    if max_age is not None and (ensemble.minute - run.minute) * 60 > max_age:
        return f"older than {max_age // 3600}h"
    if record.get("other_configuration"):
        return "made with another configuration"
    if not is_candidate(record, invocation):
        return "a manual run feeds only its own ensemble, unless with --publish"
    if chosen_at is not None and str(record.get("finished", "")) > chosen_at:
        return f"published only at {record['finished']}"
    return "its model was removed by gc" if is_model_removed(store, run, record) else ""


def _latest(store: Store, ensemble: RunId, member: str, max_age: int | None, invocation: str) -> ModelChoice:
    for run in store.run_ids(ensemble.experiment, member_task(member)):
        if run.minute > ensemble.minute:
            continue
        age = (ensemble.minute - run.minute) * 60
        if max_age is not None and age > max_age:
            return ModelChoice(member, None, f"its newest candidates are older than {max_age // 3600}h")
        record = store.result(run)
        if record is not None and is_candidate(record, invocation):
            if is_model_removed(store, run, record):
                # An older one would be another answer, not this one.
                return ModelChoice(member, None, f"the model of {run} was removed by gc")
            return ModelChoice(member, run)
    return ModelChoice(member, None, "no published training at or before this slot")


def given_choice(selection: Mapping[str, str], experiment: str, member: str) -> ModelChoice:
    """The choice that was made before the run began: ``selection`` has each member's run by its id, or why it has none."""
    run_or_reason = selection.get(member, "not among the models that were named")
    run = parse_run_id(run_or_reason, experiment, member_task(member))
    return ModelChoice(member, run, "" if run else run_or_reason)
