"""gc and `fsck --quick` read again only what has changed, and find all that they find without an earlier look."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore, run_summaries
from jobs.store.check import find_damage
from jobs.store.gc import RemovalKind, RetentionRule, plan_removal
from store_changes import CHANGES, Change, changed_store
from stores import Builder, at

NOW = at("2024-11-24T12:00").timestamp()
RULE = RetentionRule(tuple(RemovalKind), 86400, 1)
opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests have just written counts as old."""
    monkeypatch.setattr(run_summaries, "FRESH", -1e9)


def fsck(store: LocalStore) -> list[tuple[str, str, str]]:
    """What is wrong, by a quick look."""
    findings = find_damage(store, "e", NOW, quick=True)
    return [(str(finding.path), str(finding.what), finding.meaning) for finding in findings]


def gc(store: LocalStore) -> tuple[list[str], list[str]]:
    """What would be removed, and what that means."""
    plan = plan_removal(store, "e", RULE, NOW)
    return [f"{item.kind} {item.run} {item.name} {item.size}" for item in plan.items], plan.consequences


def without_summaries(store: LocalStore) -> LocalStore:
    shutil.rmtree(store.root / ".index", ignore_errors=True)
    return store


def whole_store(root: Path) -> Builder:
    """Trainings and ensembles of six days in which nothing is wrong, with files of all kinds, but one that failed."""
    builder = Builder(root)
    builder.revise("2024-11-01T00:00", {"train-a": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}}, what="run")
    data = {"fingerprint": "f"}
    builder.store.dataset_path("f").parent.mkdir(parents=True)
    builder.store.dataset_path("f").write_bytes(b"")
    for day in range(14, 20):
        files = {"model.h5": b"weights", c.DATA: b"{}"}
        model = {"file": "model.h5"}
        run = builder.run("train-a", f"2024-11-{day}T01:00", files=files, lists_files=True, model=model, data=data)
        members = [{"member": "a", "run": str(run), "accuracy": 0.9}]
        files = {c.CSV: b"%d" % day, "members/a.csv": b"a", "probabilities/a/probabilities.npy": b"p"}
        ensemble = builder.run("ensemble", f"2024-11-{day}T06:00", files=files, lists_files=True, members=members, data=data)
        builder.store.publish_archive(ensemble)
    builder.run("train-a", "2024-11-20T01:00", "failed", reason="no memory")
    return builder


def documents_opened(store: LocalStore) -> list[str]:
    return [path for path in opened if path.startswith(f"{store.root}/runs/") and Path(path).is_file()]


def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    store = whole_store(tmp_path).store
    rule = RetentionRule((RemovalKind.STAGING, RemovalKind.DATA, RemovalKind.SNAPSHOTS), 86400, 1)
    assert not [finding for finding in fsck(store) if "/runs/" in finding[0]]
    opened.clear()
    fsck(store)
    # But the record of the newest ensemble, which says what the latest predictions are to be.
    newest = next(store.run_ids("e", c.ENSEMBLE_TASK))
    assert documents_opened(store) == [str(store.run_folder(newest) / c.RESULT / c.RECORD)]
    opened.clear()
    plan_removal(store, "e", rule, NOW)
    # The models that an ensemble to come may take: of each member the newest.
    assert {path.split("/")[-3].split("-r")[0] for path in documents_opened(store)} <= {
        str(RunId(run.minute, run.attempt, "e", "train-a")) for run in store.run_ids("e", "train-a")
    }
    assert len(documents_opened(store)) <= 2


def files_of(store: LocalStore) -> list[str]:
    paths = (path for folder in ("runs", "predictions") for path in (store.root / folder).rglob("*"))
    return sorted(path.relative_to(store.root).as_posix() for path in paths if path.is_file())


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "beside it"])
def test_every_file_that_changes_after_a_look_is_seen_by_the_next(tmp_path: Path, damage: str) -> None:
    store = whole_store(tmp_path / "whole").store
    for name in files_of(store)[:: 3 if damage != "gone" else 1]:
        copy = LocalStore(tmp_path / "copy")
        shutil.rmtree(copy.root, ignore_errors=True)
        shutil.copytree(store.root, copy.root)
        fsck(copy)
        gc(copy)
        path = copy.root / name
        data = path.read_bytes()
        path.chmod(0o644)
        if damage == "gone":
            path.unlink()
        elif damage == "beside it":
            path.with_name(".x.part").write_bytes(b"")
        else:
            path.write_bytes(data[:-1] if damage == "cut" else bytes([data[0] ^ 1]) + data[1:])
        assert (fsck(copy), gc(copy)) == (fsck(without_summaries(copy)), gc(without_summaries(copy))), name


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_changed_by_hand_is_seen(tmp_path: Path, change: Change) -> None:
    store = changed_store(tmp_path).store
    fsck(store)
    gc(store)
    change(store)
    assert (fsck(store), gc(store)) == (fsck(without_summaries(store)), gc(without_summaries(store)))


@pytest.mark.parametrize("page", [b"", b"{}", b'{"version": 1, "tables": [1], "runs": [[1]]}', b"[]"])
def test_a_damaged_page_is_made_anew(tmp_path: Path, page: bytes) -> None:
    store = whole_store(tmp_path).store
    expected = fsck(store), gc(store)
    for path in (store.root / ".index").rglob("*.json"):
        path.write_bytes(page)
    assert (fsck(store), gc(store)) == expected
