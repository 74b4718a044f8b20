"""Decides by hand whether a published run is accepted, and says what follows from it for the ensembles."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from jobs import contract as c
from jobs.contract import ENSEMBLE_TASK, RunId
from jobs.store import Run, Store
from jobs.store.decisions import ACCEPTED, refusal
from jobs.store.latest_model import choose_models, is_candidate
from jobs.store.latest_predictions import LATEST_CSV
from jobs.text import one_line
from scheduler.errors import CronsembleError
from scheduler.identity import current_user
from scheduler.stores.latest_predictions import update_latest
from scheduler.times import format_time

_NAMED = 3
"""Ensemble runs that are named one by one."""


@dataclass(frozen=True)
class DecisionOutcome:
    """What a decision has changed: ``refused_before`` is why the run was refused until then, ``effects`` are lines for people."""

    run: RunId
    decision: str
    is_changed: bool
    refused_before: str
    reason: str = ""
    by: str = ""
    time: str = ""
    effects: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "run": str(self.run),
            "task": self.run.task,
            "slot": c.slot_text(self.run.minute),
            "decision": self.decision,
            "changed": self.is_changed,
            "refused_before": self.refused_before,
            "reason": self.reason,
            "by": self.by,
            "time": self.time,
            "effects": self.effects,
        }


def decide(store: Store, run: Run, decision: str, reason: str) -> DecisionOutcome:
    """Accept or refuse a run, unless that was decided of it last; raises CronsembleError for one that is not published.

    What its gate has decided is confirmed: of several who decide at once each is heard, in one order.
    """
    word = "accept" if decision == ACCEPTED else "refuse"
    if not run.record:
        why = f": {run.reason}" if run.reason else ""
        raise CronsembleError(f"{run.id} has published no result ({run.status}{why}): there is nothing to {word}")
    while True:
        decisions = store.decisions(run.id)
        refused = refusal(run.record, decisions)
        last = decisions[-1] if decisions else {}
        if last.get("decision") == decision:
            why, by, when = (str(last.get(name) or "") for name in ("reason", "by", "time"))
            if run.id.task == ENSEMBLE_TASK:
                # Whoever decided that may have been killed before the files were replaced.
                update_latest(store, run.id.experiment)
            return DecisionOutcome(run.id, decision, False, refused, why, by, when)
        now, by = format_time(time.time(), milliseconds=True), current_user()
        if store.decide(run.id, {"decision": decision, "reason": one_line(reason), "by": by, "time": now}):
            is_ensemble = run.id.task == ENSEMBLE_TASK
            effects = _effect_on_latest(store, run) if is_ensemble else _effects_on_ensembles(store, run)
            return DecisionOutcome(run.id, decision, True, refused, one_line(reason), by, now, effects)
        # Somebody decided meanwhile: it may be so now.


def _effect_on_latest(store: Store, run: Run) -> list[str]:
    """What `latest.csv` holds now."""
    update = update_latest(store, run.id.experiment)
    if update.problem:
        return [update.problem]
    if update.run is None:
        return [f"{LATEST_CSV}: there is none, for no ensemble run of a schedule is accepted"]
    return [f"{LATEST_CSV} has the predictions of {c.slot_text(update.run.minute)} ({update.run})"]


def _effects_on_ensembles(store: Store, run: Run) -> list[str]:
    """Which model of its member ensembles take from now on, and which ensembles have taken this one."""
    member, record = run.id.task[len(c.member_task("")) :], run.record
    if not is_candidate(record, ""):
        return ["no scheduled ensemble would take it: it is a run by hand, or of another configuration"]
    # The model that an ensemble of now takes, however old it may be.
    (choice,) = choose_models(store, RunId(int(time.time() // 60), 1, run.id.experiment, ENSEMBLE_TASK), [member], None, "")
    if choice.run is None:
        effects = [f"ensembles leave {member} out: {choice.reason}"]
    elif choice.run == run.id:
        effects = [f"the next ensemble takes its model of {member}"]
    else:
        effects = [f"the next ensemble takes the model of {choice.run} for {member}"]
    takers = list(_takers(store, run.id, member))
    if takers:
        named = ", ".join(takers[:_NAMED]) + (f" and {len(takers) - _NAMED} more" if len(takers) > _NAMED else "")
        effects.append(f"{named} took its model, and what that predicted stays as it is")
    return effects


def _takers(store: Store, training: RunId, member: str) -> list[str]:
    """The published ensemble runs that took a training's model, newest first."""
    takers = []
    for other in store.run_ids(training.experiment, ENSEMBLE_TASK, skip_unreadable=True):
        if other.minute < training.minute:
            break
        chosen = (store.result(other) or {}).get("members") or ()
        if any(each.get("member") == member and each.get("run") == str(training) for each in chosen):
            takers.append(str(other))
    return takers
