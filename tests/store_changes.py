"""What is done to stores by hand, by backups and by copies: nothing of it leaves a new mtime, a new size or a new name alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.files import publish_bytes, to_json
from stores import Builder, minute

Change = Callable[[LocalStore], None]

SUCCEEDED, FAILED, REPEATED, OBSERVED = (
    RunId(minute(f"2024-11-0{day}T01:00"), attempt, "e", "train-a") for day, attempt in ((1, 1), (2, 1), (1, 2), (3, 1))
)


def changed_store(root: Path) -> Builder:
    """A store with a run of each kind that the history reads otherwise, and nothing in it new."""
    builder = Builder(root)
    builder.revise("2024-10-31T00:00", {"train-a": {"schedule": "0 1 * * *"}})
    builder.run("train-a", SUCCEEDED.minute)
    builder.run("train-a", FAILED.minute, "failed", reason="no memory")
    builder.run("train-a", REPEATED.minute, attempt=2, kind="rerun", repeats=str(SUCCEEDED))
    builder.store.record_verdict(REPEATED, {"verdict": "identical"})
    builder.run("train-a", OBSERVED.minute, "running")
    builder.store.record_observation(OBSERVED, {"status": "failed", "reason": "evicted"})
    builder.note("2024-11-04T01:00", "skipped", task="train-a", minute=minute("2024-11-04T01:00"), reason="no room")
    for path in [root, *root.rglob("*")]:
        os.utime(path, (1_731_000_000, 1_731_000_000))
    return builder


def write_with_old_times(path: Path, data: bytes) -> None:
    """Write into a file in place, and put back the times of it and of the folders above."""
    folders = [path, path.parent, path.parent.parent, path.parent.parent.parent]
    times = [(folder, folder.stat()) for folder in folders]
    path.write_bytes(data)
    for folder, status in times:
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


def _record(store: LocalStore, run: RunId = SUCCEEDED) -> Path:
    return store.run_folder(run) / c.RESULT / c.RECORD


def _end(store: LocalStore) -> Path:
    return store.run_folder(FAILED) / "try-a" / c.END


def _rewrite(path: Path, old: bytes, new: bytes) -> None:
    """By bytes of the same number."""
    assert len(old) == len(new) and old in path.read_bytes()
    write_with_old_times(path, path.read_bytes().replace(old, new))


def _replace(path: Path, old: bytes, new: bytes) -> None:
    """By a rename of a copy that has its times, as rsync does."""
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    _rewrite(copy, old, new)
    os.replace(copy, path)
    for folder in (path.parent, path.parent.parent):
        os.utime(folder, (1_731_000_000, 1_731_000_000))


def _restore(store: LocalStore) -> None:
    """The month's folder is put back from a copy of another, with the times of its files."""
    month = store.task_folder("e", "train-a") / "2024-11"
    copy = month.with_name("copy")
    shutil.copytree(month, copy)
    _rewrite(copy / str(SUCCEEDED) / c.RESULT / c.RECORD, b"0.9", b"0.2")
    shutil.rmtree(copy / str(FAILED))
    os.utime(copy, (1_731_000_000, 1_731_000_000))
    shutil.rmtree(month)
    os.rename(copy, month)


CHANGES: dict[str, Change] = {
    "a record is removed": lambda s: _record(s).unlink(),
    "a record is rewritten": lambda s: _rewrite(_record(s), b"0.9", b"0.2"),
    "a record is replaced": lambda s: _replace(_record(s), b"0.9", b"0.2"),
    "a result is removed": lambda s: shutil.rmtree(_record(s).parent),
    "a run is removed": lambda s: shutil.rmtree(s.run_folder(SUCCEEDED)),
    "an end is removed": lambda s: _end(s).unlink(),
    "an end is rewritten": lambda s: _rewrite(_end(s), b"no memory", b"no ground"),
    "an end is replaced": lambda s: _replace(_end(s), b"no memory", b"no ground"),
    "a failed run's result comes by hand": lambda s: shutil.copytree(_record(s).parent, s.run_folder(FAILED) / c.RESULT),
    "a verdict is removed": lambda s: (s.run_folder(REPEATED) / c.VERDICT).unlink(),
    "a verdict is rewritten": lambda s: _rewrite(s.run_folder(REPEATED) / c.VERDICT, b"identical", b"different"),
    "an observation is removed": lambda s: (s.run_folder(OBSERVED) / c.OBSERVED).unlink(),
    "an observation is rewritten": lambda s: _rewrite(s.run_folder(OBSERVED) / c.OBSERVED, b"evicted", b"deadlin"),
    "a run is cancelled late": lambda s: (
        publish_bytes(s.run_folder(OBSERVED) / c.CANCELLED, to_json({"by": "me", "reason": "by hand"})) and None
    ),
    "notes are removed": lambda s: s.ledger.note_files("e")[0].unlink(),
    "notes are rewritten": lambda s: _rewrite(s.ledger.note_files("e")[0], b"no room", b"no time"),
    "a revision is removed": lambda s: s.ledger.revision_files("e")[0].unlink(),
    "a revision is rewritten": lambda s: _rewrite(s.ledger.revision_files("e")[0], b"0 1 * * *", b"0 2 * * *"),
    "a month is restored from a copy": _restore,
    "a month is removed": lambda s: shutil.rmtree(s.task_folder("e", "train-a") / "2024-11"),
    "the runs are removed": lambda s: shutil.rmtree(s.root / "runs"),
}
