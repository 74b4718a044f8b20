"""Some cases of every kind of chaos, the same at each run (`make chaos` tries others); a store of a year under damage."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from chaos.commands import NOBODY, Commands
from chaos.damages import damage, history_rows, may_go_unseen, reading_commands
from chaos.every_kind import KINDS
from chaos.kinds import Tally, reduce_parts, try_cases
from stores import Builder, minute

SEED = "make test"


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    server = Commands()
    yield server
    server.close()


@pytest.mark.parametrize("name", KINDS)
def test_every_case_holds(name: str, commands: Commands) -> None:
    tally, count = Tally(name), KINDS[name].counted_in_tests
    try_cases(KINDS[name](commands), SEED, tally, lambda: tally.tried >= count)
    print(tally)
    assert not tally.failures, "\n\n".join(f"{failure.folder}\n{failure.problem}" for failure in tally.failures)


def test_a_case_is_reduced_to_the_parts_that_fail() -> None:
    assert reduce_parts(list(range(100)), lambda parts: {17, 70} <= set(parts)) == [17, 70]
    assert reduce_parts([3], lambda parts: True) == [3]


DAYS = 365
FILES = {"model.h5": b"weights", "epochs.csv": b"epoch,val_loss,val_accuracy\n1,0.5,0.9\n", "log.txt": b"said\n"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may read; in memory where that can be, for each run of the year is written durably."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_store_of_a_year_stays_readable_while_it_is_damaged(commands: Commands, folder: Path) -> None:
    """Damage after damage: every command goes on, the other runs are as they were, and `fsck` names each."""
    (folder / "outside").mkdir()
    (folder / "outside" / "file.json").write_text("{}")
    (folder / "config.yaml").write_text("experiment: e\nstore: ./store\nbackends: {a: {backend: jax, schedule: '0 1 * * *'}}\n")
    builder, random = Builder(folder / "store"), Random(SEED)
    first = minute("2025-11-01T01:00")
    builder.revise("2025-11-01T00:00", {"train-a": {"schedule": "0 1 * * *"}})
    for day in range(DAYS):
        status, reason = ("failed", "out of memory") if day % 9 == 4 else ("succeeded", "")
        builder.run("train-a", first + day * 1440, status, reason=reason, files=FILES, lists_files=True)
    rows = history_rows(commands.run(folder, "history", "--limit", "0", "--json").out)
    assert len(rows) == DAYS
    files = sorted(path for path in (folder / "store" / "runs").rglob("*") if path.is_file() and not path.name.startswith("."))
    damaged: dict[Path, str] = {}
    for path in random.sample(files, 60):
        way = random.choice(
            ("truncate", "empty", "remove", "directory", "pipe", "dangling link", "deep", "list", "mode 000", "huge")
        )
        if damage(path, way, random, folder):
            damaged[path] = way
        arguments = random.choice(reading_commands(list(rows)[:20]))
        ended = commands.run(folder, *arguments, user=NOBODY if os.geteuid() == 0 else None)
        assert not ended.problem(statuses=(0, 1, 2)), (ended, damaged)
    now = history_rows(commands.run(folder, "history", "--limit", "0", "--json").out)
    hit = {path.relative_to(folder).parts[5] for path in damaged}
    assert {run: row for run, row in rows.items() if run not in hit} == {run: row for run, row in now.items() if run not in hit}
    ended = commands.run(folder, "fsck", "--json", user=NOBODY if os.geteuid() == 0 else None)
    assert not ended.problem(), ended
    named = [Path(finding["path"]) for finding in json.loads(ended.out)]
    for path, way in damaged.items():
        seen = any(finding.is_relative_to(path) or path.is_relative_to(finding) for finding in named)
        # What a file of a result must be, only the record says, by either of its names: damaged in place, both are.
        record, trace = path.with_name("record.json"), path.parent.with_name(".record.json")
        is_known = not (record in damaged and os.path.lexists(record) and os.path.samestat(record.lstat(), trace.lstat()))
        assert seen or not is_known or may_go_unseen(path.relative_to(folder), way), (way, path)
