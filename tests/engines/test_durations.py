"""Which of several runs begins first."""

from __future__ import annotations

from pathlib import Path

from jobs.contract import RunKind
from scheduler.engines.durations import longest_first
from scheduler.engines.run_spec import RunSpec
from stores import Builder


def test_what_took_longest_begins_first_and_what_is_not_known_in_its_order_at_the_end(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    for task, lasts in (("train-short", 10), ("train-long", 100), ("train-middle", 50)):
        builder.run(task, "2026-11-20T01:00", lasts=999)
        builder.run(task, "2026-11-21T01:00", lasts=lasts)
    builder.run("train-long", "2026-11-22T01:00", "failed", reason="x", lasts=1)
    names = ["train-new", "train-short", "train-middle", "train-long", "train-newer"]
    specs = [
        RunSpec({"experiment": "e", "task": name}, 0, RunKind.MANUAL, (), tmp_path, threads=1, retries=0, deadline=1)
        for name in names
    ]
    assert [names[n] for n in longest_first(builder.store, specs)] == [
        "train-long",
        "train-middle",
        "train-short",
        "train-new",
        "train-newer",
    ]
