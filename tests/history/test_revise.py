"""What this machine runs is recorded once for as long as it stays the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cronjobs.tasks import ExperimentContext
from jobs.store import LocalStore
from scheduler.config import load
from scheduler.engines.local_revisions import engine, record_revision
from scheduler.stores.history_reader import HistoryReader
from stores import at

CONFIG = """experiment: e
store: ./store
backends: {a: {backend: tensorflow, schedule: "0 1 * * *"}}
ensemble: {schedule: "0 6 * * *"}
"""


def context(folder: Path, text: str, program: str = "p") -> ExperimentContext:
    (folder / "config.yaml").write_text(text)
    return ExperimentContext(load(folder / "config.yaml"), program, "")


def test_what_changes_is_recorded_and_what_stays_is_not(tmp_path: Path) -> None:
    store, now = LocalStore(tmp_path / "store"), at("2024-11-20T00:00")
    first = context(tmp_path, CONFIG)
    assert record_revision(store, first, "run", now) is not None
    assert record_revision(store, first, "run", now) is None
    # What only ran schedules nothing: serving the same is new.
    assert HistoryReader(store, "e", "UTC", now.timestamp()).history.schedule_periods == {}
    assert record_revision(store, first, "serve", now.replace(hour=1)) is not None
    assert record_revision(store, first, "serve", now.replace(hour=2)) is None
    assert record_revision(store, first, "run", now.replace(hour=2)) is None
    edited = context(tmp_path, CONFIG.replace("0 1", "0 2"))
    revision = record_revision(store, edited, "serve", now.replace(hour=3))
    assert revision is not None and revision["revision"] == 3
    history = HistoryReader(store, "e", "UTC", now.timestamp() + 86400).history
    assert [(period.task_schedule.schedule, period.engine) for period in history.schedule_periods["train-a"]] == [
        ("0 1 * * *", engine()),
        ("0 2 * * *", engine()),
    ]
    assert len(history.schedule_periods["ensemble"]) == 1
    assert record_revision(store, replace(edited, program="q"), "serve", now.replace(hour=4)) is not None


def test_one_that_another_engine_ran_meanwhile_is_recorded_anew(tmp_path: Path) -> None:
    store, now = LocalStore(tmp_path / "store"), at("2024-11-20T00:00")
    first = context(tmp_path, CONFIG)
    assert record_revision(store, first, "serve", now) is not None
    other = {"revision": 1, "time": "2024-11-20T01:00:00Z", "what": "sync", "engine": "cluster:c/n", "tasks": {}, "folded": 1}
    assert store.ledger.add_revision("e", other)
    assert record_revision(store, first, "serve", now.replace(hour=2)) is not None


def test_an_owner_gives_way_only_when_it_is_taken_over(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert store.ledger.take_ownership("e", {"engine": "host:a"}) is None
    assert store.ledger.take_ownership("e", {"engine": "host:a"}) is None
    refused = store.ledger.take_ownership("e", {"engine": "cluster:c/n"})
    assert refused is not None and refused["engine"] == "host:a"
    assert store.ledger.take_ownership("e", {"engine": "cluster:c/n"}, 1) is None
    assert (store.ledger.owner("e") or {})["engine"] == "cluster:c/n"
    store.ledger.owner_file("e").write_text("{")
    assert store.ledger.take_ownership("e", {"engine": "host:a"}) is not None
    assert store.ledger.take_ownership("e", {"engine": "host:a"}, 2) is None
