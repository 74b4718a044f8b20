"""The metrics of an experiment: what each says of a store, and that it says nothing where there is nothing to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.files import to_json
from reader.pipes import DAILY, Far, example_store
from scheduler.history.observed_runs import ClusterObservation
from scheduler.history.query import HistoryQuery
from scheduler.metrics import values
from scheduler.metrics.exposition import metrics_text
from scheduler.metrics.values import ExperimentMetrics, TaskMetrics, read_metrics
from scheduler.report.slot_groups import effective_rows
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, at
from year_store import build

NIGHTLY = {"schedule": "0 1 * * *", "timezone": "Europe/Berlin", "deadline": 7200}
MORNING = {"schedule": "0 6 * * *", "timezone": "Europe/Berlin", "deadline": 7200}


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "store")


def read(builder: Builder, now: str) -> ExperimentMetrics:
    return read_metrics(HistoryReader(builder.store, "e", "Europe/Berlin", at(now).timestamp()))


def task(builder: Builder, now: str, name: str = "train-a") -> TaskMetrics:
    return next(each for each in read(builder, now).tasks if each.task == name)


def seconds(text: str) -> float:
    return at(text).timestamp()


def combine(builder: Builder, slot: str, members: dict[str, RunId | None], accuracy: float = 0.95, **more: Any) -> None:
    """An ensemble run that succeeded; of each member its training, or None where it was left out."""
    chosen = [
        {"member": name, "run": str(run), "accuracy": 0.9} if run else {"member": name, "left_out": "no model"}
        for name, run in members.items()
    ]
    summary = {"members": {name: {"weight": 1.0, "accuracy_here": 0.8} for name, run in members.items() if run}}
    builder.run("ensemble", slot, accuracy=accuracy, members=chosen, ensemble=summary, lasts=30, **more)


def test_a_night_that_went_well(builder: Builder) -> None:
    digest = builder.store.put_snapshot("task", to_json({"task": "ensemble", "quorum": 2, "max_age": 129600}))
    builder.revise("2026-11-19T12:00", {"train-a": NIGHTLY, "train-b": NIGHTLY, "ensemble": {**MORNING, "task": digest}})
    runs: dict[str, RunId | None] = {
        name: builder.run(f"train-{name}", "2026-11-20T00:00", lasts=1800, accuracy=0.91) for name in ("a", "b")
    }
    combine(builder, "2026-11-20T05:00", runs)
    now = "2026-11-20T12:00"
    member = TaskMetrics(
        "train-a",
        schedule="0 1 * * *",
        timezone="Europe/Berlin",
        is_suspended=False,
        starting_deadline=3600,
        deadline=7200,
        state="succeeded",
        unsuccessful=0,
        running=0,
        last_slot=seconds("2026-11-20T00:00"),
        next_slot=seconds("2026-11-21T00:00"),
        last_success=seconds("2026-11-20T00:30:05"),
        duration=1800,
        items_accuracy=0.8,
        validation_accuracy=0.91,
        model_age=12 * 3600,
        model_max_age=129600,
    )
    found = read(builder, now)
    assert task(builder, now) == member
    assert (found.time, found.members, found.quorum, found.unreadable) == (seconds(now), 2, 2, 0)
    ensemble = task(builder, now, "ensemble")
    assert (ensemble.state, ensemble.items_accuracy, ensemble.duration) == ("succeeded", 0.95, 30)
    assert (ensemble.model_age, ensemble.model_max_age, ensemble.validation_accuracy) == (None, None, None)


@pytest.mark.parametrize(
    ("status", "state", "unsuccessful"),
    [("failed", "failed", 1), ("interrupted", "interrupted", 1), ("no quorum", "no quorum", 1), ("running", "succeeded", 0)],
)
def test_what_became_of_the_newest_slot_that_is_decided(builder: Builder, status: str, state: str, unsuccessful: int) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY})
    builder.run("train-a", "2026-11-19T00:00")
    builder.run("train-a", "2026-11-20T00:00", status)
    found = task(builder, "2026-11-20T00:40")
    assert (found.state, found.unsuccessful, found.running) == (state, unsuccessful, int(status == "running"))
    assert found.last_slot == seconds("2026-11-20T00:00") and found.last_success == seconds("2026-11-19T00:01:05")


def test_a_slot_is_missed_when_it_can_no_longer_begin(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY})
    builder.run("train-a", "2026-11-19T00:00")
    due, missed = (task(builder, f"2026-11-20T{time}") for time in ("00:40", "01:01"))
    assert (due.state, due.unsuccessful) == ("succeeded", 0)
    assert (missed.state, missed.unsuccessful, missed.model_age) == ("missed", 1, 25 * 3600 + 60)
    assert task(builder, "2026-11-23T12:00").unsuccessful == 4


def test_one_that_is_due_every_few_minutes_and_never_runs_is_missed(builder: Builder) -> None:
    """Its newest slot may always still begin."""
    builder.revise("2026-11-20T00:00", {"train-a": {"schedule": "*/10 * * * *"}})
    found = task(builder, "2026-11-20T01:05")
    assert (found.state, found.unsuccessful, found.last_slot) == ("missed", 5, seconds("2026-11-20T01:00"))
    assert found.last_success is None and found.model_age is None and found.duration is None


def test_a_degraded_ensemble(builder: Builder) -> None:
    builder.revise("2026-11-19T12:00", {"train-a": NIGHTLY, "train-b": NIGHTLY, "ensemble": MORNING})
    run = builder.run("train-a", "2026-11-20T00:00")
    combine(builder, "2026-11-20T05:00", {"a": run, "b": None}, degraded="b was left out: no model")
    found = read(builder, "2026-11-20T12:00")
    by_name = {each.task: each for each in found.tasks}
    assert (by_name["ensemble"].state, by_name["ensemble"].unsuccessful, found.members) == ("degraded", 0, 1)
    assert (by_name["train-b"].state, by_name["train-b"].items_accuracy, found.quorum) == ("missed", None, None)


def test_a_refused_model_is_no_success(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY})
    builder.run("train-a", "2026-11-19T00:00", accuracy=0.9)
    builder.run("train-a", "2026-11-20T00:00", accuracy=0.5, gate={"refused": "accuracy 0.5 is below 0.8"})
    found = task(builder, "2026-11-20T12:00")
    assert (found.state, found.unsuccessful, found.validation_accuracy, found.model_age) == ("refused", 1, 0.9, 36 * 3600)


def test_an_attempt_that_succeeded_counts_for_its_slot(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY})
    builder.run("train-a", "2026-11-20T00:00", "failed")
    builder.run("train-a", "2026-11-20T00:00", attempt=2, late=7200, kind="backfill")
    builder.run("train-a", "2026-11-20T00:00", "failed", attempt=3, late=9000, kind="rerun")
    found = task(builder, "2026-11-20T12:00")
    assert (found.state, found.unsuccessful, found.last_success) == ("succeeded", 0, seconds("2026-11-20T02:01:00"))


def test_a_suspended_task_has_no_next_slot_and_counts_as_no_failure(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY})
    builder.run("train-a", "2026-11-19T00:00", "failed")
    builder.revise("2026-11-19T12:00", {"train-a": {**NIGHTLY, "suspend": True}}, what="suspend")
    before, after = task(builder, "2026-11-19T13:00"), task(builder, "2026-11-20T12:00")
    assert (before.state, before.is_suspended, before.next_slot) == ("failed", True, None)
    assert (after.state, after.unsuccessful, after.is_suspended) == ("suspended", 0, True)


def test_a_task_without_a_schedule_has_what_its_runs_by_hand_left(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": {}, "train-b": NIGHTLY})
    builder.run("train-a", "2026-11-19T10:17", kind="manual", lasts=90)
    builder.run("train-b", "2026-11-20T10:17", kind="manual")
    found = task(builder, "2026-11-20T12:00")
    assert (found.state, found.duration, found.model_age) == ("succeeded", 90, 25.0 * 3600 + 43 * 60)
    assert (found.next_slot, found.last_slot, found.unsuccessful, found.is_suspended) == (None, None, None, None)
    # One by hand fills no slot of a schedule.
    assert task(builder, "2026-11-20T12:00", "train-b").state == "missed"


def test_without_any_revision_there_are_the_tasks_that_have_runs(builder: Builder) -> None:
    builder.run("train-a", "2026-11-19T10:17", kind="manual")
    (found,) = read(builder, "2026-11-20T12:00").tasks
    assert (found.task, found.state, found.schedule) == ("train-a", "succeeded", "")


def test_what_is_no_longer_declared_has_no_metrics(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY, "train-old": NIGHTLY})
    builder.run("train-old", "2026-11-19T00:00")
    builder.revise("2026-11-19T12:00", {"train-a": NIGHTLY})
    assert [each.task for each in read(builder, "2026-11-20T12:00").tasks] == ["train-a"]
    builder.revise("2026-11-20T12:00", {}, what="delete")
    assert read(builder, "2026-11-20T13:00").tasks == []


def test_the_newest_success_is_looked_for_through_months_without_runs(builder: Builder) -> None:
    builder.revise("2026-01-01T00:00", {"train-a": NIGHTLY})
    builder.run("train-a", "2026-08-02T00:00")
    builder.run("train-a", "2026-11-20T00:00", "failed")
    found = task(builder, "2026-11-20T12:00")
    assert found.last_success == seconds("2026-08-02T00:01:05") and found.unsuccessful == 110
    assert (found.state, found.duration) == ("failed", 60)


def test_how_far_is_looked_back_has_bounds(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    rows = HistoryReader.rows
    monkeypatch.setattr(values, "_MOST_ROWS", 1440 * 17)
    monkeypatch.setattr(HistoryReader, "rows", lambda self, query: asked.append(_days(query)) or rows(self, query))
    builder.revise("2020-01-01T00:00", {"train-a": {"schedule": "* * * * *"}, "train-b": NIGHTLY})
    found = read(builder, "2026-11-20T12:00").tasks
    assert [(each.unsuccessful, each.last_success) for each in found] == [(1440 * 16, None), (1024, None)]
    assert asked == [2, 16, 128, 1024]


def _days(query: HistoryQuery) -> int:
    assert query.low is not None and query.high is not None
    return (query.high - query.low) // 1440


def test_a_run_of_a_clock_that_was_wrong_counts_for_nothing(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY})
    builder.run("train-a", "2027-11-20T00:00", "failed")
    builder.run("train-a", "2026-11-20T00:00")
    found = task(builder, "2026-11-20T12:00")
    assert (found.state, found.last_slot) == ("succeeded", seconds("2026-11-20T00:00"))


def test_folders_that_cannot_be_listed_are_counted(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY, "train-b": NIGHTLY})
    builder.run("train-b", "2026-11-20T00:00")
    folder = builder.store.task_folder("e", "train-a")
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(folder.name)
    found = read(builder, "2026-11-20T12:00")
    by_name = {each.task: each for each in found.tasks}
    assert found.unreadable == 1
    assert (by_name["train-a"].state, by_name["train-b"].state) == ("unknown", "succeeded")


def test_a_mirror_says_until_when_it_is_known(builder: Builder) -> None:
    builder.revise("2026-11-18T12:00", {"train-a": NIGHTLY})
    now, known = seconds("2026-11-20T12:00"), seconds("2026-11-19T22:00")
    found = read_metrics(HistoryReader(builder.store, "e", "UTC", now, ClusterObservation("", now), known))
    assert (found.time, found.tasks[0].state) == (known, "unknown")


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return build(tmp_path_factory.mktemp("year") / "store", 60).builder.store


@settings(max_examples=40)
@given(at_minute=st.integers(0, 62 * 1440))
def test_looking_back_as_far_as_needed_is_as_good_as_looking_at_all(year: LocalStore, at_minute: int) -> None:
    """At whatever time one looks: through gaps, edits and a renamed member."""
    now = seconds("2025-11-20T00:00") + at_minute * 60
    reader = HistoryReader(year, "e", "UTC", now)
    for found in read_metrics(reader).tasks:
        every = effective_rows(reader.rows(HistoryQuery(high=int(now // 60), tasks=(found.task,)))[::-1])
        decided = [row for row in every if row.status not in ("running", "due")]
        successes = [row for row in every if row.status == "succeeded"]
        assert found.last_slot == (every[-1].minute * 60 if every else None)
        assert found.state == (values.state_of(decided[-1]) if decided else "")
        if found.task != "ensemble":
            assert found.model_age == (now - successes[-1].minute * 60 if successes else None)
        since = successes[-1].minute if successes else -1
        if decided:
            assert found.unsuccessful == sum(row.minute > since for row in decided)


def test_a_store_that_only_a_cluster_mounts(tmp_path: Path) -> None:
    """Through the reader's own program, and from what was read last."""
    (tmp_path / "far").mkdir()
    far = Far(tmp_path, tmp_path / "far")
    builder = example_store(far.root)
    digest = builder.store.put_snapshot("task", to_json({"task": "ensemble", "quorum": 3}))
    builder.revise("2024-10-29T12:00", {**DAILY, "ensemble": {**DAILY["ensemble"], "task": digest}})
    remote, now = far.remote(tmp_path / "mirror"), seconds("2024-11-05T12:00")
    try:
        remote.files.update("e")
        there, here = (read_metrics(HistoryReader(store, "e", "UTC", now)) for store in (builder.store, remote))
        assert here == there and here.quorum == 3 and len(here.tasks) == 2
    finally:
        far.close()


def test_the_text() -> None:
    hostile = TaskMetrics('train-"\\\n\udcff', schedule='@every "1h"', timezone="UTC", running=1)
    text = metrics_text([ExperimentMetrics("e", 1764201600.25, [hostile]), ExperimentMetrics("f", 0.0, [])]).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    label = 'experiment="e",task="train-\\"\\\\\\n?"'
    assert lines == [
        'cronsemble_metrics_timestamp_seconds{experiment="e"} 1.76420160025e+09',
        'cronsemble_metrics_timestamp_seconds{experiment="f"} 0.0',
        'cronsemble_unreadable_folders{experiment="e"} 0.0',
        'cronsemble_unreadable_folders{experiment="f"} 0.0',
        'cronsemble_task_info{experiment="e",schedule="@every \\"1h\\"",task="train-\\"\\\\\\n?",timezone="UTC"} 1.0',
        f"cronsemble_running_runs{{{label}}} 1.0",
    ]
    assert metrics_text([]) == b""


def test_exactly_one_state_of_a_task_is_1() -> None:
    text = metrics_text([ExperimentMetrics("e", 0.0, [TaskMetrics("train-a", state="no quorum")])]).decode()
    states = [line.rpartition(" ") for line in text.splitlines() if line.startswith("cronsemble_task_state{")]
    assert len(states) == len(values.STATES)
    assert [name for name, _, value in states if value == "1.0"] == [
        'cronsemble_task_state{experiment="e",state="no quorum",task="train-a"}'
    ]
