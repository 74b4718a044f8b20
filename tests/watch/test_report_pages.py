"""What `gc` and `fsck` make of the pages that a watch leaves in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.store import LocalStore
from jobs.store.check import find_damage
from jobs.store.gc import DEFAULT_KINDS, RemovalKind, RetentionRule, execute_removal, plan_removal
from jobs.store.report_pages import dated_pages, put_page
from stores import at

DAY = 86400.0
NOW = at("2026-11-27T12:00").timestamp()
PAGE = b"<!doctype html><html></html>\n"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    for day in range(18, 28):
        list(put_page(tmp_path, "e", f"2026-11-{day}", PAGE))
    list(put_page(tmp_path, "other", "2020-01-01", PAGE))
    return LocalStore(tmp_path)


def removable(store: LocalStore, age: float, keep: int) -> list[str]:
    rule = RetentionRule([RemovalKind.REPORTS], age, keep)
    return [item.name for item in plan_removal(store, "e", rule, NOW).items]


def test_old_pages_are_removed_but_for_the_newest_and_the_latest(store: LocalStore) -> None:
    assert removable(store, 7 * DAY, 1) == [f"reports/e/2026-11-{day}.html" for day in (18, 19)]
    assert removable(store, 0, 3) == [f"reports/e/2026-11-{day}.html" for day in range(18, 25)]
    assert removable(store, 90 * DAY, 1) == []
    assert not {RemovalKind.REPORTS} & set(DEFAULT_KINDS)
    rule = RetentionRule([RemovalKind.REPORTS], 0, 3)
    plan = plan_removal(store, "e", rule, NOW)
    removed = list(execute_removal(store, "e", rule, plan.items, NOW, "2026-11-27T12:00:00Z", "me"))
    assert len(removed) == 7 and not any(one.problem for one in removed)
    assert [path.stem for path in dated_pages(store.root, "e")] == ["2026-11-25", "2026-11-26", "2026-11-27"]
    assert (store.root / "reports/e/latest.html").exists() and len(dated_pages(store.root, "other")) == 1


def test_fsck_knows_the_folders_and_names_what_is_no_page_or_cut_off(store: LocalStore) -> None:
    assert list(find_damage(store, "e", NOW, False)) == []
    folder = store.root / "reports" / "e"
    (folder / "2026-11-20.html").write_bytes(PAGE[:20])
    (folder / "2026-13-01.html").write_bytes(PAGE)
    (folder / "2026-11-21.html").unlink()
    (folder / "2026-11-21.html").mkdir()
    found = {finding.path.name: str(finding.what) for finding in find_damage(store, "e", NOW, False)}
    assert found == {"2026-11-20.html": "truncated", "2026-13-01.html": "foreign", "2026-11-21.html": "unreadable"}
    quick = {finding.path.name for finding in find_damage(store, "e", NOW, True)}
    assert quick == {"2026-13-01.html", "2026-11-21.html"}


def test_what_a_killed_writer_left_is_a_leftover(store: LocalStore) -> None:
    import os

    part = store.root / "reports" / "e" / f".latest.html.{'0' * 32}.part"
    part.write_bytes(b"half")
    os.utime(part, (NOW - 2 * DAY,) * 2)
    (finding,) = find_damage(store, "e", NOW, True)
    assert (finding.path, str(finding.what)) == (part, "leftover")
    rule = RetentionRule([RemovalKind.STAGING], DAY, 1)
    assert [item.path for item in plan_removal(store, "e", rule, NOW).items] == [part]
