"""Tombstones: nothing that one of several gcs at once writes down is lost, and what they say together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from jobs import contract as c
from jobs.store import LocalStore
from jobs.store.check import find_damage
from jobs.store.gc import RemovalKind, RetentionRule, execute_removal, plan_removal
from jobs.store.removal import record_removal
from jobs.store.tombstones import merge_tombstones, next_tombstone_name, tombstone_names
from stores import Builder, at

WRITERS, REMOVALS = 4, 12
NOW = at("2024-11-24T12:00").timestamp()
TIME = "2024-11-24T12:00:00Z"


def test_what_several_gcs_remove_of_a_run_at_once_is_all_written_down(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    run, together = builder.run("train-a", "2024-11-01T01:00"), Barrier(WRITERS)

    def write(writer: int) -> None:
        for number in range(REMOVALS):
            together.wait()
            file = {"path": f"result/{writer}-{number}", "size": number, "why": "old"}
            record_removal(LocalStore(builder.store.root), run, [file], TIME, f"gc {writer}")

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    paths = [file["path"] for file in builder.store.read(run).removed["files"]]
    expected = sorted(f"result/{writer}-{number}" for writer in range(WRITERS) for number in range(REMOVALS))
    assert sorted(paths) == expected
    assert all(builder.store.is_removed(run, path) for path in expected) and not builder.store.is_removed(run, "result/x")


def test_two_gcs_of_other_kinds_leave_a_tombstone_of_both(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    store = builder.store
    run = builder.run("train-a", "2024-09-01T01:00", files={"model.h5": b"x"}, model={"file": "model.h5"})
    for day in range(10, 15):
        builder.run("train-a", f"2024-09-{day}T01:00", files={"model.h5": b"x"}, model={"file": "model.h5"})
    models, whole = (RetentionRule([kind], 5 * 86400, 2) for kind in (RemovalKind.MODELS, RemovalKind.RUNS))
    plans = [plan_removal(store, "e", rule, NOW) for rule in (models, whole)]
    removals = [
        execute_removal(store, "e", rule, plan.items, NOW, TIME, str(n))
        for n, (rule, plan) in enumerate(zip((models, whole), plans, strict=True))
    ]
    # Each has written its tombstones before it removes the first file.
    first = [next(removal) for removal in removals]
    assert all(not one.problem for one in first)
    for removal in removals:
        list(removal)
    removed = store.read(run).removed
    paths = [file["path"] for file in removed["files"]]
    assert paths[0] == "result/model.h5" and "result" in paths and len(set(paths)) == len(paths)
    assert removed["run"]["status"] == "succeeded" and removed["by"] == "1"
    assert sorted(path.name for path in store.run_folder(run).iterdir()) == ["removed-2.json", c.REMOVED]
    assert not [finding for finding in find_damage(store, "e", NOW, True) if "removed" in str(finding.path)]


def test_a_tombstone_says_what_no_other_has_said(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    run = builder.run("train-a", "2024-11-01T01:00")
    one, two = ({"path": path, "size": 1, "why": "old"} for path in ("result/a", "result/b"))
    for files in ([one], [one], [one, two], [two]):
        record_removal(builder.store, run, files, TIME, "me")
    names = tombstone_names(path.name for path in builder.store.run_folder(run).iterdir())
    assert names == [c.REMOVED, "removed-2.json"]
    row = {"status": "succeeded", "reason": "", "evidence": "recorded"}
    record_removal(builder.store, run, [two], TIME, "you", row)
    record_removal(builder.store, run, [two], TIME, "they", row)
    removed = builder.store.read(run).removed
    assert removed["files"] == [one, two] and removed["run"] == row and removed["by"] == "you"


@pytest.mark.parametrize(
    ("names", "chosen", "following"),
    [
        ([], [], "removed.json"),
        (["removed.json", "record.json"], ["removed.json"], "removed-2.json"),
        (
            ["removed-10.json", "removed-2.json", "removed.json"],
            ["removed.json", "removed-2.json", "removed-10.json"],
            "removed-11.json",
        ),
        (["removed-0.json", "removed-x.json", "removed-2.json.part"], [], "removed.json"),
    ],
)
def test_names(names: list[str], chosen: list[str], following: str) -> None:
    assert (tombstone_names(names), next_tombstone_name(names)) == (chosen, following)


def test_one_tombstone_alone_is_what_it_says() -> None:
    alone = {"schema": 1, "run_id": "r", "time": TIME, "by": "me", "files": [{"path": "a"}], "run": {"status": "failed"}}
    assert merge_tombstones([alone]) == alone and merge_tombstones([]) == {}
    assert merge_tombstones([{"by": "me"}]) == {"by": "me"}
