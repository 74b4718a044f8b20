"""The store: publishing is exclusive and whole, statuses come from the tries."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import contract as c
from jobs.contract import RunId, parse_run_id
from jobs.store import LocalStore, removal
from jobs.store.files import publish_bytes, read_fresh_or_none, to_json, write_file
from jobs.store.latest_model import choose_models
from jobs.store.process_identity import process_identity

MINUTE = 29_924_640


def start(store: LocalStore, run: RunId, name: str) -> None:
    folder = store.try_folder(run, name)
    folder.mkdir(parents=True)
    write_file(folder / c.START, to_json({"time": f"2026-11-23T06:00:0{len(name)}Z", "process": process_identity()}))


def succeed(store: LocalStore, run: RunId, name: str = "a", **record: object) -> bool:
    start(store, run, name)
    write_file(store.try_folder(run, name) / c.RECORD, to_json({"try": name, "kind": "scheduled", **record}))
    return store.publish(run, name)


@given(
    st.integers(0, 10**9),
    st.integers(1, 10**4),
    st.from_regex(r"\A[a-z][a-z0-9-]{0,9}[a-z0-9]\Z"),
    st.from_regex(r"\Atrain-[a-z0-9]{1,9}\Z"),
)
def test_a_run_id_reads_back(minute: int, attempt: int, experiment: str, task: str) -> None:
    run = RunId(minute, attempt, experiment, task)
    assert parse_run_id(str(run), experiment, task) == run


def test_latest_is_newest_slot_then_attempt() -> None:
    runs = [RunId(9, 3, "e", "t"), RunId(10, 1, "e", "t"), RunId(10, 2, "e", "t"), RunId(10, 10, "e", "t")]
    assert max(runs) == RunId(10, 10, "e", "t")


class PublishedMeanwhile(LocalStore):
    """A store in which the try ``a`` is published right after a reader has looked for the result."""

    def result(self, run: RunId) -> dict[str, Any] | None:
        record = super().result(run)
        if record is None:
            self.publish(run, "a")
        return record


def test_a_run_that_is_published_while_it_is_read_is_not_damaged(tmp_path: Path) -> None:
    store, run = PublishedMeanwhile(tmp_path), RunId(MINUTE, 1, "e", "ensemble")
    start(store, run, "a")
    write_file(store.try_folder(run, "a") / c.RECORD, to_json({"try": "a", "kind": "scheduled"}))
    assert store.read(run).status == "running"
    assert store.read(run).status == "succeeded"


def test_claims_are_exclusive(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    claimed: list[RunId] = []
    threads = [threading.Thread(target=lambda: claimed.append(store.claim("e", "ensemble", MINUTE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.attempt for run in claimed) == list(range(1, 9))


@pytest.mark.holds("volume-archive")
def test_the_first_try_is_the_result(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "train-a", MINUTE)
    assert succeed(store, run, "one")
    assert not succeed(store, run, "two")
    assert store.result(run) == {"try": "one", "kind": "scheduled"}


def test_a_lost_reply_is_not_a_lost_race(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "train-a", MINUTE)
    assert succeed(store, run, "one")
    # The rename was done, its reply was lost, and it is tried again: the source is gone.
    assert store.publish(run, "one")


def test_status_comes_from_the_tries(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "train-a", MINUTE)
    assert store.read(run).status == "died"
    start(store, run, "a")
    assert store.read(run).status == "running"
    publish_bytes(store.try_folder(run, "a") / c.END, to_json({"status": "failed", "reason": "because"}))
    assert (store.read(run).status, store.read(run).reason) == ("failed", "because")
    assert succeed(store, run, "bb")
    assert store.read(run).status == "succeeded"


def test_a_dead_process_is_seen(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "train-a", MINUTE)
    store.begin_try(run, "a", {"process": {**process_identity(), "start": 1}})
    assert store.read(run).status == "died"


@pytest.mark.holds("volume-archive")
def test_the_archive_is_never_overwritten(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first, second = (store.claim("e", "ensemble", MINUTE) for _ in range(2))
    for run in (first, second):
        folder = store.try_folder(run, "a")
        (folder / c.MEMBERS).mkdir(parents=True)
        write_file(folder / c.CSV, str(run).encode())
        write_file(folder / c.MEMBERS / "m.csv", b"m")
        write_file(folder / c.RECORD, to_json({"try": "a"}))
        assert store.publish(run, "a")
    archive = store.archive_folder("e")
    assert sorted(store.repair_archives("e")) == sorted(archive / f"{run.dated_name}.csv" for run in (first, second))
    assert sorted(path.name for path in archive.glob("*.csv")) == [
        "2026-11-24T0000Z-r2.csv",
        "2026-11-24T0000Z.csv",
    ]
    (archive / "2026-11-24T0000Z.csv").unlink()
    (archive / "2026-11-24T0000Z.csv").write_text("a stranger's")
    assert store.publish_archive(first) is None
    assert (archive / "2026-11-24T0000Z.csv").read_text() == "a stranger's"


@pytest.mark.parametrize(
    ("slots", "max_age", "expected"),
    [
        ([(0, 1), (0, 2), (-10, 1)], None, (0, 2)),
        ([(1, 1), (-10, 1)], None, (-10, 1)),
        ([(-10, 1)], 600, (-10, 1)),
        ([(-11, 1)], 600, None),
        ([], None, None),
    ],
)
def test_which_model_is_latest(
    tmp_path: Path, slots: list[tuple[int, int]], max_age: int | None, expected: tuple[int, int] | None
) -> None:
    store = LocalStore(tmp_path)
    for offset, attempt in slots:
        assert succeed(store, RunId(MINUTE + offset, attempt, "e", "train-m"))
    (choice,) = choose_models(store, RunId(MINUTE, 1, "e", "ensemble"), ["m"], max_age, "")
    found = (choice.run.minute - MINUTE, choice.run.attempt) if choice.run else None
    assert found == expected


@pytest.mark.parametrize(
    ("runs", "max_age", "reason"),
    [
        ([], 1800, "it had no training at or before this slot"),
        ([(1, "ok")], 1800, "it had no training at or before this slot"),
        ([(-31, "ok")], 1800, "its newest training {31} is older than max_age (30m)"),
        ([(-61, "ok")], 3600, "its newest training {61} is older than max_age (1h)"),
        ([(-2, "ok")], 90, "its newest training {2} is older than max_age (90s)"),
        (
            [(-10, "failed"), (-70, "ok")],
            1800,
            "its newest training {10} cannot be taken (failed: because), and the ones before are older than max_age (30m)",
        ),
        ([(-40, "failed")], 1800, "its newest training {40} cannot be taken (failed: because), and is older than max_age (30m)"),
        (
            [(-5, "failed")],
            None,
            "its newest training {5} cannot be taken (failed: because), and no training before that can be taken",
        ),
        (
            [(-5, "manual"), (-9, "failed")],
            1800,
            "its newest training {5} cannot be taken (a manual run feeds only its own ensemble, unless with --publish), "
            "and no training before that can be taken",
        ),
        (
            [(-5, "other"), (-99, "ok")],
            1800,
            "its newest training {5} cannot be taken (made with another configuration), "
            "and the ones before are older than max_age (30m)",
        ),
    ],
)
def test_why_no_model_is_taken(tmp_path: Path, runs: list[tuple[int, str]], max_age: int | None, reason: str) -> None:
    store = LocalStore(tmp_path)
    names = {}
    for offset, kind in runs:
        run = RunId(MINUTE + offset, 1, "e", "train-m")
        names[-offset] = str(run)
        if kind == "failed":
            store.begin_try(run, "a", {"time": "2026-11-20T00:00:00Z"})
            (store.try_folder(run, "a") / "end.json").write_bytes(to_json({"status": "failed", "reason": "because"}))
        else:
            record = {"ok": {}, "manual": {"kind": "manual"}, "other": {"other_configuration": True}}[kind]
            assert succeed(store, run, **record)
    (choice,) = choose_models(store, RunId(MINUTE, 1, "e", "ensemble"), ["m"], max_age, "")
    for offset, name in names.items():
        reason = reason.replace(f"{{{offset}}}", name)
    assert choice.run is None and choice.reason == reason


def test_a_number_that_is_none_is_absent(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert succeed(store, RunId(MINUTE, 1, "e", "train-m"), accuracy=float("nan"), metrics={"loss": float("inf"), "epochs": 3})
    run = store.read(RunId(MINUTE, 1, "e", "train-m"))
    assert run.record["accuracy"] is None and run.record["metrics"] == {"loss": None, "epochs": 3}
    assert (run.accuracy, run.loss) == (None, None)


def test_manual_runs_feed_only_their_own_ensemble(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert succeed(store, RunId(MINUTE, 1, "e", "train-m"), kind="manual", invocation="mine")
    ensemble = RunId(MINUTE, 1, "e", "ensemble")
    assert choose_models(store, ensemble, ["m"], None, "mine")[0].run is not None
    assert choose_models(store, ensemble, ["m"], None, "other")[0].run is None
    assert choose_models(store, ensemble, ["m"], None, "")[0].run is None
    # A repeat feeds no more than what it repeats did.
    assert succeed(store, RunId(MINUTE, 2, "e", "train-m"), kind="rerun", repeats_kind="manual")
    assert choose_models(store, ensemble, ["m"], None, "")[0].run is None
    assert succeed(store, RunId(MINUTE, 3, "e", "train-m"), kind="rerun", repeats_kind="scheduled")
    assert choose_models(store, ensemble, ["m"], None, "")[0].run == RunId(MINUTE, 3, "e", "train-m")


_PUBLISHER = """
import sys
from pathlib import Path
from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.files import to_json, write_file
from jobs.store.process_identity import process_identity
store = LocalStore(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    run = store.claim("e", "ensemble", 1)
    folder = store.try_folder(run, "a")
    store.begin_try(run, "a", {"process": process_identity()})
    (folder / c.MEMBERS).mkdir()
    write_file(folder / c.CSV, b"x" * 50_000)
    write_file(folder / c.MEMBERS / "m.csv", b"y" * 50_000)
    write_file(folder / c.RECORD, to_json({"try": "a"}))
    store.publish(run, "a")
    store.publish_archive(run)
    print(run, flush=True)
"""


def test_killed_at_random_points_nothing_is_half_visible(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    acknowledged = 0
    for number in range(100):
        child = subprocess.Popen([sys.executable, "-c", _PUBLISHER, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout as lines:
            lines.readline()
            # Killed somewhere in the work after the n-th acknowledged run, a little further each time.
            for _ in range(number % 3):
                assert lines.readline()
                acknowledged += 1
            timer = threading.Timer((number % 17) / 4000, os.kill, (child.pid, signal.SIGKILL))
            timer.start()
            acknowledged += sum(1 for _ in lines)
            timer.join()
        child.wait()
    runs = list(store.runs("e", "ensemble"))
    assert {run.status for run in runs} <= {"succeeded", "died"}
    succeeded = [run for run in runs if run.status == "succeeded"]
    assert len(succeeded) >= acknowledged > 0
    store.repair_archives("e")
    for run in succeeded:
        assert (store.archive_folder("e") / f"{run.id.dated_name}.csv").read_bytes() == b"x" * 50_000
        assert (run.folder / c.RESULT / c.MEMBERS / "m.csv").stat().st_size == 50_000
    assert len(list(store.archive_folder("e").glob("*.csv"))) == len(succeeded)
    assert succeed(store, store.claim("e", "ensemble", 1))


def lose_replies(monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
    """Do what ``os.name`` does, once each, and say what a server says that is asked a second time."""
    real = getattr(os, name)

    def twice(*args: Any, **more: Any) -> None:
        real(*args, **more)
        raise OSError(error, os.strerror(error), *args[:1])

    monkeypatch.setattr(os, name, twice)


@pytest.mark.parametrize(
    ("errors", "is_read"),
    [
        ([errno.ESTALE] * 5, True),
        ([errno.ENOENT], True),
        ([errno.ENOENT] * 2, False),
        ([errno.ESTALE, errno.ENOENT], True),
        ([errno.ENOENT, errno.ESTALE, errno.ENOENT], True),
        ([errno.ESTALE, errno.ENOENT, errno.ENOENT], False),
    ],
)
def test_a_name_that_others_replace_again_and_again_is_read(tmp_path: Path, errors: list[int], is_read: bool) -> None:
    """A server says that a file is stale as often as it was replaced after it was opened; what is not there twice is gone."""
    left = [OSError(error, os.strerror(error)) for error in errors]

    def operation(path: Path) -> str:
        if left:
            raise left.pop(0)
        return "read"

    assert read_fresh_or_none(tmp_path / "name", operation) == ("read" if is_read else None)


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ESTALE])
def test_a_rename_whose_reply_was_lost_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    store = LocalStore(tmp_path)
    lose_replies(monkeypatch, "rename", error)
    run = RunId(MINUTE, 1, "e", "train-a")
    assert store.claim_attempt(run, {"kind": "manual"})
    assert not store.claim_attempt(run, {"kind": "manual"})
    assert store.claim("e", "train-a", MINUTE).attempt == 2
    store.begin_try(run, "b", {})
    store.ledger.record_heartbeat("e", "here", "2026-11-23T06:00:00Z")
    store.ledger.record_heartbeat("e", "here", "2026-11-23T06:01:00Z")
    assert succeed(store, run, "a")
    assert store.ledger.last_heartbeat("e", "here") == "2026-11-23T06:01:00Z"
    assert sorted(os.listdir(store.run_folder(run))) == [c.CLAIM, c.RESULT, "try-b"]
    assert len(os.listdir(store.run_folder(run).parent)) == 2


@pytest.mark.parametrize("name, error", [("link", errno.EEXIST), ("mkdir", errno.EEXIST)])
def test_a_name_that_seems_taken_for_a_reply_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: int
) -> None:
    store = LocalStore(tmp_path)
    lose_replies(monkeypatch, name, error)
    assert store.ledger.take_ownership("e", {"engine": "host:here"}) is None
    run = store.claim("e", "train-a", MINUTE)
    assert run.attempt == 1
    store.begin_try(run, "a", {})
    assert store.read(run).tries


def test_a_removal_whose_replies_are_lost_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    run = store.claim("e", "train-a", MINUTE)
    assert succeed(store, run, "a")
    real, lost = os.unlink, [True, True]

    def unlink(*args: Any, **more: Any) -> None:
        real(*args, **more)
        if lost:
            lost.pop()
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), args[0])

    monkeypatch.setattr(os, "unlink", unlink)
    assert removal.remove(store, store.run_folder(run))
    assert not store.run_folder(run).exists()
    assert not removal.remove(store, store.run_folder(run))


def test_a_claim_is_whole_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    run = RunId(MINUTE, 1, "e", "train-a")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "the server went away")))
    with pytest.raises(OSError):
        store.claim_attempt(run, {"kind": "manual"})
    monkeypatch.undo()
    assert not os.listdir(store.run_folder(run).parent)
    assert store.claim_attempt(run, {"kind": "manual"})
