"""What the history says of an ensemble that waited for its members."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.history.query import HistoryQuery
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, at

SLOT = "2026-11-20T06:00"


@pytest.mark.parametrize(
    ("began", "why"),
    [
        # Whoever waited was there in time, however late its first try began.
        ("2026-11-20T06:00:05.000Z", "waited 42m for b of 05:30"),
        ("2026-11-20T06:10:00.000Z", "10m late; waited 42m for b of 05:30"),
    ],
)
def test_it_says_for_whom_and_how_long(tmp_path: Path, began: str, why: str) -> None:
    builder = Builder(tmp_path)
    builder.revise("2026-11-01", {"ensemble": {"schedule": "0 6 * * *"}})
    awaited = {"member": "b", "slot": "2026-11-20T05:30Z", "local": "05:30", "run": "e-train-b-1", "outcome": "succeeded"}
    waited = {"seconds": 2520.0, "since": began, "until": "2026-11-20T08:00:00.000Z", "missing": []}
    builder.run("ensemble", SLOT, late=2525, waited={**waited, "members": [{**awaited, "seconds": 2520.0}]})
    reader = HistoryReader(builder.store, "e", "UTC", at("2026-11-20T09:00").timestamp())
    row = next(row for row in reader.rows(HistoryQuery()) if row.status == "succeeded")
    assert (row.why, row.explanation) == (why, why)


def test_one_that_still_waits_runs_since_it_waits_and_dies_of_silence(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.revise("2026-11-01", {"ensemble": {"schedule": "0 6 * * *", "deadline": 3 * 3600}})
    run = builder.run("ensemble", "2026-11-19T06:00")
    waiting = type(run)(run.minute + 1440, 1, "e", "ensemble")
    process = {"host": "elsewhere", "boot": "b", "pid": 1, "start": 1}
    mark = {"since": "2026-11-20T06:00:05.000Z", "process": process, "waiting": [{"member": "b", "local": "05:30"}]}
    builder.store.record_wait(waiting, mark)

    def status(time: str) -> tuple[str, str]:
        rows = HistoryReader(builder.store, "e", "UTC", at(time).timestamp()).rows(HistoryQuery())
        row = next(row for row in rows if row.run == str(waiting))
        return row.status, row.reason

    assert status("2026-11-20T07:00") == ("running", "waiting for b (05:30)")
    assert status("2026-11-20T10:00") == ("died", "it recorded no end by its deadline of 3h (waiting for b (05:30))")
