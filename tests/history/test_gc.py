"""gc: what is removed, what stays, what is printed before, and the tombstone after."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import run_command
from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore, removal
from jobs.store.gc import DEFAULT_KINDS, KEPT, RemovalKind, RemovalPlan, RetentionRule, execute_removal, plan_removal
from jobs.store.latest_model import choose_models
from stores import Builder, at, minute

NOW = at("2024-11-24T12:00").timestamp()
DAY = 86400
MODEL = {"file": "model.h5", "sha256": "0" * 64}


def age(store: LocalStore, seconds: float) -> None:
    """Make every file in a store look as old as that."""
    for folder, folders, files in os.walk(store.root):
        for name in [*folders, *files]:
            os.utime(os.path.join(folder, name), (NOW - seconds,) * 2)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Ten days of trainings and ensembles, the last on the 23rd; the training of the 16th needed a second try."""
    builder = Builder(tmp_path / "store")
    for day in range(14, 24):
        data = {"fingerprint": f"f{day}"}
        builder.store.dataset_path(f"f{day}").parent.mkdir(parents=True, exist_ok=True)
        builder.store.dataset_path(f"f{day}").write_bytes(b"x" * 100)
        task = builder.store.put_snapshot("task", b"%d" % day)
        run = builder.run(
            "train-a", f"2024-11-{day}T01:00", files={"model.h5": b"x" * 50, "epochs.csv": b""}, model=MODEL, data=data,
            snapshot={"program": "", "code": "", "task": task},
        )  # fmt: skip
        members = [{"member": "a", "run": str(run), "accuracy": 0.9}]
        csvs = {c.CSV: b"%d" % day, "members/a.csv": b"a"}
        builder.run("ensemble", f"2024-11-{day}T06:00", files=csvs, members=members, ensemble={}, data=data)
        builder.store.publish_archive(RunId(minute(f"2024-11-{day}T06:00"), 1, "e", "ensemble"))
    dead = RunId(minute("2024-11-16T01:00"), 1, "e", "train-a")
    builder.store.begin_try(dead, "dead", {"time": "2024-11-16T00:59:00Z"})
    for name in ("model.h5", "log.txt"):
        (builder.store.try_folder(dead, "dead") / name).write_bytes(b"x" * 70)
    age(builder.store, 2 * DAY)
    return builder.store


def remove(store: LocalStore, rule: RetentionRule, plan: RemovalPlan) -> None:
    """All that was planned goes."""
    removed = list(execute_removal(store, "e", rule, plan.items, NOW, "2024-11-24T12:00:00Z", "me"))
    assert [one.problem for one in removed] == [""] * len(plan.items)


def names(plan: RemovalPlan) -> list[str]:
    return sorted(f"{item.run or ''}:{item.name}" for item in plan.items)


def name_of(day: int, task: str = "train-a") -> str:
    return str(RunId(minute(f"2024-11-{day}T{'01' if task == 'train-a' else '06'}:00"), 1, "e", task))


def test_old_models_and_dead_tries_go_and_the_newest_stay(store: LocalStore) -> None:
    rule = RetentionRule(DEFAULT_KINDS, 5 * DAY, 3)
    plan = plan_removal(store, "e", rule, NOW)
    old = [f"{name_of(day)}:result/model.h5" for day in range(14, 20)]
    assert names(plan) == sorted([*old, f"{name_of(16)}:try-dead/model.h5"])
    assert plan.consequences == [
        "6 ensembles from 2024-11-14 to 2024-11-19 can be repeated, but not with rerun --reuse-models: "
        "their members are trained again"
    ]
    # By count alone, and by age alone.
    assert len(names(plan_removal(store, "e", RetentionRule([RemovalKind.MODELS], 0, 3), NOW))) == 7
    assert len(names(plan_removal(store, "e", RetentionRule([RemovalKind.MODELS], 5 * DAY, 1), NOW))) == 6
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    remove(store, rule, plan)
    after = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file() and path.name != c.REMOVED}
    assert set(before) - set(after) == {item.path for item in plan.items}
    assert all(before[path] == data for path, data in after.items())
    assert names(plan_removal(store, "e", RetentionRule(DEFAULT_KINDS, 5 * DAY, 3), NOW)) == []
    run = store.read(RunId(minute("2024-11-16T01:00"), 1, "e", "train-a"))
    assert run.status == "succeeded"
    assert [file["path"] for file in run.removed["files"]] == ["try-dead/model.h5", "result/model.h5"]


def test_a_removed_model_is_never_taken_nor_replaced_by_an_older_one(store: LocalStore) -> None:
    ensemble = RunId(minute("2024-11-16T06:00"), 2, "e", "ensemble")
    assert choose_models(store, ensemble, ["a"], None, "")[0].run is not None
    rule = RetentionRule([RemovalKind.MODELS], 5 * DAY, 3)
    remove(store, rule, plan_removal(store, "e", rule, NOW))
    (choice,) = choose_models(store, ensemble, ["a"], None, "")
    assert choice.run is None and choice.reason == f"the model of {name_of(16)} was removed by gc"
    now = RunId(minute("2024-11-24T06:00"), 1, "e", "ensemble")
    assert str(choose_models(store, now, ["a"], None, "")[0].run) == name_of(23)


def test_work_in_progress_is_left_alone(store: LocalStore) -> None:
    part = store.root / "datasets" / ".x.npz.1.part"
    hidden = store.root / "runs/e/train-a/2024-11" / name_of(23) / ".try-x.1"
    hidden.mkdir()
    part.write_bytes(b"")
    (hidden / c.START).write_bytes(b"")
    for seconds, expected in ((0, 0), (2 * DAY, 2)):
        for path in (part, hidden, hidden / c.START):
            os.utime(path, (NOW - seconds,) * 2)
        assert (
            sum(
                item.path in (part, hidden)
                for item in plan_removal(store, "e", RetentionRule(DEFAULT_KINDS, 90 * DAY, 3), NOW).items
            )
            == expected
        )


def test_data_and_snapshots_that_a_kept_run_names_stay(store: LocalStore) -> None:
    stray = store.dataset_path("stray")
    stray.write_bytes(b"x")
    unnamed = store.snapshot_path("task", store.put_snapshot("task", b"unnamed"))
    age(store, 10 * DAY)
    rule = RetentionRule([RemovalKind.DATA, RemovalKind.SNAPSHOTS], 5 * DAY, 3)
    assert {item.path for item in plan_removal(store, "e", rule, NOW).items} == {stray, unnamed}
    # Where a record cannot be read, nobody knows what it needs.
    record = store.root / "runs/e/train-a/2024-11" / name_of(14) / "result/record.json"
    record.write_text(record.read_text()[:40])
    plan = plan_removal(store, "e", rule, NOW)
    assert plan.items == [] and "it is unknown which are needed" in plan.consequences[0]


def test_whole_runs_leave_their_row_and_free_what_they_alone_needed(store: LocalStore) -> None:
    age(store, 10 * DAY)
    rule = RetentionRule([RemovalKind.RUNS, RemovalKind.DATA, RemovalKind.SNAPSHOTS], 5 * DAY, 3)
    plan = plan_removal(store, "e", rule, NOW)
    assert plan.consequences[0] == "12 runs from 2024-11-14 to 2024-11-19 can never be repeated or shown: only their rows stay"
    assert {item.name for item in plan.items if item.kind == RemovalKind.DATA} == {
        f"datasets/f{day}.npz" for day in range(14, 20)
    }
    remove(store, rule, plan)
    run = store.read(RunId(minute("2024-11-14T01:00"), 1, "e", "train-a"))
    assert (run.status, run.evidence) == ("succeeded", "recorded")
    assert [path.name for path in run.folder.iterdir()] == [c.REMOVED]
    assert len(list(store.archive_folder("e").glob("*.csv"))) == 10


def test_what_was_taken_out_of_the_archive_is_not_put_back(store: LocalStore) -> None:
    rule = RetentionRule([RemovalKind.ARCHIVE], 5 * DAY, 3)
    plan = plan_removal(store, "e", rule, NOW)
    assert len(plan.items) == 12
    remove(store, rule, plan)
    assert len(list(store.archive_folder("e").glob("*.csv"))) == 4
    assert store.repair_archives("e") == []


def test_what_a_run_needs_that_began_after_the_plan_is_left_alone(store: LocalStore) -> None:
    age(store, 10 * DAY)
    rule = RetentionRule([RemovalKind.DATA, RemovalKind.RUNS, RemovalKind.SNAPSHOTS], 5 * DAY, 3)
    plan = plan_removal(store, "e", rule, NOW)
    builder = Builder(store.root)
    # A run that is made now from an old one's data, and an old run that somebody looked at.
    builder.run("train-a", "2024-11-24T11:00", data={"fingerprint": "f14"}, snapshot={})
    looked_at = RunId(minute("2024-11-15T01:00"), 1, "e", "train-a")
    store.record_observation(looked_at, {"what": "OOMKilled"})
    removed = list(execute_removal(store, "e", rule, plan.items, NOW, "2024-11-24T12:00:00Z", "me"))
    kept = [one.item.name for one in removed if one.is_kept]
    assert kept == ["datasets/f14.npz"] and [one.problem for one in removed if one.problem] == [KEPT]
    assert store.dataset_path("f14").exists() and not store.dataset_path("f15").exists()
    # What came meanwhile stays, and so does what the tombstone says of the rest.
    assert sorted(path.name for path in store.run_folder(looked_at).iterdir()) == [c.OBSERVED, c.REMOVED]
    assert "run" not in store.read(looked_at).removed


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder)


def test_the_command_asks_says_and_keeps_the_history(store: LocalStore) -> None:
    folder = store.root.parent
    (folder / "config.yaml").write_text("experiment: e\nstore: ./store\nbackends: {a: {backend: tensorflow}}\n")
    before = cronsemble(folder, "history", "--json", "--limit", "0").stdout
    output: dict[str, Any] = json.loads(cronsemble(folder, "gc", "--what", "runs", "--dry-run", "--json").stdout)
    assert len(output["items"]) == 11 and (store.root / "runs").exists()
    refused = cronsemble(folder, "gc", "--what", "runs")
    assert refused.returncode == 1 and "no terminal to ask on" in refused.stderr
    assert cronsemble(folder, "history", "--json", "--limit", "0").stdout == before
    done = cronsemble(folder, "gc", "--what", "runs", "--what", "archive", "--yes")
    assert done.returncode == 0 and "removed 21 of 21" in done.stdout, done.stderr
    assert not [trace for trace in store.root.rglob(".record.json") if not (trace.parent / "result").exists()]
    # The rows are the same, from the index and without it.
    assert cronsemble(folder, "history", "--json", "--limit", "0").stdout == before
    removal.drop_index(store)
    assert cronsemble(folder, "history", "--json", "--limit", "0").stdout == before
    for arguments, text in [
        (["--what", "all"], "--what all: type one of staging"),
        (["--older-than", "3"], "--older-than 3: must be"),
    ]:
        wrong = cronsemble(folder, "gc", *arguments)
        assert wrong.returncode == 1 and text in wrong.stderr


TRAININGS = st.lists(
    st.tuples(
        st.sampled_from(["train-a", "train-b"]),
        st.integers(-40 * 24, 0),  # hours before now
        st.sampled_from(["scheduled", "backfill", "rerun", "manual", "published", "other", "failed", "running"]),
    ),
    max_size=12,
)
HOURS = st.integers(0, 20 * 24)


@settings(max_examples=40)
@given(
    TRAININGS,
    st.lists(st.tuples(st.integers(-40 * 24, 0), st.sampled_from(["scheduled", "backfill", "running"])), max_size=3),
    st.none() | HOURS,
    st.builds(
        RetentionRule,
        st.sets(st.sampled_from(list(RemovalKind)), min_size=1),
        HOURS.map(lambda hours: hours * 3600.0),
        st.integers(1, 4),
    ),
    st.booleans(),
)
def test_what_an_ensemble_may_still_take_is_what_it_would_have_taken(
    trainings: list[tuple[str, int, str]],
    ensembles: list[tuple[int, str]],
    starting_deadline: int | None,
    rule: RetentionRule,
    suspend: bool,
) -> None:
    """Whatever is removed, each slot that may still run chooses as before: one to come, one that waits, one that runs."""
    with TemporaryDirectory() as folder:
        builder = Builder(Path(folder))
        seconds = None if starting_deadline is None else starting_deadline * 3600
        task = {"schedule": "0 6 * * *", "starting_deadline": seconds, "deadline": 3600, "suspend": suspend}
        builder.revise("2024-09-01T00:00", {"ensemble": task})
        now_minute, attempts = int(NOW // 60), Counter[tuple[str, int]]()
        for name, hours, kind in trainings:
            attempts[name, hours] += 1
            status = kind if kind in ("failed", "running") else "succeeded"
            record: dict[str, Any] = {"published": {"published": True}, "other": {"other_configuration": True}}.get(kind, {})
            why = {"published": "manual", "other": "rerun"}.get(kind, kind if status == "succeeded" else "scheduled")
            builder.run(
                name,
                now_minute + hours * 60,
                status,
                attempt=attempts[name, hours],
                kind=why,
                files={"model.h5": b"x"},
                model=MODEL,
                **record,
            )
        for hours, kind in ensembles:
            attempts["ensemble", hours] += 1
            status = "running" if kind == "running" else "succeeded"
            builder.run("ensemble", now_minute + hours * 60, status, attempt=attempts["ensemble", hours], kind="scheduled")
        begun = max((hours for hours, kind in ensembles), default=-60 * 24)
        oldest = begun if starting_deadline is None else -starting_deadline
        open_slots = {*range(max(oldest, -60 * 24), 1, 5), 0, 24, 24 * 40}
        age(builder.store, 2 * DAY)

        def choices() -> dict[tuple[int, int | None], list[RunId | None]]:
            return {
                (hours, limit): [
                    choice.run
                    for choice in choose_models(
                        builder.store, RunId(now_minute + hours * 60, 9, "e", "ensemble"), ["a", "b"], limit, ""
                    )
                ]
                for hours in open_slots
                for limit in (None, 36 * 3600)
            }

        before = choices()
        remove(builder.store, rule, plan_removal(builder.store, "e", rule, NOW))
        assert choices() == before
        taken = {run for runs in before.values() for run in runs if run is not None}
        assert all((builder.store.run_folder(run) / "result" / "model.h5").is_file() for run in taken)


def test_an_unpublished_model_takes_no_place_of_one_that_ensembles_take(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    scheduled = [builder.run("train-a", f"2024-10-0{day}T01:00", files={"model.h5": b""}, model=MODEL) for day in (1, 2, 3)]
    manual = [
        builder.run("train-a", f"2024-10-0{day}T05:00", files={"model.h5": b""}, model=MODEL, kind="manual") for day in (4, 5, 6)
    ]
    age(builder.store, 2 * DAY)
    plan = plan_removal(builder.store, "e", RetentionRule([RemovalKind.MODELS], 5 * DAY, 2), NOW)
    assert names(plan) == sorted(f"{run}:result/model.h5" for run in (scheduled[0], manual[0]))


def test_a_model_that_a_rerun_has_just_trained_stays_until_its_ensemble_has_it(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    late = NOW - minute("2024-10-01T01:00") * 60 - 3600
    runs = [builder.run("train-a", f"2024-10-0{day}T01:00", files={"model.h5": b""}, model=MODEL) for day in (1, 2, 3)]
    repeat = builder.run("train-a", "2024-10-01T01:00", attempt=2, kind="rerun", late=late, files={"model.h5": b""}, model=MODEL)
    age(builder.store, 2 * DAY)
    plan = plan_removal(builder.store, "e", RetentionRule([RemovalKind.MODELS], 5 * DAY, 1), NOW)
    assert names(plan) == sorted(f"{run}:result/model.h5" for run in runs[:2]) and str(repeat) not in str(names(plan))
