"""`latest.csv` of a store elsewhere: a decision from here moves it there."""

from __future__ import annotations

from pathlib import Path

from archive.test_latest_predictions import add, both, latest
from jobs.store import LocalStore
from reader.pipes import Far
from scheduler.stores.decide import decide
from scheduler.stores.latest_predictions import update_latest


def test_a_decision_from_here_moves_it_there(far: Far, tmp_path: Path) -> None:
    there, remote = LocalStore(far.root), far.remote(tmp_path / "mirror")
    first, second = add(there, 1), add(there, 2)
    assert update_latest(remote, "e").run == second and latest(there) == both(second)
    remote.files.update("e")
    outcome = decide(remote, remote.read(second), "refused", "wrong labels")
    assert outcome.effects == [f"latest.csv has the predictions of 2026-11-24T00:01Z ({first})"] and latest(there) == both(first)
    # As if whoever accepted it again had been killed before it was replaced: saying it once more does that.
    there.decide(second, {"decision": "accepted", "by": "me", "time": "2026-11-25T00:00:00Z"})
    remote.files.update("e")
    assert not decide(remote, remote.read(second), "accepted", "").is_changed and latest(there) == both(second)
