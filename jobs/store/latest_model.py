"""Which model is latest: the choice that an ensemble run makes among published trainings. Standard library alone, Python 3.9."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.contract import RESULT, RunId, RunKind, member_task, parse_run_id, parse_time
from jobs.store.store import Store


@dataclass(frozen=True)
class ModelChoice:
    """The model taken for one member, or why there is none.

    ``refused``: the newest training of a later slot that would have been taken were it not refused, and why it is.
    """

    member: str
    run: RunId | None
    reason: str = ""
    refused: tuple[RunId, str] | None = None


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
    """For each member its latest model: of the newest slot, then of the newest attempt, among those that are accepted.

    Only slots at or before the ensemble's own count. ``max_age`` is in seconds, ensemble slot minus
    member slot.
    """
    return [_latest(store, ensemble, member, max_age, invocation) for member in members]


def rejection_reason(
    store: Store, ensemble: RunId, run: RunId, max_age: int | None, invocation: str, chosen_at: str | None
) -> str:
    """Why an ensemble run could not take a training at the time (ISO 8601) at which it chose; empty if it could."""
    record = store.result(run)
    reason = _unusable(store, run, record, invocation, parse_time(chosen_at))
    if record is None or reason:
        return reason
    if run.minute > ensemble.minute:
        return "of a later slot"
    if _is_too_old(ensemble, run, max_age):
        return _too_old(max_age)
    if chosen_at is not None and str(record.get("finished", "")) > chosen_at:
        return f"published only at {record['finished']}"
    return "its model was removed by gc" if is_model_removed(store, run, record) else ""


def takeable(store: Store, experiment: str, member: str, since: float) -> Iterator[RunId]:
    """The trainings of a member that an ensemble of some slot from the minute ``since`` on could take, however old they may be.

    ``since`` is in minutes since 1970, and may be -inf. Among the accepted candidates these are the newest of each slot after it,
    and the newest at or before it; newest first. Those that are refused and newer than these may be accepted yet: of several at
    or before ``since`` the newest.
    """
    newest: RunId | None = None
    has_refused = False
    for run in store.run_ids(experiment, member_task(member)):
        if newest is not None and run.minute == newest.minute:
            continue
        record = store.result(run)
        if record is not None and is_candidate(record, ""):
            if store.refusal(run, record):
                if run.minute > since or not has_refused:
                    yield run
                has_refused |= run.minute <= since
                continue
            newest = run
            yield run
            if run.minute <= since:
                return


def _latest(store: Store, ensemble: RunId, member: str, max_age: int | None, invocation: str) -> ModelChoice:
    newest: tuple[RunId, str] | None = None
    refused: tuple[RunId, str] | None = None
    for run in store.run_ids(ensemble.experiment, member_task(member)):
        if run.minute > ensemble.minute:
            continue
        record = store.result(run)
        if _is_too_old(ensemble, run, max_age):
            return ModelChoice(member, None, _none_in_time(store, run, record, max_age, invocation, newest))
        if record is not None and is_candidate(record, invocation):
            if refusal := store.refusal(run, record):
                refused = refused or (run, refusal)
                newest = newest or (run, f"refused: {refusal}")
                continue
            if is_model_removed(store, run, record):
                # An older one would be another answer, not this one.
                return ModelChoice(member, None, f"the model of {run} was removed by gc")
            return ModelChoice(member, run, refused=refused if refused and refused[0].minute > run.minute else None)
        newest = newest or (run, _unusable(store, run, record, invocation))
    if newest is None:
        return ModelChoice(member, None, "it had no training at or before this slot")
    return ModelChoice(member, None, f"{_newest(*newest)}, and no training before that can be taken")


def _none_in_time(
    store: Store,
    run: RunId,
    record: dict[str, Any] | None,
    max_age: int | None,
    invocation: str,
    newest: tuple[RunId, str] | None,
) -> str:
    """Why a member has no model: its newest training within ``max_age``, if any, was no good, and ``run`` is the first beyond."""
    if newest is not None:
        return f"{_newest(*newest)}, and the ones before are {_too_old(max_age)}"
    reason = _unusable(store, run, record, invocation)
    age = f"is {_too_old(max_age)}"
    return f"{_newest(run, reason)}, and {age}" if reason else f"its newest training {run} {age}"


def _newest(run: RunId, reason: str) -> str:
    return f"its newest training {run} cannot be taken ({reason})"


def _unusable(store: Store, run: RunId, record: dict[str, Any] | None, invocation: str, at: float | None = None) -> str:
    """Why no ensemble run of this invocation takes a training, whatever its age; empty if one may.

    ``at``: as of that time, in seconds since 1970.
    """
    if record is None:
        unpublished = store.read(run)
        return str(unpublished.status) + (f": {unpublished.reason}" if unpublished.reason else "")
    if record.get("other_configuration"):
        return "made with another configuration"
    if not is_candidate(record, invocation):
        return "a manual run feeds only its own ensemble, unless with --publish"
    refusal = store.refusal(run, record, at)
    return f"refused: {refusal}" if refusal else ""


def _is_too_old(ensemble: RunId, run: RunId, max_age: int | None) -> bool:
    return max_age is not None and (ensemble.minute - run.minute) * 60 > max_age


def _too_old(max_age: int | None) -> str:
    """How a training that is too old is described: ``older than max_age (36h)``."""
    seconds = max_age or 0
    size, unit = next((size, unit) for size, unit in ((3600, "h"), (60, "m"), (1, "s")) if seconds % size == 0)
    return f"older than max_age ({seconds // size}{unit})"


def given_choice(selection: Mapping[str, str], experiment: str, member: str) -> ModelChoice:
    """The choice that was made before the run began: ``selection`` has each member's run by its id, or why it has none."""
    run_or_reason = selection.get(member, "not among the models that were named")
    run = parse_run_id(run_or_reason, experiment, member_task(member))
    return ModelChoice(member, run, "" if run else run_or_reason)
