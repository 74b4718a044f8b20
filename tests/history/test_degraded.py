"""Degraded ensemble runs: which slot's model was taken, which was due, and why not that one, as of when the run chose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobs.contract import RunId, Status
from scheduler.history.query import ExperimentHistory, HistoryQuery, Page, rows
from scheduler.history.run_facts import MemberFact, RunFact
from scheduler.history.slots import Row
from stores import minute

TRAIN, ENSEMBLE = "train-a", "ensemble"
OLD, NEW, CHOICE = "2026-11-19T01:00", "2026-11-20T01:00", "2026-11-20T06:00"
SCHEDULES: dict[str, dict[str, Any]] = {TRAIN: {"schedule": "0 1 * * *"}, ENSEMBLE: {"schedule": "0 6 * * *"}}


def revision(time: str, tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    whole = {name: {"concurrency": "Forbid", "starting_deadline": 3600, **task} for name, task in tasks.items()}
    return {"revision": 1, "time": time, "engine": "host:h", "tasks": whole, "folded": 1}


HISTORY = ExperimentHistory(
    "e", "Europe/Berlin", minute("2026-11-21T12:00") * 60.0, [revision("2026-10-01T00:00:00Z", SCHEDULES)]
)


def training(slot: str, status: str = Status.SUCCEEDED, attempt: int = 1, late: int = 0, lasts: int = 60, **more: Any) -> RunFact:
    started = minute(slot) * 60.0 + late
    return RunFact(minute(slot), attempt, status, started=started, finished=started + lasts, **{"kind": "scheduled", **more})


def ensemble(taken: str, slot: str = CHOICE, accuracy: float | None = 0.75, **more: Any) -> RunFact:
    member = MemberFact("a", minute(taken), 1, 1.0, accuracy)
    started = minute(slot) * 60.0
    fields = {"kind": "scheduled", "started": started, "finished": started + 60, "accuracy": 0.5, "members": (member,), **more}
    return RunFact(minute(slot), 1, Status.SUCCEEDED, **fields)


def history_rows(
    trainings: list[RunFact], ensembles: list[RunFact], history: ExperimentHistory = HISTORY, tasks: tuple[str, ...] = ()
) -> dict[tuple[str, str, int | None], Row]:
    pages: dict[Page, list[RunFact]] = {}
    for task, facts in ((TRAIN, trainings), (ENSEMBLE, ensembles)):
        for fact in facts:
            pages.setdefault((task, RunId(fact.minute, 1, "e", task).month), []).append(fact)
    months = {task: sorted({month for own, month in pages if own == task}) for task, _ in pages}
    query = HistoryQuery(tasks=tasks)
    return {(row.task, row.slot[:-1], row.attempt): row for row in rows(replace(history, months=months), query, pages)}


TOOK = "a took the model of 2026-11-19 02:00, not of 2026-11-20 02:00, which "


@pytest.mark.parametrize(
    ("later", "why"),
    [
        ([training(NEW, Status.FAILED, reason="out of memory")], "failed: out of memory"),
        ([training(NEW, Status.DIED)], "died"),
        ([training(NEW, lasts=5 * 3600 + 60)], "was still running"),
        ([training(NEW, Status.RUNNING)], "still runs"),
        ([training(NEW, late=9 * 3600, kind="backfill")], "had not run yet"),
        # A failure that was made good only afterwards is what it was when the ensemble chose.
        ([training(NEW, Status.FAILED, reason="x"), training(NEW, attempt=2, late=9 * 3600, kind="rerun")], "failed: x"),
        ([training(NEW)], "could not be taken"),
        ([], "was missed: no run, and no record of why: probably serve was not running"),
    ],
)
def test_an_older_model_is_said_with_the_reason(later: list[RunFact], why: str) -> None:
    for tasks in ((), (ENSEMBLE,)):
        row = history_rows([training(OLD), *later], [ensemble(OLD)], tasks=tasks)[ENSEMBLE, CHOICE, 1]
        assert (row.status, row.degraded, row.outcome) == ("succeeded", TOOK + why, "succeeded, degraded")


@pytest.mark.parametrize(
    ("taken", "tasks"),
    [
        (NEW, SCHEDULES),  # the newest
        (OLD, {**SCHEDULES, TRAIN: {"schedule": "0 1 * * *", "suspend": True}}),  # nothing was due
        (OLD, {**SCHEDULES, TRAIN: {"schedule": "0 6 * * *"}}),  # due at the ensemble's own minute
        (OLD, {ENSEMBLE: SCHEDULES[ENSEMBLE]}),  # not a member any more
    ],
)
def test_what_the_schedule_offered_is_not_degraded(taken: str, tasks: dict[str, dict[str, Any]]) -> None:
    history = replace(HISTORY, revisions=[revision("2026-11-19T12:00:00Z", tasks)])
    row = history_rows([training(OLD), training(NEW)], [ensemble(taken)], history)[ENSEMBLE, CHOICE, 1]
    assert (row.degraded, row.outcome) == ("", "succeeded")


def test_a_slot_of_an_earlier_month_counts() -> None:
    history = replace(HISTORY, revisions=[revision("2026-10-01T00:00:00Z", {**SCHEDULES, TRAIN: {"schedule": "0 1 1 * *"}})])
    failed = training("2026-11-01T01:00", Status.FAILED, reason="x")
    taken = "2026-10-01T01:00"
    row = history_rows([training(taken), failed], [ensemble(taken)], history)[ENSEMBLE, CHOICE, 1]
    assert row.degraded == "a took the model of 2026-10-01 03:00, not of 2026-11-01 02:00, which failed: x"


def test_a_run_by_hand_offers_its_own_trainings() -> None:
    by_hand = [training(OLD), training(CHOICE, Status.FAILED, kind="manual", reason="x")]
    row = history_rows(by_hand, [ensemble(OLD, kind="manual", started=minute(CHOICE) * 60.0 + 90)])[ENSEMBLE, CHOICE, 1]
    assert row.degraded == "a took the model of 2026-11-19 02:00, not of 2026-11-20 07:00, which failed: x"


def test_what_a_record_says_comes_first() -> None:
    failed = training(NEW, Status.FAILED, reason="x")
    row = history_rows([training(OLD), failed], [ensemble(OLD, degraded="b left out: y")])[ENSEMBLE, CHOICE, 1]
    assert row.degraded == f"b left out: y; {TOOK}failed: x"


def test_a_training_is_measured_on_the_items_of_the_first_ensemble_run_that_took_it() -> None:
    """One by hand counts only where no other took it; nothing where none has; the change is of the same figure."""
    third = "2026-11-21T01:00"
    trainings = [training(OLD, accuracy=0.9), training(NEW, accuracy=0.8), training(third, accuracy=0.9375)]
    ensembles = [
        ensemble(OLD, "2026-11-19T03:00", accuracy=0.125, kind="manual"),
        ensemble(OLD, "2026-11-19T06:00", accuracy=0.25),
        ensemble(OLD, CHOICE, accuracy=0.375),
        ensemble(NEW, "2026-11-20T12:00", accuracy=0.75, kind="manual"),
    ]
    for tasks in ((), (TRAIN,)):
        known = history_rows(trainings, ensembles, tasks=tasks)
        figures = [
            (row.items_accuracy, row.accuracy, row.change) for slot in (OLD, NEW, third) for row in [known[TRAIN, slot, 1]]
        ]
        assert figures == [(0.25, 0.9, None), (0.75, 0.8, 0.5), (None, 0.9375, 0.9375 - 0.8)]


def test_changes_are_from_slot_to_slot_across_months_failures_and_attempts() -> None:
    slots = ["2026-10-31T06:00", "2026-11-01T06:00", "2026-11-02T06:00", "2026-11-03T06:00", "2026-11-03T07:00"]
    values = [0.5, 0.25, None, 0.75, 0.1]
    facts = [ensemble(OLD, slot, members=(), accuracy=None) for slot in slots]
    for fact, value in zip(facts, values, strict=True):
        fact.accuracy = value
    facts[2].status, facts[4].kind = Status.FAILED, "manual"
    facts.append(ensemble(OLD, slots[3], members=(), kind="rerun"))
    facts[-1].attempt, facts[-1].accuracy = 2, 1.0
    known = history_rows([], facts)
    keys = [(slots[1], 1), (slots[2], 1), (slots[3], 1), (slots[3], 2), (slots[4], 1)]
    assert [known[ENSEMBLE, *key].change for key in keys] == [-0.25, None, 0.5, 0.75, None]
