"""The digest of a period: what became of each slot, and what is wrong now; of very many slots those that did not succeed."""

from __future__ import annotations

from pathlib import Path

from jobs.store import LocalStore
from scheduler.history.query import HistoryQuery
from scheduler.notifications.messages import Sender, digest
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, at, minute


def lines_of(store: LocalStore, begin: str, end: str) -> list[str]:
    now = at(end).timestamp()
    reader = HistoryReader(store, "e", "Europe/Berlin", now)
    rows = reader.rows(HistoryQuery(low=minute(begin), high=minute(end)))
    message = digest(Sender("e", "Europe/Berlin", ""), rows, at(begin).timestamp(), now, reader.history.clock)
    return message.text.splitlines()


def test_a_night_has_a_line_for_each_slot(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.revise("2026-11-20T00:00", {"train-a": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}})
    builder.run("train-a", "2026-11-20T01:00", "failed", reason="ValueError: bad data")
    builder.run("ensemble", "2026-11-20T06:00")
    first, *rest = lines_of(builder.store, "2026-11-20T00:30", "2026-11-20T07:00")
    assert first == "[e] digest: 1 failed, 1 succeeded"
    assert [line for line in rest if line] == [
        "2026-11-20 01:30 +01:00 to 2026-11-20 08:00 +01:00 (Europe/Berlin): 1 failed, 1 succeeded",
        "2026-11-20 02:00  train-a   failed: ValueError: bad data",
        "2026-11-20 07:00  ensemble  succeeded, accuracy 0.9000",
    ]


def test_of_very_many_slots_those_that_did_not_succeed_are_listed(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.revise("2026-11-19T23:59", {"train-a": {"schedule": "*/10 * * * *", "starting_deadline": 60}})
    for slot in range(minute("2026-11-20T00:00"), minute("2026-11-21T00:00"), 10):
        builder.run("train-a", slot, "failed" if slot % 360 == 30 else "succeeded", reason="x", lasts=5)
    lines = [line for line in lines_of(builder.store, "2026-11-20T00:00", "2026-11-20T23:59") if line]
    failed = [line for line in lines if "  train-a  failed: x" in line]
    assert len(failed) == 4 and len(lines) == 2 + 4 + 1
    assert lines[-1] == "140 more slots are not listed: cronsemble history has them all"
