"""Whatever happens to a store between looks, its mirror tells the same story after each."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore, Store, removal
from jobs.store.files import publish_bytes, to_json
from reader.pipes import Far
from scheduler.history.query import HistoryQuery
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, minute

SLOTS = [minute(text) for text in ("2024-10-30T01:00", "2024-10-31T01:00", "2024-11-01T01:00", "2024-11-02T01:00")]
WHAT = st.sampled_from(
    [
        "succeeded",
        "failed",
        "running",
        "no quorum",
        "end",
        "observe",
        "verdict",
        "cancel",
        "bury",
        "forget",
        "month",
        "note",
        "look",
    ]
)
NOW = SLOTS[-1] * 60 + 7200.0


class Life:
    """What happens to a store, each time an hour after the time before: nothing changes within a tick of a clock."""

    def __init__(self, root: Path) -> None:
        self.builder, self.store, self.moment = Builder(root), LocalStore(root), time.time() - 500_000
        self.builder.revise("2024-10-29T00:00", {"train-a": {"schedule": "0 1 * * *"}})

    def happens(self, what: str, minute: int) -> None:
        store = self.store
        runs = [run for run in store.run_ids("e", "train-a") if run.minute == minute]
        latest = runs[0] if runs else RunId(minute, 1, "e", "train-a")
        if what in ("succeeded", "failed", "running", "no quorum"):
            attempt = runs[0].attempt + 1 if runs else 1
            self.builder.run("train-a", minute, what, attempt=attempt, files={c.LOG: b"said\n"})
        elif what == "note":
            self.builder.note("2024-11-01T00:00", "skipped", task="train-a", minute=minute, reason="no room")
        elif what == "month":
            removal.remove(store, store.task_folder("e", "train-a") / latest.month)
        elif not runs:
            return
        elif what == "end" and store.read(latest).status == "running":
            mark = {"time": "2024-11-01T03:00:00Z", "status": "failed", "reason": "late"}
            publish_bytes(store.try_folder(latest, "a") / c.END, to_json(mark))
        elif what == "observe":
            store.record_observation(latest, {"what": "OOMKilled", "reason": "killed for memory"})
        elif what == "verdict":
            store.record_verdict(latest, {"verdict": "identical"})
        elif what == "cancel":
            store.cancel(latest, {"by": "me"})
        elif what == "bury":
            removal.record_removal(store, latest, [{"path": "result"}], "t", "gc", {"status": "succeeded"})
            removal.remove(store, store.run_folder(latest) / c.RESULT)
        elif what == "forget":
            removal.remove(store, store.run_folder(latest))
        self._pass()

    def _pass(self) -> None:
        """What has just been written was written an hour after all before."""
        self.moment += 3600
        for path in [self.store.root, *self.store.root.rglob("*")]:
            if path.lstat().st_mtime > self.moment:
                os.utime(path, (self.moment, self.moment))


def story(store: Store) -> object:
    runs = [store.read(run) for run in store.run_ids("e", "train-a")]
    states = [(str(run.id), run.status, run.reason, run.record, run.tries, run.observed, run.removed) for run in runs]
    verdicts = [(store.run_folder(run.id) / c.VERDICT).exists() for run in runs]
    return states, verdicts, [store.cancelled(run.id) for run in runs], list(store.ledger.notes("e")), store.ledger.revisions("e")


@settings(max_examples=25)
@given(st.lists(st.tuples(WHAT, st.sampled_from(SLOTS)), max_size=12))
def test_the_mirror_tells_the_same_story(events: list[tuple[str, int]]) -> None:
    folder = Path(tempfile.mkdtemp())
    far = Far(folder, folder / "far")
    try:
        far.root.mkdir()
        life, remote = Life(far.root), far.remote(folder / "mirror")
        for what, minute in [*events, ("look", 0)]:
            if what != "look":
                life.happens(what, minute)
                continue
            remote.files.update("e")
            assert story(remote) == story(life.store)
            mirrored, original = (HistoryReader(store, "e", "UTC", NOW).rows(HistoryQuery()) for store in (remote, life.store))
            assert mirrored == original
    finally:
        far.close()
        shutil.rmtree(folder)
