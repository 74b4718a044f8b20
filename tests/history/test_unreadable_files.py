"""One bad file costs one row: what has a file's name and is none, and folders that cannot be listed, beside the other rows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.gc import RemovalKind, RetentionRule, plan_removal
from jobs.store.regular_files import Unreadable
from scheduler.cli import app
from scheduler.history.observed_runs import ClusterObservation
from scheduler.history.query import HistoryQuery
from scheduler.stores.history_reader import HistoryReader
from stores import ELSEWHERE, Builder, at, minute

NOW = at("2026-11-26T12:00").timestamp()
TRAINED, FAILED, CLAIMED = "2026-11-20T01:00", "2026-11-21T01:00", "2026-11-25T01:00"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Runs in two months, with marks of each kind, and data that they share."""
    (tmp_path / "config.yaml").write_text(
        "experiment: e\nstore: ./store\nbackends: {jax: {schedule: '0 1 * * *'}}\nensemble: {}\n"
    )
    builder = Builder(tmp_path / "store")
    builder.revise("2026-10-29T00:00", {"train-jax": {"schedule": "0 1 * * *"}})
    store = builder.store
    store.dataset_path("f").parent.mkdir()
    store.dataset_path("f").write_bytes(b"x")
    os.utime(store.dataset_path("f"), (0, 0))
    os.utime(store.snapshot_path("task", store.put_snapshot("task", b"{}")), (0, 0))
    builder.run("train-jax", "2026-10-30T01:00", files={"model.h5": b"x"}, model={"file": "model.h5"})
    builder.run("train-jax", TRAINED, files={"model.h5": b"x"}, model={"file": "model.h5"})
    builder.run("train-jax", FAILED, "failed", reason="no memory", files={c.DATA: b'{"fingerprint": "other"}'})
    stopped = builder.run("train-jax", "2026-11-23T01:00", "failed", reason="x")
    store.cancel(stopped, {"reason": "enough", "by": "me", "time": "2026-11-23T02:00:00Z"})
    seen = builder.run("train-jax", "2026-11-24T01:00", "running")
    store.record_observation(seen, {"status": "failed", "what": "memory", "reason": "r"})
    store.claim_attempt(RunId(minute(CLAIMED), 1, "e", "train-jax"), {"kind": "scheduled", "process": ELSEWHERE})
    builder.run("ensemble", "2026-11-20T06:00", ensemble={"accuracy": 0.5})
    return store


def rows(store: LocalStore) -> dict[tuple[str, str], tuple[str, str]]:
    """The status and the reason of each slot and task."""
    shutil.rmtree(store.root / ".index", ignore_errors=True)
    reader = HistoryReader(store, "e", "UTC", NOW, ClusterObservation("", NOW))
    return {(row.slot, row.task): (row.status, row.reason) for row in reader.rows(HistoryQuery())}


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def link_to_itself(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


def make_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    remove(path)
    path.mkdir()


def link_to_device(path: Path) -> None:
    remove(path)
    path.symlink_to("/dev/zero")


def enlarge(path: Path) -> None:
    os.truncate(path, 5 << 30)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (make_pipe, "a named pipe, not a file"),
    "a folder": (make_folder, "a folder, not a file"),
    "a link to itself": (link_to_itself, "a symbolic link, which is not followed"),
    "a link to a device": (link_to_device, "a symbolic link, which is not followed"),
    "5 GiB": (enlarge, "larger than 16 MiB"),
}
MARKS = {
    TRAINED: "result/record.json",
    FAILED: "try-a/end.json",
    "2026-11-23T01:00": c.CANCELLED,
    "2026-11-24T01:00": c.OBSERVED,
    CLAIMED: c.CLAIM,
}


def run_folder(store: LocalStore, slot: str) -> Path:
    return store.run_folder(RunId(minute(slot), 1, "e", "train-jax"))


@pytest.mark.parametrize("slot", MARKS)
@pytest.mark.parametrize("name", ODD)
def test_one_bad_file_costs_one_row(store: LocalStore, name: str, slot: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = rows(store)
    make, why = ODD[name]
    make(run_folder(store, slot) / MARKS[slot])
    key = (f"{slot}Z", "train-jax")
    assert rows(store) == {**before, key: ("unknown", f"unreadable: {MARKS[slot]}: {why}: see cronsemble fsck")}
    config = str(store.root.parent / "config.yaml")
    for arguments in (["history", "--json"], ["show", f"e-train-jax-{minute(slot)}"], ["next"], ["check"]):
        app([*arguments, "-f", config], standalone_mode=False)
    assert f"unreadable: {MARKS[slot]}: {why}" in capfd.readouterr().out


def test_the_start_of_a_run_that_cannot_be_read_costs_its_row(store: LocalStore) -> None:
    before = rows(store)
    (run_folder(store, "2026-11-24T01:00") / c.OBSERVED).unlink()
    make_pipe(run_folder(store, "2026-11-24T01:00") / "try-a/start.json")
    reason = "unreadable: try-a/start.json: a named pipe, not a file: see cronsemble fsck"
    assert rows(store) == {**before, ("2026-11-24T01:00Z", "train-jax"): ("unknown", reason)}


def test_a_month_that_cannot_be_listed_costs_its_rows(store: LocalStore, capfd: pytest.CaptureFixture[str]) -> None:
    before = rows(store)
    link_to_itself(store.task_folder("e", "train-jax") / "2026-11")
    now = rows(store)
    assert now.keys() == before.keys()
    lost = {key for key, row in now.items() if row != before[key]}
    why = "unreadable: train-jax/2026-11/: a symbolic link, which is not followed: see cronsemble fsck"
    assert {now[key] for key in lost} == {("unknown", why)}
    assert {key for key in before if key[0] < "2026-11-26T12" and key[0] > "2026-11" and key[1] == "train-jax"} == lost
    app(["history", "-f", str(store.root.parent / "config.yaml")], standalone_mode=False)
    assert why in capfd.readouterr().err


def test_a_task_that_cannot_be_listed_costs_its_rows(store: LocalStore) -> None:
    before = rows(store)
    link_to_itself(store.task_folder("e", "train-jax"))
    now = rows(store)
    why = "unreadable: train-jax/: a symbolic link, which is not followed: see cronsemble fsck"
    assert {now[key] for key in now if key[1] == "train-jax" and key[0] < "2026-11-26T12"} == {("unknown", why)}
    assert now["2026-11-20T06:00Z", "ensemble"] == before["2026-11-20T06:00Z", "ensemble"]


@pytest.mark.parametrize("folder", ["revisions", "notes"])
def test_a_ledger_that_cannot_be_listed_costs_no_run(store: LocalStore, folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = {key: row for key, row in rows(store).items() if row[0] == "succeeded"}
    path = store.ledger.folder("e") / folder
    path.mkdir(exist_ok=True)
    link_to_itself(path)
    assert before.items() <= rows(store).items()
    app(["history", "-f", str(store.root.parent / "config.yaml")], standalone_mode=False)
    assert f"unreadable: {folder}/: a symbolic link" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["2026-13", "0000-01", "99999-01", "2026-00", "x"])
def test_what_is_no_month_costs_nothing(store: LocalStore, name: str) -> None:
    before = rows(store)
    (store.task_folder("e", "train-jax") / name / f"e-train-jax-{minute(TRAINED)}").mkdir(parents=True)
    (store.root / "runs/e/a-file").write_text("")
    for run in ("e-train-jax-0029918940", "e-train-jax-29918941-r" + "9" * 200, "e-train-jax--1", "e-train-jax-9999999999"):
        (store.task_folder("e", "train-jax") / "2026-11" / run).mkdir()
    assert rows(store) == before


BESIDE: dict[str, Callable[[LocalStore], Path]] = {
    "a record": lambda store: run_folder(store, TRAINED) / "result/record.json",
    "a start mark": lambda store: run_folder(store, FAILED) / "try-a/start.json",
    "the data of a failed run": lambda store: run_folder(store, FAILED) / "try-a" / c.DATA,
    "a claim": lambda store: run_folder(store, CLAIMED) / c.CLAIM,
    "a run": lambda store: run_folder(store, FAILED),
    "a month": lambda store: store.task_folder("e", "train-jax") / "2026-10",
    "a task": lambda store: store.task_folder("e", "train-jax"),
    "a revision": lambda store: store.ledger.revision_files("e")[0],
    "the revisions": lambda store: store.ledger.folder("e") / "revisions",
}
RULE = RetentionRule((RemovalKind.DATA, RemovalKind.SNAPSHOTS), 3600, 1)


def test_what_no_run_names_is_removed(store: LocalStore) -> None:
    (run_folder(store, CLAIMED) / c.CLAIM).write_text("{}")
    assert {item.kind for item in plan_removal(store, "e", RULE, NOW).items} == {RemovalKind.DATA, RemovalKind.SNAPSHOTS}


@pytest.mark.parametrize("name", BESIDE)
def test_gc_keeps_what_is_shared_while_something_cannot_be_read(store: LocalStore, name: str) -> None:
    link_to_itself(BESIDE[name](store))
    plan = plan_removal(store, "e", RULE, NOW)
    assert not plan.items
    (consequence,) = plan.consequences
    assert consequence.startswith("no data and no snapshots are removed, for it is unknown which are needed: ")


@pytest.mark.parametrize("name", ["a month", "a task", "a revision", "the revisions"])
def test_gc_keeps_models_while_a_folder_cannot_be_listed(store: LocalStore, name: str) -> None:
    rule = RetentionRule((RemovalKind.MODELS, RemovalKind.RUNS), 3600, 1)
    assert plan_removal(store, "e", rule, NOW).items
    link_to_itself(BESIDE[name](store))
    assert not plan_removal(store, "e", rule, NOW).items


def test_an_experiment_that_cannot_be_listed_is_an_error_and_no_empty_history(store: LocalStore) -> None:
    link_to_itself(store.root / "runs/e")
    shutil.rmtree(store.root / "experiments/e/revisions")
    with pytest.raises(Unreadable):
        rows(store)


def test_a_store_out_of_reach_is_an_error_and_no_empty_history(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # A fake: no server here goes away.
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(116, "Stale file handle")

    for function in ("listdir", "open", "statvfs"):
        monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="Stale"):
        HistoryReader(store, "e", "UTC", NOW)


def test_rows_are_json_beside_damage(store: LocalStore, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    make_folder(run_folder(store, TRAINED) / "result/record.json")
    app(["history", "--json", "-f", str(store.root.parent / "config.yaml")], standalone_mode=False)
    assert any(row["reason"].startswith("unreadable: ") for row in json.loads(capfdbinary.readouterr().out))


def test_where_revisions_name_the_tasks_their_slots_are_unknown(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.revise("2026-11-19T00:00", {"train-jax": {"schedule": "0 1 * * *"}})
    builder.run("train-jax", "2026-11-20T01:00")
    link_to_itself(tmp_path / "runs/e")
    reader = HistoryReader(builder.store, "e", "UTC", at("2026-11-20T12:00").timestamp())
    rows = [row for row in reader.rows(HistoryQuery()) if row.status != "not yet due"]
    assert [(row.slot, row.status) for row in rows] == [("2026-11-20T01:00Z", "unknown"), ("2026-11-19T01:00Z", "unknown")]
    assert [text.partition(":")[0] for text in reader.unreadable.values()] == ["e/"]
