"""What cannot be read beside the store is unreadable here too, with the same reason, and costs no other row."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jobs import contract as c
from jobs.store import LocalStore, Store
from reader.pipes import Far, example_store
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import Row
from scheduler.stores.history_reader import HistoryReader


def reader(store: Store) -> HistoryReader:
    return HistoryReader(store, "e", "UTC", 1_732_500_000)


def rows(store: Store) -> list[Row]:
    return reader(store).rows(HistoryQuery())


def link_to_itself(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", [f"{c.RESULT}/{c.RECORD}"])
def test_a_file_that_cannot_be_read_there_costs_its_row(far: Far, tmp_path: Path, name: str) -> None:
    store = example_store(far.root).store
    run = next(store.run_ids("e", "ensemble"))
    before = {row.run: row for row in rows(store)}
    link_to_itself(store.run_folder(run) / name)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    now = {row.run: row for row in rows(remote)}
    row = now.pop(str(run))
    assert (row.status, row.reason) == ("unknown", f"unreadable: {name}: a link or no regular file: see cronsemble fsck")
    assert now == {key: value for key, value in before.items() if key != str(run)}


@pytest.mark.parametrize("folder", ["runs/e/train-a/2024-11", "runs/e/train-a"])
def test_a_folder_that_cannot_be_listed_there_is_named(far: Far, tmp_path: Path, folder: str) -> None:
    store = example_store(far.root).store
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    path = far.root / folder
    kept = path.with_name(f".{path.name}")
    path.rename(kept)
    path.symlink_to(path.name)
    remote.files.update("e")
    here, there = reader(remote), reader(LocalStore(far.root))
    assert here.rows(HistoryQuery()) == there.rows(HistoryQuery())
    assert here.unreadable == there.unreadable != {}
    path.unlink()
    kept.rename(path)
    remote.files.update("e")
    assert rows(remote) == rows(store)
