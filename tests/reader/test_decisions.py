"""Decisions about runs of a store that only a cluster mounts: written there, and seen in the history's rows here."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jobs.store import LocalStore, Store
from reader.pipes import Far, age, example_store
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import Row
from scheduler.stores.decide import decide
from scheduler.stores.history_reader import HistoryReader


def rows(store: Store) -> dict[str, Row]:
    found = HistoryReader(store, "e", "UTC", 1_732_500_000).rows(HistoryQuery())
    return {str(row.run or row.slot): msgspec.structs.replace(row) for row in found}


def test_decided_from_here_and_there(far: Far, tmp_path: Path) -> None:
    builder, store = example_store(far.root), LocalStore(far.root)
    gate = {"refused": "accuracy 0.6000 is less than min_accuracy 0.9"}
    refused = builder.run("train-a", "2024-11-07T01:00", gate=gate)
    accepted = builder.run("train-a", "2024-11-06T01:00")
    age(far.root)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    assert rows(remote)[str(refused)].status == "refused"
    # The folders of ten thousand runs would take longer to make than to send.
    assert not list((remote.root / "runs").rglob(str(refused)))
    outcome = decide(remote, remote.read(refused), "accepted", "new labels")
    assert outcome.is_changed and store.read(refused).refused == ""
    assert rows(remote) == rows(store) and rows(remote)[str(refused)].status == "succeeded"
    # By another, who is not seen before the next look: it is decided of nothing twice.
    decide(store, store.read(accepted), "refused", "wrong labels")
    again = decide(remote, remote.read(accepted), "refused", "wrong labels too")
    assert not again.is_changed and again.reason == "wrong labels"
    assert len(store.decisions(accepted)) == 1
    remote.files.update("e")
    assert rows(remote) == rows(store) and rows(remote)[str(accepted)].status == "refused"
