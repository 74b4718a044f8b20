"""fsck names the damage of every file of a store, whatever it is: a bit, its end, the file itself, or another's in its place."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.keras3.prepare import fingerprint, write_npz
from jobs.store import LocalStore
from jobs.store.check import find_damage
from jobs.store.document_checksum import checksum_problem
from jobs.store.files import parse_json, publish_bytes, sha256_of, to_document, to_json, write_file
from jobs.store.latest_predictions import update_latest
from stores import Builder, at, minute

NOW = at("2024-11-24T12:00").timestamp()

NOT_READ = re.compile(
    r"data/.*|\.index/.*"  # the user's own; a cache, which is rebuilt
    r"|runs/.*/try-[^/]*/(?!start\.json|end\.json|data\.json|selection\.json|probabilities/[^/]*/(start|end)\.json).*"
)
"""What no command takes anything from that must be right: logs, progress and arrays of tries without a result."""
MAY_BE_ABSENT = re.compile(
    r"runs/[^/]*/[^/]*/[^/]*/[^/]*/(\.?claim(-\d+)?|\.record|observed|cancelled|removed|verdict)\.json"
    r"|runs/.*/try-[^/]*/(?!start\.json).*"  # a try may have died before it wrote more
    r"|experiments/.*/(notes/.*|alive-.*)"  # a machine need not have written any
    r"|experiments/e/revisions/1732147.*"  # the last one: numbers that are gone before it show
)
"""What may not have been written at all: that it is gone shows nowhere."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store with a bit of everything: two trainings, one that failed, two ensembles, a rerun, marks, revisions, notes."""
    builder = Builder(tmp_path_factory.mktemp("whole") / "store")
    store = builder.store
    for day in (19, 20, 21):
        builder.revise(f"2024-11-{day}T00:00", {"train-a": {"schedule": f"{day} 1 * * *"}, "ensemble": {"schedule": "0 6 * * *"}})
    for day in (21, 22):
        builder.note(f"2024-11-{day}T01:00", "skipped", task="train-a", minute=minute("2024-11-22T01:00"), reason="no room")
    store.ledger.take_ownership("e", {"engine": "host:here"})
    store.ledger.record_heartbeat("e", "here", "2024-11-24T11:00:00Z")
    data = []
    for day in (20, 21):
        arrays = {"x": np.arange(8.0) + day, "names": np.array(["a", "b"])}
        digest = fingerprint(arrays)
        store.dataset_path(digest).parent.mkdir(exist_ok=True, parents=True)
        write_npz(store.dataset_path(digest), arrays)
        pin = store.pin_path("e", f"2024-11-{day}", "k")
        data.append({"fingerprint": digest, "sha256": sha256_of(store.dataset_path(digest)), "pin": f"e/2024-11-{day}-k"})
        store.files.publish(pin, to_document(data[-1]))
    ensembles = []
    for number, day in enumerate((20, 21)):
        snapshot = {
            "program": store.put_snapshot("program", b"program %d" % day),
            "code": store.put_snapshot("code", b"code %d" % day),
            "task": store.put_snapshot("task", to_json({"timezone": "UTC", "day": day})),
        }
        model = {"file": "weights.h5", "sha256": hashlib.sha256(b"weights %d" % day).hexdigest()}
        training = {"model": model, "data": data[number], "snapshot": snapshot}
        files = {
            "weights.h5": b"weights %d" % day,
            c.MODEL: to_json(model),
            c.DATA: to_document(data[number]),
            c.METRICS: b'{"accuracy": 0.%d}' % day,
            c.VALIDATION: b"validation %d" % day,
            c.EPOCHS: b"epoch,val_loss,val_accuracy\n1,0.5,0.%d\n" % day,
            c.LOG: b"epoch of %d\n" % day,
        }
        trained = builder.run("train-a", f"2024-11-{day}T01:00", files=files, lists_files=True, **training)
        files = {
            c.CSV: b"item,%d\n" % day,
            "members/a.csv": b"item,a,%d\n" % day,
            "probabilities/a/probabilities.npy": b"array %d" % day,
            "probabilities/a/start.json": to_document({"time": f"2024-11-{day}T06:00:00Z"}),
            c.SELECTION: to_document({"members": [{"member": "a", "run": str(trained)}]}),
            c.ENSEMBLE: b'{"items": %d}' % day,
        }
        run = RunId(minute(f"2024-11-{day}T06:00"), 1, "e", "ensemble")
        csv = {"file": f"{run.dated_name}.csv", "sha256": hashlib.sha256(files[c.CSV]).hexdigest()}
        files[c.METADATA] = to_document({"schema": 1, "run": str(run), "csv": csv})
        members = [{"member": "a", "run": str(trained), "accuracy": 0.9}]
        combined = {"members": members, "ensemble": {"items": day}, "data": data[number], "snapshot": snapshot}
        ensembles.append(builder.run("ensemble", f"2024-11-{day}T06:00", files=files, lists_files=True, **combined))
        store.publish_archive(ensembles[-1])
        update_latest(store, "e")
        repeat = builder.run("train-a", f"2024-11-{day}T01:00", attempt=2, lists_files=True, repeats=str(trained), **training,
                             files={"weights.h5": b"weights %d" % day})  # fmt: skip
        store.record_verdict(repeat, {"verdict": "identical", "repeats": str(trained), "run": str(repeat)})
    for day in (21, 22):
        begun = store.claim("e", "train-a", minute(f"2024-11-{day}T02:00"), {"kind": "scheduled"})
        store.begin_try(begun, f"t{day}", {"run": str(begun), "try": f"t{day}", "time": f"2024-11-{day}T02:00:01Z"})
        folder = store.try_folder(begun, f"t{day}")
        write_file(folder / c.DATA, to_document({"fingerprint": "f"}))
        write_file(folder / c.LOG, b"line\n")
        end = {"run_id": str(begun), "try": f"t{day}", "time": f"2024-11-{day}T02:00:09Z", "status": "failed"}
        publish_bytes(folder / c.END, to_document(end))
        store.record_observation(begun, {"what": "memory", "reason": "killed for memory"})
        store.cancel(begun, {"reason": "cancelled by me"})
    return store


def files_of(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def others_with_its_place(root: Path, name: str) -> list[str]:
    """The files of other bytes that have the same place in another run, or lie beside it and are of its kind."""

    def place(name: str) -> str:
        name = re.sub(r"e-(ensemble|train-a)-\d+(-r\d+)?/", "RUN/", name)
        return re.sub(r"try-[^/]*|[0-9a-f]{12,}|\d{4}-\d\d(-\d\d)?[^/.]*|(?<=/)\d+", "X", name)

    data = (root / name).read_bytes()
    return [
        other for other in files_of(root) if other != name and place(other) == place(name) and (root / other).read_bytes() != data
    ]


def damages(root: Path, name: str) -> Iterator[tuple[str, bytes | None]]:
    """Bytes in the place of a file's own; None takes it away."""
    data = (root / name).read_bytes()
    for position, bit in {(0, 0), (len(data) // 3, 5), (len(data) // 2, 0), (len(data) - 2, 1)}:
        flipped = bytearray(data)
        flipped[position] ^= 1 << bit
        yield f"bit {bit} of byte {position} is flipped", bytes(flipped)
    yield "half of it", data[: len(data) * 2 // 5]
    if not name.endswith(".jsonl"):  # the last line without its end is whole
        yield "all but a byte", data[:-1]
    yield "nothing in it", b""
    yield "zeros", bytes(len(data))
    for other in others_with_its_place(root, name)[:2]:
        yield f"that of {other}", (root / other).read_bytes()
    yield "gone", None


def is_to_be_named(name: str, damage: str) -> bool:
    return not NOT_READ.fullmatch(name) and not (damage == "gone" and MAY_BE_ABSENT.fullmatch(name))


def findings_in(root: Path) -> set[str]:
    return {finding.path.relative_to(root).as_posix() for finding in find_damage(LocalStore(root), "e", NOW, quick=False)}


def names_it(findings: set[str], name: str) -> bool:
    """Whether a finding is about the file, or the folder that it is missing in."""
    return any(name == found or (name.startswith(found + "/") and "revisions" in found) for found in findings)


def copy_of(store: LocalStore, target: Path) -> Path:
    """A copy in which a file with two names is one again."""
    subprocess.run(["cp", "-a", str(store.root), str(target)], check=True)
    return target


def test_every_damage_of_every_file_is_named(whole: LocalStore, tmp_path: Path) -> None:
    root = copy_of(whole, tmp_path / "store")
    assert findings_in(root) == set()
    unnamed, tried = [], 0
    for name in files_of(root):
        path = root / name
        for damage, content in damages(root, name):
            if not is_to_be_named(name, damage):
                continue
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            tried += 1
            if not names_it(findings_in(root), name):
                unnamed.append((name, damage))
            path.unlink(missing_ok=True)
            shutil.copy2(whole.root / name, path)
    assert not unnamed, unnamed
    assert tried > 600
    assert findings_in(root) == set()


def test_an_edit_of_a_file_with_several_names_is_named_by_each(whole: LocalStore, tmp_path: Path) -> None:
    root = copy_of(whole, tmp_path / "store")
    names = [name for name in files_of(root) if name.startswith("predictions/")]
    assert len(names) == 8
    for name in names:
        path = root / name
        data = path.read_bytes()
        own = [other for other in names if (root / other).samefile(path)]
        assert path.stat().st_nlink == len(own) + 1
        path.write_bytes(data.replace(b"item", b"itam").replace(b'"run"', b'"rum"'))
        findings = findings_in(root)
        assert findings >= set(own) and len([found for found in findings if found.startswith("runs/e/ensemble")]) == 1
        path.write_bytes(data)


def test_any_bit_of_a_document_shows() -> None:
    document = {"run": "e-1", "nested": {"checksum": "x", "list": [1, {"b": 2.5}]}, "text": 'a, "checksum": "000'}
    data = to_document(document)
    assert parse_json(data) == document and checksum_problem(to_json(document)) == ""
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises(ValueError, match="."):
                parse_json(bytes(flipped))


def test_a_result_lists_its_files_and_nobody_may_write_them(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "store")
    run = builder.run("ensemble", "2024-11-20T06:00", files={c.CSV: b"item\n", "members/a.csv": b"item\n"}, lists_files=True)
    archived = builder.store.publish_archive(run)
    assert archived is not None
    result = builder.store.run_folder(run) / c.RESULT
    for path in [*(path for path in result.rglob("*") if path.is_file()), archived, *archived.with_suffix(".members").iterdir()]:
        assert path.stat().st_mode & 0o777 == 0o444, path
    record = builder.store.result(run)
    assert record is not None and record["files"]["members/a.csv"] == {"size": 5, "sha256": sha256_of(result / "members/a.csv")}
    assert sorted(record["files"]) == ["members/a.csv", "predictions.csv", "start.json"]
