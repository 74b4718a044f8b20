"""Which models ensembles that have not ended may still take, and what gates compare with, so that `gc` keeps them.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

from jobs import contract as c
from jobs import revisions
from jobs.contract import RunId, RunKind, Status
from jobs.store.latest_model import takeable
from jobs.store.latest_predictions import SCHEDULED_KINDS, may_be_latest
from jobs.store.local_store import LocalStore
from jobs.store.reading import Run
from jobs.store.run_summaries import RunSummaries, RunSummary

_TRIES = 86400.0
"""Seconds that the tries of an ensemble run may take whose deadline is not known."""


def needed_models(
    store: LocalStore, summaries: RunSummaries, experiment: str, now: float, read: Callable[[RunId], Run]
) -> Iterator[RunId]:
    """The trainings whose models an ensemble that has not ended may still take, by the rule by which it takes them.

    That may be one of a slot to come, or of a past one: that waits, is latent (a resume releases it), is tried again, or runs.
    With them the newest accepted ensemble run, which the next one's gate compares with; a training's is among its models.
    ``now`` is in seconds since 1970; ``read`` reads an ensemble's run that has no summary.
    """
    last_scheduled, running, has_accepted = -inf, set[int](), False
    for run_id, summary in summaries.of_task(experiment, c.ENSEMBLE_TASK):
        run = read(run_id) if summary is None else None
        if not has_accepted and _is_accepted(run, summary):
            has_accepted = True
            yield run_id
        kind = run.kind if run is not None else summary.facts.kind if summary is not None else None
        if run is not None and run.status == Status.RUNNING:
            running.add(run_id.minute)
        if last_scheduled == -inf and kind == RunKind.SCHEDULED:
            last_scheduled = run_id.minute * 60.0
    since = _earliest_open_slot(store, experiment, last_scheduled, now) / 60
    for task in store.tasks(experiment):
        if task != c.ENSEMBLE_TASK:
            yield from takeable(store, experiment, task[len(c.member_task("")) :], since)
    for run_id in store.run_ids(experiment, c.ENSEMBLE_TASK) if running else ():
        # One that is running may repeat another of its slot with the models that this took.
        if run_id.minute in running:
            for member in store.model_selection(store.read(run_id)):
                training = c.parse_run_id(str(member.get("run")), experiment, c.member_task(str(member.get("member"))))
                if training is not None:
                    yield training


def _is_accepted(run: Run | None, summary: RunSummary | None) -> bool:
    """Whether a published run counts for others and is not refused, by its summary or as it was read."""
    if summary is not None:
        return summary.facts.has_record and summary.facts.is_usable and summary.facts.kind in SCHEDULED_KINDS
    return run is not None and bool(run.record) and may_be_latest(run.record) and not run.refused


def has_ended_since(run: Run, instant: float) -> bool:
    """Whether a try of a run ended after an instant, in seconds since 1970."""
    ends = [run.record.get("finished"), *((attempt["end"] or {}).get("time") for attempt in run.tries)]
    return any(_seconds(end) > instant for end in ends if end)


def _earliest_open_slot(store: LocalStore, experiment: str, last: float, now: float) -> float:
    """The instant before which no slot of the ensemble is still to be begun or tried again.

    ``last`` is its last slot that a schedule began; all are in seconds since 1970.
    """
    earliest = now
    # Of several engines each may still run its own.
    for chain in revisions.chains(revisions.merge(store.ledger.revisions(experiment))):
        *_, (_, _, tasks) = revisions.states(chain)
        if c.ENSEMBLE_TASK in tasks:
            starting_deadline = tasks[c.ENSEMBLE_TASK].get("starting_deadline")
            # Without a starting deadline a cluster makes up for whatever came after the last slot that it began.
            waits = last if starting_deadline is None else now - starting_deadline
            earliest = min(earliest, waits - (tasks[c.ENSEMBLE_TASK].get("deadline") or _TRIES))
    return earliest


def _seconds(text: object) -> float:
    """An ISO 8601 time in seconds since 1970; -inf for what is none."""
    time = c.parse_time(text)
    return -inf if time is None else time
