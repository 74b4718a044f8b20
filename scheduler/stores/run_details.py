"""Reads from a store what a slot's report says of a run beyond its row: tries, verdict, and why each model was taken."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.contract import ENSEMBLE_TASK, PROBABILITIES, SELECTION, START, VERDICT, RunId, member_task
from jobs.store import Run, Store
from jobs.store.document_files import read_document
from jobs.store.latest_model import rejection_reason
from scheduler.history.slot_report import MemberModel, RejectedModel, RunDetails

NAMED_MODELS = 20
"""Models of a member that are named one by one as not taken."""


def read_run_details(store: Store, run_id: RunId) -> RunDetails:
    """What the store holds of a run; of one that has left nothing in it, empty values."""
    store.download(run_id, f"*/{SELECTION}", f"*/{PROBABILITIES}/*/{START}")
    run = store.read(run_id)
    models = tuple(_member_models(store, run)) if run_id.task == ENSEMBLE_TASK else ()
    return RunDetails(run, read_document(run.folder / VERDICT), models)


def _member_models(store: Store, run: Run) -> Iterator[MemberModel]:
    """Which model of each member an ensemble run took, and why each newer one of it was not taken."""
    record = run.record
    weights = (record.get("ensemble") or {}).get("members") or {}
    max_age = store.task_configuration(record).get("max_age")
    for choice in store.model_selection(run):
        member, taken = str(choice.get("member")), choice.get("run")
        not_taken: list[RejectedModel] = []
        older = 0
        is_past_taken = False
        for candidate in store.run_ids(run.id.experiment, member_task(member), skip_unreadable=True):
            if candidate.minute > run.id.minute:
                continue
            if str(candidate) == taken:
                is_past_taken = True
            elif is_past_taken or len(not_taken) == NAMED_MODELS:
                older += 1
            else:
                chosen_at = store.model_chosen_at(run, member)
                invocation = str(record.get("invocation") or "")
                reason = rejection_reason(store, run.id, candidate, max_age, invocation, chosen_at)
                not_taken.append(RejectedModel(str(candidate), reason or "it was published only after the choice"))
        yield MemberModel(
            member,
            taken,
            choice.get("accuracy"),
            (weights.get(member) or {}).get("weight"),
            choice.get("left_out"),
            not_taken,
            older,
        )
