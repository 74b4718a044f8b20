"""A run is found by its id, a part of it, or its slot's date or time; what several runs have is an error that names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.contract import RunId
from jobs.store.files import to_json
from scheduler.cli import join_times
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.notices import received_by
from scheduler.rerun.selection import originals
from scheduler.stores.find_run import find_run, is_meant
from stores import Builder, at, minute

NOW = at("2026-11-24T12:00").timestamp()


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """A training at 02:30 of both kinds of time in Berlin, and an ensemble a day later."""
    builder = Builder(tmp_path)
    task = builder.store.put_snapshot("task", to_json({"timezone": "Europe/Berlin"}))
    for name, slot in (("train-a", "2026-10-25T00:30"), ("train-a", "2026-10-25T01:30"), ("ensemble", "2026-10-25T23:10")):
        builder.run(name, slot, snapshot={"program": "", "code": "", "task": task})
    return builder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2026-10-25T01:30Z", "2026-10-25T01:30"),
        ("2026-10-25 02:30+02:00", "2026-10-25T00:30"),
        ("Sun 2026-10-25 02:30 +01:00", "2026-10-25T01:30"),
        ("2026-10-26", "2026-10-25T23:10"),
        ("2026-10-26 00:10", "2026-10-25T23:10"),
        ("ensemble", "2026-10-25T23:10"),
        ("2026-10-25T2310Z", "2026-10-25T23:10"),
    ],
)
def test_one_run(builder: Builder, name: str, expected: str) -> None:
    assert find_run(builder.store, "e", name).id.minute == minute(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2026-10-25T02:30", r"there are 2 runs of then \(e-train-a-\d+, e-train-a-\d+\): type one of their ids, or --task"),
        ("train-a", r"2 runs have this in their id \(e-train-a-\d+, e-train-a-\d+\): type more of it"),
        ("2026-10-24", "no run of then in .*: `cronsemble history 2026-10-24` says what became of its slots"),
        ("2026-10-32", "there is no such date or time"),
        ("2026-03-29T02:30", "clocks in Europe/Berlin are set forward over this time"),
    ],
)
def test_none_or_several(builder: Builder, name: str, message: str) -> None:
    task = builder.store.put_snapshot("task", to_json({"timezone": "Europe/Berlin"}))
    builder.run("ensemble", "2026-03-29T01:00", snapshot={"program": "", "code": "", "task": task})
    with pytest.raises(CronsembleError, match=message):
        find_run(builder.store, "e", name)


def test_names_of_a_day_with_members_an_ensemble_a_rerun_and_a_manual_test(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.run("train-a", "2026-11-23T01:00")
    builder.run("train-b", "2026-11-23T01:00", "failed", reason="because")
    night = builder.run("ensemble", "2026-11-23T06:00")
    builder.run("ensemble", "2026-11-23T06:00", attempt=2, kind="rerun")
    builder.run("ensemble", "2026-11-23T14:07", kind="manual")
    failed = builder.run("ensemble", "2026-11-24T06:00", "no quorum", reason="0 of 1")
    notes: list[str] = []

    def found(name: str, task: str | None = None, succeeded: bool = False) -> RunId:
        with received_by(notes.append):
            return find_run(builder.store, "e", name, task, succeeded=succeeded).id

    assert found("2026-11-23") == night == found("2026-11-23 06:00") == found("2026-11-23T0600Z") == found(f"{night.minute}")
    assert found("2026-11-23", "train-b").task == "train-b" and not notes
    assert found("latest") == failed == found("2026-11-24")
    assert found("Latest", succeeded=True) == RunId(minute("2026-11-23T14:07"), 1, "e", "ensemble")
    assert found("latest", "train-a").task == "train-a"
    assert found(f"{night.minute}-r2").attempt == 2 and found(f"ensemble-{night.minute}") == night
    with pytest.raises(UnknownRun, match="there are 2 runs of then"):
        found("2026-11-23T01:00")
    with pytest.raises(CronsembleError, match="--task train-c: no runs of it; there are ensemble, train-a, train-b"):
        found("latest", "train-c")
    with pytest.raises(UnknownRun, match="no run that succeeded of e yet"):
        found("latest", "train-b", succeeded=True)


def test_after_an_edit_of_the_zone_a_time_is_read_as_the_history_prints_it(builder: Builder) -> None:
    """Of the runs before the edit too: the history prints all of them by the clocks of one zone."""
    assert find_run(builder.store, "e", "2026-10-26 00:10").id.task == "ensemble"
    assert find_run(builder.store, "e", "2026-10-25 16:10", timezone="America/Los_Angeles").id.task == "ensemble"
    with pytest.raises(UnknownRun, match="no run of then"):
        find_run(builder.store, "e", "2026-10-26 00:10", timezone="America/Los_Angeles")


def test_of_a_date_with_several_slots_the_newest_is_meant_and_the_others_are_noted(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.run("ensemble", "2026-11-23T06:00")
    newest = builder.run("ensemble", "2026-11-23T18:00", "no quorum")
    notes: list[str] = []
    with received_by(notes.append):
        assert find_run(builder.store, "e", "2026-11-23").id == newest
    assert notes == [f"note: 2026-11-23: {newest}, the newest of 2 ensemble runs; `cronsemble history 2026-11-23` has the others"]
    assert find_run(builder.store, "e", "2026-11-23", succeeded=True).id.minute == minute("2026-11-23T06:00")


def test_what_a_rerun_of_the_latest_repeats(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    with pytest.raises(UnknownRun, match="no run of e has ended yet"):
        originals(builder.store, "e", "latest", None)
    builder.run("train-a", "2026-11-24T01:00")
    night = builder.run("ensemble", "2026-11-23T06:00")
    builder.run("ensemble", "2026-11-23T06:00", attempt=2, kind="rerun")
    builder.run("ensemble", "2026-11-24T06:00", "running")
    assert [run.id for run in originals(builder.store, "e", "latest", None)] == [night]
    assert [run.id.task for run in originals(builder.store, "e", "latest", "train-a")] == ["train-a"]


def test_a_run_of_a_job_that_the_store_does_not_know_is_found_too(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    stored = builder.run("train-a", "2026-11-23T01:00")
    job = RunId(minute("2026-11-23T23:30"), 1, "e", "ensemble")
    for name in ("latest", "2026-11-24", "2026-11-24 00:30", str(job), "ensemble"):
        assert find_run(builder.store, "e", name, jobs=[job], timezone="Europe/Berlin").id == job
    assert find_run(builder.store, "e", "2026-11-23", jobs=[job], timezone="Europe/Berlin").id == stored


def test_a_job_that_the_store_does_not_know_is_meant_in_the_experiments_zone() -> None:
    run = RunId(minute("2026-11-23T23:30"), 1, "e", "train-a")
    for text, zone in (("2026-11-24", "Europe/Berlin"), ("2026-11-23", "UTC"), ("today", "Europe/Berlin"), ("train", "UTC")):
        assert is_meant(run, text, zone, NOW)
    assert not is_meant(run, "yesterday", "Europe/Berlin", NOW)


def test_a_pasted_time_is_one_argument() -> None:
    assert join_times(["show", "2026-11-20", "06:00"]) == ["show", "2026-11-20 06:00"]
    assert join_times(["rerun", "2026-11-20", "06:00..2026-11-21", "07:30", "-n", "5"]) == [
        "rerun",
        "2026-11-20 06:00..2026-11-21 07:30",
        "-n",
        "5",
    ]
    pasted = ["show", "Fri", "2026-11-20", "06:00", "+01:00", "--json"]
    assert join_times(pasted) == ["show", "Fri 2026-11-20 06:00 +01:00", "--json"]
    assert join_times(["next", "30 6 * * *", "--from", "2026-11-20"]) == ["next", "30 6 * * *", "--from", "2026-11-20"]
