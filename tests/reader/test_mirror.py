"""The mirror of a store: equal to it in what the history tells, whatever happened to either since the last look."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path

import msgspec
import pytest

from jobs import contract as c
from jobs.store import LocalStore, Store, removal
from jobs.store.files import publish_bytes, to_json
from jobs.store.local_files import LocalFiles
from reader.pipes import Far, age, content, example_store
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import Row
from scheduler.stores.history_reader import HistoryReader
from scheduler.stores.remote.client import RemoteStoreError
from store_changes import CHANGES, SUCCEEDED, Change, changed_store, write_with_old_times
from stores import minute


def rows(store: Store) -> list[Row]:
    result = HistoryReader(store, "e", "UTC", 1_732_500_000).rows(HistoryQuery())
    return [msgspec.structs.replace(row) for row in result]


def test_a_look_is_as_good_as_the_store(far: Far, tmp_path: Path) -> None:
    example_store(far.root)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    assert rows(remote) == rows(LocalStore(far.root))
    assert len(rows(remote)) > 9
    assert not list(remote.root.rglob("model.h5")) and not list((remote.root / "runs").rglob(c.LOG))


def test_a_second_look_sends_nothing_that_is_known(far: Far, tmp_path: Path) -> None:
    builder = example_store(far.root)
    age(far.root)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    before = far.received()
    remote.files.update("e")
    assert far.received() - before < 400
    builder.run("train-a", "2024-11-05T01:00")
    remote.files.update("e")
    assert far.received() - before < 2500
    assert rows(remote) == rows(builder.store)


def test_what_comes_late_is_seen(far: Far, tmp_path: Path) -> None:
    """Beside a result, into a try, as another try; and what gc takes."""
    builder, store = example_store(far.root), LocalStore(far.root)
    failed = builder.run("train-a", "2024-10-28T01:00", "failed", reason="no memory")
    age(far.root)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    runs = {str(run): run for run in store.run_ids("e", "train-a")}
    running = next(run for run in runs.values() if store.read(run).status == "running")
    first, second = sorted(run for run in runs.values() if store.result(run))[:2]
    publish_bytes(
        store.try_folder(running, "a") / c.END, to_json({"time": "2024-11-04T01:10:00Z", "status": "failed", "reason": "x"})
    )
    store.record_observation(
        failed, {"time": "t", "by": "b", "what": "OOMKilled", "status": "failed", "reason": "killed for memory"}
    )
    store.record_verdict(first, {"verdict": "identical", "repeats": "r"})
    removal.record_removal(store, second, [{"path": "result/record.json"}], "t", "gc", {"status": "succeeded", "accuracy": 0.5})
    removal.remove(store, store.run_folder(second) / c.RESULT)
    remote.files.update("e")
    for run in runs.values():
        expected, mirrored = store.read(run), remote.read(run)
        assert (mirrored.status, mirrored.reason, mirrored.record, mirrored.observed, mirrored.removed) == (
            expected.status, expected.reason, expected.record, expected.observed, expected.removed,
        )  # fmt: skip
    assert remote.read(failed).observed["what"] == "OOMKilled"
    assert (remote.run_folder(first) / c.VERDICT).exists()
    assert not (remote.run_folder(second) / c.RESULT).exists()


def test_what_is_gone_goes(far: Far, tmp_path: Path) -> None:
    builder, store = example_store(far.root), LocalStore(far.root)
    age(far.root)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    removal.remove(store, store.task_folder("e", "train-a") / "2024-10")
    removal.remove(store, store.task_folder("e", "ensemble"))
    removal.remove(store, store.ledger.folder("e") / "notes")
    removal.remove(store, next((far.root / "snapshots/task").iterdir()))
    (gone,) = [run for run in store.run_ids("e", "train-a") if str(run.slot.date()) == "2024-11-02"]
    removal.remove(store, store.run_folder(gone))
    remote.files.update("e")
    assert rows(remote) == rows(store)
    parts = ("runs", "experiments", "snapshots/task")
    assert {name for name in content(remote, *parts)} <= {name for name in content(store, *parts)}
    assert remote.tasks("e") == store.tasks("e") == ["train-a"]
    del builder


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_mirror_shows_nothing_that_is_no_longer_there(far: Far, tmp_path: Path, change: Change) -> None:
    store, remote = changed_store(far.root).store, far.remote(tmp_path / "mirror")
    remote.files.update("e")
    before = rows(remote)
    # Also what was made into folders, and has pages of the index.
    for run in remote.run_ids("e", "train-a"):
        remote.run_folder(run)
    assert rows(remote) == before == rows(store)
    received = far.received()
    change(store)
    remote.files.update("e")
    assert rows(remote) == rows(store) != before
    assert far.received() - received < 3000
    again = far.remote(tmp_path / "mirror")
    again.files.update("e")
    assert rows(again) == rows(store)


def test_a_log_is_replaced_by_one_of_the_same_size_and_time(far: Far, tmp_path: Path) -> None:
    store, remote = example_store(far.root).store, far.remote(tmp_path / "mirror")
    run = next(store.run_ids("e", "train-a"))
    run = next(run for run in store.run_ids("e", "train-a") if store.result(run))
    for text in (b"trained\n", b"learned\n"):
        write_with_old_times(store.run_folder(run) / c.RESULT / c.LOG, text)
        remote.files.update("e")
        remote.download(run, f"*{c.LOG}")
        assert (remote.run_folder(run) / c.RESULT / c.LOG).read_bytes() == text


def test_a_task_configuration_that_is_removed_or_damaged_is_not_shown(far: Far, tmp_path: Path) -> None:
    store, remote = example_store(far.root).store, far.remote(tmp_path / "mirror")
    digest = store.put_snapshot("task", b'{"timezone": "UTC"}')
    remote.files.update("e")
    record = {"snapshot": {"task": digest}}
    assert remote.task_configuration(record) == {"timezone": "UTC"}
    write_with_old_times(store.snapshot_path("task", digest), b'{"timezone": "UT"')
    remote.files.update("e")
    assert remote.task_configuration(record) == store.task_configuration(record) == {}


def test_what_was_written_from_here_and_has_gone_there_goes(far: Far, tmp_path: Path) -> None:
    """Between two looks: the mirror has it, though no look brought it."""
    store, remote = changed_store(far.root).store, far.remote(tmp_path / "mirror")
    remote.files.update("e")
    before = rows(remote)
    run = remote.claim("e", "train-a", minute("2024-11-06T01:00"), {"by": "me"})
    remote.ledger.add_note("e", "laptop", {"time": "2024-11-06T00:00:00Z", "event": "skipped"})
    remote.ledger.add_revision("e", {"revision": 9, "time": "2024-11-06T00:00:00Z", "engine": "x", "tasks": {}})
    remote.put_snapshot("task", b"{}")
    assert rows(remote) != before
    removal.remove(store, store.run_folder(run))
    for path in (
        *store.ledger.note_files("e")[1:],
        store.ledger.revision_files("e")[-1],
        *(far.root / "snapshots/task").iterdir(),
    ):
        path.unlink()
    remote.files.update("e")
    assert rows(remote) == rows(store) == before
    assert not list((remote.root / "snapshots/task").iterdir())


def test_what_is_taken_out_of_the_mirror_comes_again(far: Far, tmp_path: Path) -> None:
    store, remote = example_store(far.root).store, far.remote(tmp_path / "mirror")
    age(far.root)
    remote.files.update("e")
    for folder in ("experiments", "snapshots"):
        removal.remove(LocalStore(remote.root), remote.root / folder)
    remote.files.update("e")
    assert content(remote, "experiments", "snapshots") == content(store, "experiments", "snapshots/task")


def test_a_store_in_the_place_of_another_is_shown_as_it_is(far: Far, tmp_path: Path) -> None:
    """As where a claim was made anew: runs of the same names and times, and other records."""
    remote = far.remote(tmp_path / "mirror")
    changed_store(far.root)
    remote.files.update("e")
    before = rows(remote)
    removal.remove(LocalStore(tmp_path), far.root)
    other = changed_store(far.root).store
    write_with_old_times(other.run_folder(SUCCEEDED) / c.RESULT / c.RECORD, b'{"accuracy": 0.3}')
    remote.files.update("e")
    assert rows(remote) == rows(other) != before
    removal.remove(LocalStore(tmp_path), far.root)
    far.root.mkdir()
    remote.files.update("e")
    assert rows(remote) == []


def test_an_update_that_is_broken_off_goes_on(far: Far, tmp_path: Path) -> None:
    """As by Ctrl-C, after each number of runs: what is visible is whole, and the next look brings the rest."""
    example_store(far.root)
    age(far.root)
    whole = rows(LocalStore(far.root))
    for stop in range(1, 8):
        remote = far.remote(tmp_path / f"mirror{stop}")

        def progress(come: int, total: int, stop: int = stop) -> None:
            if come == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            remote.files.update("e", progress)
        for task in remote.tasks("e"):
            for run in remote.runs("e", task):
                assert run.status == LocalStore(far.root).read(run.id).status
        remote.files.update("e")
        assert rows(remote) == whole


def test_several_that_look_at_once_see_the_same(far: Far, tmp_path: Path) -> None:
    example_store(far.root)
    remotes = [far.remote(tmp_path / "mirror") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda remote: remote.files.update("e"), remotes))
    assert rows(remotes[0]) == rows(LocalStore(far.root))


def test_a_conversation_that_ends_is_begun_again(far: Far, tmp_path: Path) -> None:
    example_store(far.root)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    far.pipes[0].process.kill()
    far.pipes[0].process.wait()
    remote.files.update("e")
    assert len(far.pipes) == 2


def test_larger_files_come_when_they_are_asked_for(far: Far, tmp_path: Path) -> None:
    builder = example_store(far.root)
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    run = next(remote.run_ids("e", "ensemble"))
    assert [path.name for path in remote.list_files(run, c.RESULT)] == ["a.csv", "predictions.csv", "record.json", "start.json"]
    remote.download(run, "*.csv")
    result = remote.run_folder(run) / c.RESULT
    assert (result / "members/a.csv").read_bytes() == b"item\n"
    before = far.received()
    remote.download(run, "*.csv")
    assert far.received() == before
    removal.remove(builder.store, builder.store.run_folder(run) / c.RESULT / c.CSV)
    remote.files.update("e")
    remote.download(run, "*.csv")
    assert not (result / c.CSV).exists()
    archived = remote.archive_folder("e") / "x.csv"
    publish_bytes(far.root / "predictions/e/x.csv", b"y")
    remote.files.download_files(archived)
    assert archived.read_bytes() == b"y"


def test_a_store_is_written_to_there_and_here(far: Far, tmp_path: Path) -> None:
    store = example_store(far.root).store
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    claimed = remote.claim("e", "train-a", minute("2024-11-06T01:00"), {"by": "me"})
    assert store.claim_of(claimed) == remote.claim_of(claimed) == {"schema": 1, "run_id": str(claimed), "by": "me"}
    assert remote.claim("e", "train-a", minute("2024-11-06T01:00")).attempt == 2
    assert not remote.claim_attempt(claimed)
    digest = remote.put_snapshot("code", b"code")
    assert store.snapshot_path("code", digest).read_bytes() == b"code"
    remote.ledger.add_note("e", "laptop", {"time": "2024-11-06T00:00:00Z", "event": "skipped"})
    remote.ledger.add_note("e", "laptop", {"time": "2024-11-06T00:00:01Z", "event": "skipped"})
    assert [note["event"] for note in store.ledger.notes("e")] == ["skipped"] * 3
    remote.record_observation(claimed, {"what": "OOMKilled"})
    remote.record_verdict(claimed, {"verdict": "equal"})
    remote.ledger.add_revision("e", {"revision": 9, "time": "2024-11-06T00:00:00Z", "engine": "x", "tasks": {}})
    remote.files.update("e")
    names = content(store, "experiments", f"runs/e/train-a/2024-11/{claimed}")
    assert names == content(remote, "experiments", f"runs/e/train-a/2024-11/{claimed}")
    assert len([name for name in names if "/revisions/" in name]) == 2


def test_hashes_are_taken_where_the_bytes_are(far: Far, tmp_path: Path) -> None:
    store = example_store(far.root).store
    remote = far.remote(tmp_path / "mirror")
    digest = store.put_snapshot("code", b"code")
    assert remote.snapshot_problem("code", digest) == ""
    store.snapshot_path("code", digest).write_bytes(b"edoc")
    assert "is damaged" in remote.snapshot_problem("code", digest)
    assert "cannot be read: No such file" in remote.snapshot_problem("code", "0" * 64)


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../out", "link/out", "link", "", "a//b", "."])
@pytest.mark.holds("network-reader")
def test_no_name_leads_out_of_the_store(far: Far, tmp_path: Path, path: str) -> None:
    (tmp_path / "out").write_text("secret")
    for folder in (far.root, far.root / "runs", far.root / "data"):
        folder.mkdir(exist_ok=True)
        (folder / "link").symlink_to(tmp_path)
    session = far.connect()
    for op in ("download", "sha256"):
        with pytest.raises(RemoteStoreError):
            session.request(op, path=path)
    for op in ("publish", "replace", "append"):
        for name in (path, f"runs/{path}"):
            with pytest.raises(RemoteStoreError):
                session.request(op, b"{}", path=name)
    with pytest.raises(RemoteStoreError):
        session.list_files(path)
    with pytest.raises(RemoteStoreError):
        session.request("upload-piece", b"x", path=path, sha256="0" * 64, start=0)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["far", "out", "program.pyz"]
    assert (tmp_path / "out").read_text() == "secret"


def test_a_link_in_a_run_is_not_followed(far: Far, tmp_path: Path) -> None:
    """What a run's code may have left in its folder."""
    store = example_store(far.root).store
    (tmp_path / "out").write_text('{"secret": 1}')
    run = next(store.run_ids("e", "ensemble"))
    record = store.run_folder(run) / c.RESULT / c.RECORD
    record.unlink()
    record.symlink_to(tmp_path / "out")
    (store.run_folder(run) / c.VERDICT).symlink_to(tmp_path / "out")
    remote = far.remote(tmp_path / "mirror")
    remote.files.update("e")
    remote.download(run, "*")
    assert "secret" not in "".join(path.read_text() for path in remote.run_folder(run).rglob("*") if path.is_file())


def test_what_only_a_store_of_this_machine_can_do_is_not_there_to_be_called(far: Far, tmp_path: Path) -> None:
    """Neither on the store nor on its files: mypy refuses what their types lack, and so does Python."""
    remote = far.remote(tmp_path / "mirror")
    for name in ("begin_try", "publish", "publish_archive", "repair_archive", "repair_archives"):
        assert hasattr(LocalStore, name) and not hasattr(remote, name)
    assert hasattr(LocalFiles, "publish_file") and not hasattr(remote.files, "publish_file")
    operations = [value for value in vars(removal).values() if getattr(value, "__module__", "") == removal.__name__]
    signatures = [signature(operation) for operation in operations if "store" in signature(operation).parameters]
    assert len(signatures) == 4
    assert all(one.parameters["store"].annotation == "LocalStore" for one in signatures)
    assert not isinstance(remote, LocalStore)
