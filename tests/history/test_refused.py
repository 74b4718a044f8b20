"""Refused runs: in the history, never latest, kept by gc, and what was decided of them later."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from jobs.contract import RunId, Status
from jobs.store.accepted_runs import last_accepted
from jobs.store.gc import RemovalKind, RetentionRule, plan_removal
from jobs.store.latest_model import choose_models, rejection_reason
from jobs.store.local_store import LocalStore
from scheduler.errors import CronsembleError
from scheduler.history.calendar import calendar_days, calendar_query
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import Row
from scheduler.stores.decide import decide
from scheduler.stores.find_run import find_run
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, at, minute

GATE = {"refused": "accuracy 0.6000 is less than min_accuracy 0.9"}
MODEL = {"model": {"file": "weights.h5", "sha256": "0" * 64}}
FILES = {"weights.h5": b"w"}
NOW = at("2026-11-23T12:00").timestamp()


def rows(store: LocalStore, now: float = NOW) -> dict[str, Row]:
    reader = HistoryReader(store, "e", "UTC", now)
    return {row.run or row.slot: row for row in reader.rows(HistoryQuery(minute("2026-11-19T00:00"), minute("2026-11-23T12:00")))}


def decision(word: str, time: str) -> dict[str, Any]:
    return {"decision": word, "reason": "because", "by": "ann@here", "time": time}


@pytest.fixture
def night(tmp_path: Path) -> tuple[Builder, RunId, RunId, RunId]:
    """A member accepted on the 19th and refused on the 20th, and the ensemble that took the former."""
    builder = Builder(tmp_path)
    builder.revise("2026-11-18T00:00", {"train-jax": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}})
    good = builder.run("train-jax", "2026-11-19T01:00", files=FILES, **MODEL)
    bad = builder.run("train-jax", "2026-11-20T01:00", files=FILES, gate=GATE, degraded="a weight was NaN", **MODEL)
    taken = {"member": "jax", "run": str(good), "refused": {"run": str(bad), "reason": GATE["refused"]}}
    return builder, good, bad, builder.run("ensemble", "2026-11-20T06:00", members=[taken])


def test_a_refused_run_has_its_own_status_and_the_ensemble_is_degraded(night: tuple[Builder, RunId, RunId, RunId]) -> None:
    builder, _, bad, ensemble = night
    row = rows(builder.store)[str(bad)]
    assert (row.status, row.reason, row.degraded) == ("refused", f"{GATE['refused']}; a weight was NaN", "")
    assert row.has_status(["refused"]) and not row.has_status(["succeeded"])
    why = f"jax took the model of 2026-11-19T01:00Z, not of 2026-11-20T01:00Z, which was refused: {GATE['refused']}"
    assert rows(builder.store)[str(ensemble)].degraded == why


def test_an_ensemble_that_recorded_nothing_is_degraded_by_the_schedule(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.revise("2026-11-18T00:00", {"train-jax": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}})
    good, bad = (builder.run("train-jax", f"2026-11-{day}T01:00", **MODEL) for day in (19, 20))
    builder.store.decide(bad, decision("refused", "2026-11-20T05:00:00Z"))
    builder.store.decide(bad, decision("accepted", "2026-11-20T09:00:00Z"))
    ensemble = builder.run("ensemble", "2026-11-20T06:00", members=[{"member": "jax", "run": str(good)}])
    assert rows(builder.store)[str(bad)].status == "succeeded"
    # As of when it chose.
    assert "which was refused: by ann@here: because" in rows(builder.store)[str(ensemble)].degraded
    assert rejection_reason(builder.store, ensemble, bad, None, "", "2026-11-20T06:00:05Z") == "refused: by ann@here: because"
    assert rejection_reason(builder.store, ensemble, bad, None, "", "2026-11-20T09:30:00Z") == ""


def test_a_decision_that_comes_later_reaches_a_row_that_is_known_already(night: tuple[Builder, RunId, RunId, RunId]) -> None:
    builder, good, bad, _ = night
    later = time.time() + 10 * 86400  # the month's page is not listed again
    assert (rows(builder.store, later)[str(good)].status, rows(builder.store, later)[str(bad)].status) == ("succeeded", "refused")
    builder.store.decide(bad, decision("accepted", "2026-11-22T09:00:00Z"))
    builder.store.decide(good, decision("refused", "2026-11-22T09:00:00Z"))
    known = rows(builder.store, later)
    assert (known[str(good)].status, known[str(bad)].status) == ("refused", "succeeded")
    assert known[str(good)].reason == "by ann@here: because" and known[str(bad)].degraded == "a weight was NaN"


def test_refused_is_never_latest(night: tuple[Builder, RunId, RunId, RunId]) -> None:
    builder, good, bad, ensemble = night
    store, within = builder.store, 40 * 3600
    (choice,) = choose_models(store, ensemble, ["jax"], within, "")
    assert (choice.run, choice.refused) == (good, (bad, GATE["refused"]))
    (choice,) = choose_models(store, ensemble, ["jax"], 12 * 3600, "")
    newest = f"its newest training {bad} cannot be taken (refused: {GATE['refused']})"
    assert (choice.run, choice.reason) == (None, f"{newest}, and the ones before are older than max_age (12h)")
    # Of its own slot another attempt is taken, which is no older model.
    again = builder.run("train-jax", "2026-11-20T01:00", attempt=2, **MODEL)
    builder.run("train-jax", "2026-11-20T01:00", attempt=3, gate=GATE, **MODEL)
    (choice,) = choose_models(store, ensemble, ["jax"], within, "")
    assert (choice.run, choice.refused) == (again, None)


def test_what_a_gate_compares_with(night: tuple[Builder, RunId, RunId, RunId]) -> None:
    builder, good, bad, _ = night
    store, run = builder.store, RunId(minute("2026-11-21T01:00"), 1, "e", "train-jax")
    assert last_accepted(store, run, "scheduled") == (good, store.result(good))
    store.decide(bad, decision("accepted", "2026-11-21T12:00:00Z"))
    assert [last_accepted(store, run, kind) for kind in ("scheduled", "backfill")] == [
        (bad, store.result(bad)),  # as of now
        (good, store.result(good)),  # as of its date
    ]
    # Of a run that came after that date nothing could be decided by then.
    late = builder.run("train-jax", "2026-11-20T01:00", attempt=2, late=30 * 3600, kind="backfill", **MODEL)
    store.decide(late, decision("refused", "2026-11-22T12:00:00Z"))
    assert (last_accepted(store, run, "backfill") or [None])[0] == good
    builder.run("train-jax", "2026-11-20T02:00", kind="manual", **MODEL)
    assert (last_accepted(store, run, "backfill") or [None])[0] == good
    assert last_accepted(store, good, "scheduled") is None


def test_gc_keeps_the_accepted_model_behind_refused_ones(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.revise("2026-11-01T00:00", {"train-jax": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}})
    older, accepted = (builder.run("train-jax", f"2026-11-0{day}T01:00", files=FILES, **MODEL) for day in (1, 2))
    refused = [builder.run("train-jax", f"2026-11-0{day}T01:00", files=FILES, gate=GATE, **MODEL) for day in (3, 4, 5)]
    builder.run("ensemble", "2026-11-05T06:00")
    now = at("2026-12-20T12:00").timestamp()
    for kinds in ([RemovalKind.MODELS], [RemovalKind.RUNS]):
        plan = plan_removal(builder.store, "e", RetentionRule(kinds, 86400.0, 0), now)
        removed = {item.run for item in plan.items}
        assert {older, refused[0], refused[1]} <= removed and not {accepted, refused[2]} & removed
    # By number too: a refused one does not count.
    plan = plan_removal(builder.store, "e", RetentionRule([RemovalKind.MODELS], 86400.0, 2), now)
    assert not {item.run for item in plan.items} & {older, accepted}


def test_gc_keeps_the_ensemble_that_the_next_one_is_compared_with(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    first, accepted = (builder.run("ensemble", f"2026-11-0{day}T06:00", files={"predictions.csv": b"x"}) for day in (1, 2))
    refused = builder.run("ensemble", "2026-11-03T06:00", gate=GATE)
    rule = RetentionRule([RemovalKind.RUNS], 86400.0, 0)
    removed = {item.run for item in plan_removal(builder.store, "e", rule, at("2026-12-20T12:00").timestamp()).items}
    assert removed == {first, refused} and accepted not in removed


def test_a_removed_run_stays_refused(night: tuple[Builder, RunId, RunId, RunId]) -> None:
    builder, _, bad, _ = night
    plan = plan_removal(builder.store, "e", RetentionRule([RemovalKind.RUNS], 86400.0, 0), NOW + 90 * 86400)
    assert dict(plan.rows).get(bad, {"refused": GATE["refused"]})["refused"] == GATE["refused"]


def test_by_hand(night: tuple[Builder, RunId, RunId, RunId]) -> None:
    builder, good, bad, ensemble = night
    store = builder.store
    accepted = decide(store, store.read(bad), "accepted", "new labels")
    assert accepted.is_changed and accepted.refused_before == GATE["refused"]
    assert accepted.effects == ["the next ensemble takes its model of jax"]
    assert not decide(store, store.read(bad), "accepted", "").is_changed
    refused = decide(store, store.read(good), "refused", "wrong\nlabels")
    assert refused.effects == [
        f"the next ensemble takes the model of {bad} for jax",
        f"{ensemble} took its model, and what that predicted stays as it is",
    ]
    assert store.read(good).refused == f"by {refused.by}: wrong labels"
    assert len(store.decisions(bad)) == len(store.decisions(good)) == 1
    # What a gate has decided is confirmed: of two who decide otherwise at once, both are heard.
    confirmed = decide(store, store.read(ensemble), "accepted", "looked at")
    assert confirmed.is_changed and confirmed.refused_before == "" and store.decisions(ensemble)[0]["reason"] == "looked at"
    worse = builder.run("train-jax", "2026-11-20T02:00", gate=GATE, **MODEL)
    assert decide(store, store.read(worse), "refused", "its data too").refused_before == GATE["refused"]
    assert store.read(worse).refused == f"by {refused.by}: its data too"
    failed = builder.run("train-jax", "2026-11-21T01:00", "failed", reason="no data")
    with pytest.raises(CronsembleError, match=r"has published no result \(failed: no data\): there is nothing to accept"):
        decide(store, store.read(failed), "accepted", "")
    assert Status.REFUSED in {row.status for row in rows(store).values()}


def test_a_calendar_shows_it(night: tuple[Builder, RunId, RunId, RunId]) -> None:
    builder = night[0]
    query = calendar_query(HistoryQuery(), "UTC", NOW)
    days = calendar_days(list(rows(builder.store).values()), query, "UTC")
    assert days.tasks["train-jax"]["2026-11-20"] == {"refused": 1}


def test_a_decision_about_an_ensemble_moves_the_latest_predictions(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    files = {"predictions.csv": b"item,prediction,probability,a\n1,a,1.0,1.0\n"}
    first, second = (builder.run("ensemble", f"2026-11-{day}T06:00", files=files, lists_files=True) for day in (19, 20))
    for run in (first, second):
        assert builder.store.publish_archive(run) is not None
    refused = decide(builder.store, builder.store.read(second), "refused", "wrong inputs")
    assert refused.effects == [f"latest.csv has the predictions of 2026-11-19T06:00Z ({first})"]
    none = decide(builder.store, builder.store.read(first), "refused", "wrong inputs")
    assert none.effects == ["latest.csv: there is none, for no ensemble run of a schedule is accepted"]
    assert decide(builder.store, builder.store.read(second), "accepted", "").effects == [
        f"latest.csv has the predictions of 2026-11-20T06:00Z ({second})"
    ]


def test_a_name_means_what_is_accepted_first(night: tuple[Builder, RunId, RunId, RunId]) -> None:
    builder, _, _, ensemble = night
    builder.store.decide(ensemble, decision("refused", "2026-11-20T09:00:00Z"))
    with pytest.raises(CronsembleError, match=f"no run of e is accepted: {ensemble} is refused: by ann@here: because"):
        find_run(builder.store, "e", "latest", succeeded=True)
    builder.store.decide(ensemble, decision("accepted", "2026-11-20T09:01:00Z"))
    builder.run("ensemble", "2026-11-21T06:00", gate=GATE)
    assert find_run(builder.store, "e", "latest", succeeded=True).id == ensemble
    assert find_run(builder.store, "e", "latest").id.minute == minute("2026-11-21T06:00")
    accepted = builder.run("ensemble", "2026-11-22T06:00")
    builder.run("ensemble", "2026-11-22T06:00", attempt=2, gate=GATE)
    assert find_run(builder.store, "e", "2026-11-22", succeeded=True).id == accepted
