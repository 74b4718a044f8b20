"""`gc` of a store elsewhere: it plans, removes and leaves alone what `gc` does where the store is mounted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jobs import contract as c
from jobs.store import LocalStore, Store
from jobs.store.gc import KEPT, RemovalKind, RetentionRule
from reader.pipes import Far, age, content, example_store
from scheduler.stores.gc import execute_removal, plan_removal
from scheduler.stores.remote.client import ConnectionLost, RemoteStoreError

RULES = {
    "models": RetentionRule([RemovalKind.MODELS], 0, 1),
    "runs": RetentionRule([RemovalKind.RUNS], 0, 1),
    "all": RetentionRule(list(RemovalKind), 0, 1),
    "nothing": RetentionRule([RemovalKind.RUNS], 100 * 365 * 86400, 1),
}
FOLDERS = ("runs", "predictions", "datasets", "snapshots", "experiments")


def old_store(root: Path) -> LocalStore:
    store = example_store(root).store
    for name in ("datasets/stray.npz", "datasets/.x.part", "snapshots/code/stray.zip"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    age(root, 30 * 86400)
    return store


def described(store: Store, rule: RetentionRule) -> tuple[list[str], list[str], list[str]]:
    plan = plan_removal(store, "e", rule)
    items = [f"{item.kind} {store.files.display_path(item.path)} {item.name} {item.size} {item.reason}" for item in plan.items]
    return items, sorted(str(run) for run, _ in plan.rows), plan.consequences


def tree(store: Store) -> dict[str, bytes]:
    """But for the time and the user of the tombstones."""
    return {name: b"" if name.endswith(c.REMOVED) else data for name, data in content(store, *FOLDERS).items()}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_it_removes_what_it_removes_of_a_mounted_store(far: Far, tmp_path: Path, rule: RetentionRule) -> None:
    there = old_store(far.root)
    shutil.copytree(far.root, tmp_path / "mounted")
    mounted, remote = LocalStore(tmp_path / "mounted"), far.remote(tmp_path / "mirror")
    items, runs, consequences = described(mounted, rule)
    assert described(remote, rule) == ([item.replace(f"{mounted.root}/", "claim/store:") for item in items], runs, consequences)
    before = tree(there)
    planned = plan_removal(remote, "e", rule).items
    removed = list(execute_removal(remote, "e", rule, planned))
    assert [(one.item, one.problem) for one in removed] == [(item, "") for item in planned]
    list(execute_removal(mounted, "e", rule, plan_removal(mounted, "e", rule).items))
    assert tree(there) == tree(mounted)
    assert (tree(there) == before) == (not planned)
    # The tombstones are the same too, and the mirror has them.
    remote.files.update("e")
    for task in mounted.tasks("e"):
        for run in mounted.runs("e", task):
            read = remote.read(run.id)
            assert (read.status, read.reason, read.removed.get("run")) == (run.status, run.reason, run.removed.get("run"))
            assert read.removed.get("files") == run.removed.get("files")


def test_what_came_after_the_plan_is_left_alone(far: Far, tmp_path: Path) -> None:
    store, remote, rule = old_store(far.root), far.remote(tmp_path / "mirror"), RULES["all"]
    planned = plan_removal(remote, "e", rule).items
    stray = next(item for item in planned if item.name == "datasets/stray.npz")
    (far.root / stray.name).write_bytes(b"written again now")
    removed = {one.item.name: one.problem for one in execute_removal(remote, "e", rule, planned)}
    assert removed.pop(stray.name) == KEPT and set(removed.values()) == {""}
    assert (store.root / stray.name).exists()


def test_a_removal_that_breaks_off_is_finished_by_another(far: Far, tmp_path: Path) -> None:
    there, remote, rule = old_store(far.root), far.remote(tmp_path / "mirror"), RULES["all"]
    for number in range(100):
        path = there.root / f"datasets/{number:03}.npz"
        path.write_bytes(b"x")
    age(far.root, 30 * 86400)
    planned = plan_removal(remote, "e", rule).items
    removal = execute_removal(remote, "e", rule, planned)
    next(removal)
    far.pipes[-1].process.kill()
    with pytest.raises(ConnectionLost):
        list(removal)
    rest = plan_removal(remote, "e", rule).items
    assert len(rest) < len(planned)
    assert {one.problem for one in execute_removal(remote, "e", rule, rest)} <= {""}
    assert plan_removal(remote, "e", rule).items == []


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "runs", "runs/e/train-a", "experiments/e.json"])
def test_nothing_is_removed_that_no_rule_removes(far: Far, tmp_path: Path, path: str) -> None:
    """Whatever a client sends."""
    store = old_store(far.root)
    (tmp_path / "out").write_text("stays")
    before = content(store, *FOLDERS)
    session = far.connect()
    item = {"kind": "models", "path": path, "name": "x", "size": 1, "reason": "", "run": None}
    request = {"experiment": "e", "kinds": ["models"], "age": 0, "keep": 1, "time": "t", "by": "me"}
    try:
        answer = list(session.gc([item], **request))
    except RemoteStoreError as error:
        assert "is no path inside the store" in str(error)
    else:
        assert [problem for _, problem in answer] in ([KEPT], [""])
    assert content(store, *FOLDERS) == before and (tmp_path / "out").exists()
