"""fsck: each kind of damage is found and explained, what is safe is repaired, and every command works beside it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.check import find_damage, repair
from jobs.store.files import to_document, to_json
from scheduler.cli import app
from stores import Builder, at, minute

NOW = at("2024-11-24T12:00").timestamp()
DAY = 86400
CONFIG = "experiment: e\nstore: ./store\nbackends: {a: {backend: tensorflow}}\nensemble: {}\n"
LATER, LONG_AGO = "2031-01-01T00:00:00Z", "1970-01-01T00:00:00Z"
TRAINED, FAILED, COMBINED = "2024-11-20T01:00", "2024-11-21T01:00", "2024-11-20T06:00"


def npz() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", b"x" * 1000)
    return file.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A whole store: a training, one that failed, an ensemble that is archived, revisions and notes."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    builder = Builder(tmp_path / "store")
    builder.revise("2024-11-19T00:00", {"train-a": {"schedule": "0 1 * * *"}})
    builder.revise("2024-11-20T00:00", {"train-a": {"schedule": "0 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}})
    builder.note("2024-11-22T01:00", "skipped", task="train-a", minute=minute("2024-11-22T01:00"), reason="no room")
    builder.store.ledger.take_ownership("e", {"engine": "host:here"})
    store = builder.store
    store.dataset_path("f").parent.mkdir(parents=True)
    store.dataset_path("f").write_bytes(npz())
    store.pin_path("e", "2024-11-20", "k").parent.mkdir()
    store.pin_path("e", "2024-11-20", "k").write_bytes(to_json({"fingerprint": "f"}))
    data = {"fingerprint": "f"}
    snapshot = {"program": store.put_snapshot("program", b"p"), "code": "", "task": store.put_snapshot("task", b"{}")}
    model = {"file": "model.h5", "sha256": hashlib.sha256(b"weights").hexdigest()}
    trained = builder.run(
        "train-a",
        TRAINED,
        files={"model.h5": b"weights", c.EPOCHS: b"epoch,val_loss,val_accuracy\n1,0.5,0.9\n", c.LOG: b"said\n"},
        model=model,
        data=data,
        snapshot=snapshot,
    )
    builder.run("train-a", FAILED, "failed", reason="out of memory", files={c.LOG: b"said\n"})
    members = [{"member": "a", "run": str(trained), "accuracy": 0.9}]
    csvs = {c.CSV: b"item\n", "members/a.csv": b"item\n"}
    combined = builder.run("ensemble", COMBINED, files=csvs, members=members, ensemble={}, data=data, snapshot=snapshot)
    builder.store.publish_archive(combined)
    return builder.store


def run(store: LocalStore, slot: str, task: str = "train-a") -> Path:
    return store.run_folder(RunId(minute(slot), 1, "e", task))


def damage_in(store: LocalStore) -> list[tuple[str, str]]:
    return [(finding.path.relative_to(store.root).as_posix(), finding.what) for finding in find_damage(store, "e", NOW, False)]


def write(path: Path, data: bytes) -> None:
    """Put a file in the place of one that is read-only."""
    path.unlink()
    path.write_bytes(data)


def cut(path: Path) -> None:
    write(path, path.read_bytes()[: path.stat().st_size // 2])


def edit(path: Path, **changes: Any) -> None:
    document = {**json.loads(path.read_text()), **changes}
    write(path, to_document(document) if "checksum" in document else to_json(document))
    (path.parents[1] / c.RECORD_TRACE).unlink(missing_ok=True)


def old(path: Path) -> Path:
    os.utime(path, (NOW - 3 * DAY,) * 2)
    return path


def leave_part(store: LocalStore) -> None:
    (store.root / "datasets" / ".f.npz.1.part").write_bytes(b"")
    old(store.root / "datasets" / ".f.npz.1.part")


def replace_archived(store: LocalStore) -> None:
    path = store.archive_folder("e") / "2024-11-20T0600Z.csv"
    path.unlink()
    path.write_text("a stranger's")


def overwrite_notes(store: LocalStore) -> None:
    (path,) = store.ledger.note_files("e")
    path.write_bytes(b'{"half": \n' + path.read_bytes())


def replace_trace(folder: Path) -> None:
    (folder / c.RECORD_TRACE).unlink()
    (folder / c.RECORD_TRACE).mkdir()


def replace_notes(store: LocalStore) -> None:
    (path,) = store.ledger.note_files("e")
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"")


DATED_LATER = {"revision": 3, "time": LATER}
RECORD, TRAIN = "result/record.json", "runs/e/train-a/2024-11"
DAMAGE: dict[str, tuple[Callable[[LocalStore], object], str, str]] = {
    "a record cut off": (lambda s: cut(run(s, TRAINED) / RECORD), RECORD, "truncated"),
    "a record of bytes": (lambda s: write(run(s, TRAINED) / RECORD, b"\xff\x00" * 9), RECORD, "truncated"),
    "a record that is a list": (lambda s: write(run(s, TRAINED) / RECORD, b"[1]"), RECORD, "truncated"),
    "no record": (lambda s: (run(s, TRAINED) / RECORD).unlink(), RECORD, "missing"),
    "another's record": (lambda s: edit(run(s, TRAINED) / RECORD, run="e-train-a-1"), RECORD, "wrong content"),
    "a record from the future": (lambda s: edit(run(s, TRAINED) / RECORD, finished=LATER), RECORD, "wrong time"),
    "a record from long ago": (lambda s: edit(run(s, TRAINED) / RECORD, started=LONG_AGO), RECORD, "wrong time"),
    "a record without times": (lambda s: edit(run(s, TRAINED) / RECORD, started=7), RECORD, "wrong time"),
    "a second name that is a folder": (lambda s: replace_trace(run(s, TRAINED)), c.RECORD_TRACE, "wrong content"),
    "notes that are a file": (lambda s: replace_notes(s), "experiments/e/notes", "unreadable"),
    "no model": (lambda s: (run(s, TRAINED) / "result/model.h5").unlink(), "result/model.h5", "missing"),
    "another model": (lambda s: write(run(s, TRAINED) / "result/model.h5", b"x"), "result/model.h5", "wrong content"),
    "a start cut off": (lambda s: cut(run(s, FAILED) / "try-a/start.json"), "try-a/start.json", "truncated"),
    "an end cut off": (lambda s: cut(run(s, FAILED) / "try-a/end.json"), "try-a/end.json", "truncated"),
    "no start": (lambda s: (run(s, FAILED) / "try-a/start.json").unlink(), "try-a/start.json", "missing"),
    "an observation cut off": (lambda s: (run(s, FAILED) / c.OBSERVED).write_text("{"), c.OBSERVED, "truncated"),
    "a foreign file in a run": (lambda s: (run(s, FAILED) / "notes.txt").write_text("mine"), "notes.txt", "foreign"),
    "a foreign month": (lambda s: (s.root / TRAIN).with_name("copy").mkdir(), "runs/e/train-a/copy", "foreign"),
    "a foreign run": (lambda s: (s.root / TRAIN / "e-train-b-1").mkdir(), "e-train-b-1", "foreign"),
    "a run of another month": (lambda s: (s.root / TRAIN / "e-train-a-1").mkdir(), "e-train-a-1", "wrong content"),
    "a file for a run": (lambda s: (s.root / TRAIN / f"e-train-a-{minute(TRAINED) + 1}").write_text(""), "", "foreign"),
    "a file for a task": (lambda s: (s.root / "runs/e/train-b").write_text(""), "runs/e/train-b", "foreign"),
    "a foreign folder": (lambda s: (s.root / "backup").mkdir(), "backup", "foreign"),
    "a leftover": (leave_part, ".part", "leftover"),
    "no archived file": (
        lambda s: (s.archive_folder("e") / "2024-11-20T0600Z.csv").unlink(),
        "2024-11-20T0600Z.csv",
        "not archived",
    ),
    "another archived file": (replace_archived, "2024-11-20T0600Z.csv", "wrong content"),
    "a foreign file in the archive": (lambda s: (s.archive_folder("e") / "mine.csv").write_text(""), "mine.csv", "foreign"),
    "no data": (lambda s: s.dataset_path("f").unlink(), "datasets/f.npz", "missing"),
    "data cut off": (lambda s: cut(s.dataset_path("f")), "datasets/f.npz", "wrong content"),
    "a pin cut off": (lambda s: cut(s.pin_path("e", "2024-11-20", "k")), "2024-11-20-k.json", "truncated"),
    "another program": (lambda s: next((s.root / "snapshots/program").iterdir()).write_text("x"), ".pyz", "wrong content"),
    "no configuration": (lambda s: shutil.rmtree(s.root / "snapshots/task"), "snapshots/task", "missing"),
    "an owner cut off": (lambda s: cut(s.root / "experiments/e.json"), "experiments/e.json", "truncated"),
    "a revision cut off": (lambda s: cut(s.ledger.revision_files("e")[0]), "revisions", "truncated"),
    "a revision from the future": (lambda s: s.ledger.add_revision("e", DATED_LATER), "revisions", "wrong time"),
    "an edited revision": (lambda s: edit(s.ledger.revision_files("e")[1], time=LATER), "revisions", "wrong content"),
    "a lost revision": (lambda s: s.ledger.revision_files("e")[0].unlink(), "revisions", "missing"),
    "a task that is none": (lambda s: (s.root / "runs/e/backup").mkdir(), "runs/e/backup", "foreign"),
    "a lost result": (lambda s: shutil.rmtree(run(s, TRAINED) / c.RESULT), "result", "missing"),
    "a note cut off": (overwrite_notes, "notes", "truncated"),
}  # fmt: skip

NOT_COMBINED = {
    "no archived file",
    "a note cut off",
    "a file for a task",
    "no configuration",
    "another's record",
    "a lost revision",
    "a lost result",
}
"""What would take away what others damage."""


def test_a_whole_store_has_nothing_wrong(store: LocalStore) -> None:
    assert damage_in(store) == []


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.holds("volume-rows", "volume-fsck")
def test_damage_is_found_and_every_command_goes_on(name: str, store: LocalStore, capfd: pytest.CaptureFixture[str]) -> None:
    act, path, what = DAMAGE[name]
    act(store)
    hits = [finding for finding in damage_in(store) if path in finding[0]]
    assert hits and {kind for _, kind in hits} == {what}, damage_in(store)
    config = str(store.root.parent / "config.yaml")
    window = ["--since", "2024-11-19", "--until", "2024-11-24"]
    for arguments in (
        ["history", *window],
        ["history", *window, "--json"],
        ["history", *window, "--calendar"],
        ["history", "--revisions"],
    ):
        app([*arguments, "-f", config], standalone_mode=False)
    out = capfd.readouterr().out
    # The other runs are shown as ever.
    assert f"e-ensemble-{minute(COMBINED)}" in out
    for slot in (TRAINED, FAILED):
        ids = f"e-train-a-{minute(slot)}"
        assert ids in out
        for arguments in (["show", ids], ["show", ids, "--json"], ["logs", ids], ["history", ids]):
            app([*arguments, "-f", config], standalone_mode=False)
    if what in ("truncated", "missing") and ("record" in path or path.startswith("try-a")) and "start" not in path:
        assert "see cronsemble fsck" in capfd.readouterr().out


def test_a_run_that_is_gone_is_missed_where_another_was_made_with_it(store: LocalStore) -> None:
    shutil.rmtree(run(store, TRAINED))
    path = (run(store, TRAINED) / c.RESULT).relative_to(store.root).as_posix()
    assert damage_in(store) == [(path, "missing")]


def test_a_record_is_put_back_by_its_second_name(store: LocalStore) -> None:
    record = run(store, TRAINED) / RECORD
    data = record.read_bytes()
    for damage in (b"{", data.replace(b"0.9", b"0.8"), (run(store, COMBINED, "ensemble") / RECORD).read_bytes(), None):
        record.unlink()
        if damage is not None:
            record.write_bytes(damage)
        findings = list(find_damage(store, "e", NOW, False))
        repair(store, findings)
        assert [(finding.path, finding.repaired) for finding in findings] == [(record, True)]
        assert record.read_bytes() == data and damage_in(store) == []


def test_only_what_is_safe_is_repaired(store: LocalStore) -> None:
    for path in store.root.rglob(c.RECORD_TRACE):
        path.unlink()
    for name in DAMAGE:
        if name not in NOT_COMBINED:
            try:
                DAMAGE[name][0](store)
            except FileNotFoundError:
                continue  # damaged already
    (store.archive_folder("e") / "2024-11-20T0600Z.members" / "a.csv").unlink()
    files = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    findings = list(find_damage(store, "e", NOW, False))
    repair(store, findings)
    repaired = [finding for finding in findings if finding.repaired]
    assert {finding.what for finding in repaired} == {"leftover", "truncated", "not archived"}
    left = {path for path in files if not path.exists()}
    assert {path.name.rpartition(".")[2] for path in left} == {"part", "json"}
    # What cannot be read has a hidden name; all else is as it was.
    assert all(path.suffix == ".part" or path.with_name(f".{path.name}.damaged").read_bytes() == files[path] for path in left)
    assert all(path.read_bytes() == data for path, data in files.items() if path not in left)
    assert not any(finding.repair for finding in find_damage(store, "e", NOW, False))


def test_the_command_says_where_what_and_what_it_means(store: LocalStore, capfd: pytest.CaptureFixture[str]) -> None:
    config = ["-f", str(store.root.parent / "config.yaml")]

    def fsck(*arguments: str) -> tuple[int, str]:
        code = app(["fsck", *arguments, *config], standalone_mode=False)
        return int(code or 0), capfd.readouterr().out

    assert fsck() == (0, f"{store.root}: nothing is wrong\n")
    (store.archive_folder("e") / "2024-11-20T0600Z.csv").unlink()
    code, out = fsck()
    assert code == 1 and out.startswith(f"{store.archive_folder('e')}/2024-11-20T0600Z.csv: not archived: e-ensemble-")
    code, out = fsck("--repair", "--json")
    assert (code, [finding["repaired"] for finding in json.loads(out)]) == (0, [True])
    assert fsck() == (0, f"{store.root}: nothing is wrong\n")
    write(run(store, TRAINED) / "result/model.h5", b"other")
    assert fsck("--quick")[0] == 0
    assert fsck()[0] == 1
