"""`serve` starts beside what is damaged in its store, and beside what is none of ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from jobs import contract as c
from jobs.contract import RunId
from scheduler.engines import local_revisions
from scheduler.server.journal import Journal
from served import make_server, write
from stores import ELSEWHERE, Builder, minute


def make_pipe(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(path.name)


def nest_deeply(path: Path) -> None:
    path.write_text("[" * 25_000)


@pytest.mark.parametrize("damage", [make_pipe, link_to_itself, nest_deeply])
def test_serve_starts_whatever_a_file_is(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    builder = Builder(tmp_path / "store")
    store = builder.store
    store.ledger.take_ownership("e", {"engine": local_revisions.engine()})
    builder.revise("2026-11-01T00:00", {"train-jax": {"schedule": "0 1 * * *"}}, engine=local_revisions.engine())
    builder.note("2026-11-02T00:00", "started")
    store.ledger.record_heartbeat("e", str(os.uname().nodename), "2026-11-23T06:00:00Z")
    builder.run("train-jax", "2026-11-20T01:00")
    builder.run("train-jax", "2026-11-21T01:00", "failed", reason="x")
    store.claim_attempt(RunId(minute("2026-11-22T01:00"), 1, "e", "train-jax"), {"kind": "scheduled", "process": ELSEWHERE})
    published = builder.run("ensemble", "2026-11-20T06:00", files={c.CSV: b"item\n"}, ensemble={})
    for path in [*store.root.rglob("*.json*"), store.run_folder(published) / c.RESULT / c.CSV]:
        if path.parent.name != "experiments" and not path.name.startswith("."):
            damage(path)
    (store.root / "runs/e/README").write_text("mine")
    (store.root / "runs/e/train-jax/2026-13").mkdir()
    (store.root / "runs/e/train-jax/2026-12").write_text("")
    journal = StringIO()
    server = make_server(write(tmp_path, tmp_path / "python", 'jax: {schedule: "0 0 1 1 *"}'), Journal(False, journal))
    server.begin(take_over=False)
    server.experiments[0].stop(1_795_700_000.0)
    assert "1 tasks of" in journal.getvalue()
