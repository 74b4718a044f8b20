"""The gate of an ensemble, in the step that combines: judged on the items that both ensembles predicted; one result or none."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import contract as c
from jobs.contract import ExitCode, RunId
from jobs.keras3.ensemble_drop import compare
from jobs.keras3.prepare import Rules, fingerprint, resolve, write_npz
from jobs.store import LocalStore
from jobs.store.files import to_json, write_file
from jobs.store.process_identity import process_identity
from scheduler.snapshots.program import build_program
from supervised import supervise

MINUTE = 29_924_640
DAY = 1440
ITEMS = 200


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.pyz"
    path.write_bytes(build_program())
    return path


def begin(store: LocalStore, run: RunId, right: int, kind: str = "scheduled", labels: bool = True, **inputs: Any) -> None:
    """A try as its predict steps leave it, with one member that has the first ``right`` of the items right.

    ``inputs``: what is predicted, instead of the data's own.
    """
    images = np.arange(600 * 4, dtype="float32").reshape(600, 4)
    raw = {"x_train": images, "y_train": np.arange(600) % 2, "x_test": images, "y_test": np.arange(600) % 2}
    given: Mapping[str, Any] = {"x": images[:ITEMS], "y": np.arange(ITEMS) % 2, **inputs}
    arrays = resolve(raw, {name: value for name, value in given.items() if labels or name != "y"}, Rules(1)).arrays
    digest = fingerprint(arrays)
    store.dataset_path(digest).parent.mkdir(parents=True, exist_ok=True)
    if not store.dataset_path(digest).exists():
        write_npz(store.dataset_path(digest), arrays)
    process = {**process_identity(), "start": 1}
    store.begin_try(run, "a", {"time": "2026-11-23T06:00:00Z", "process": process, "kind": kind})
    folder = store.try_folder(run, "a")
    write_file(folder / c.DATA, to_json({"fingerprint": digest}))
    prediction = folder / "probabilities" / "one"
    prediction.mkdir(parents=True)
    predicted = np.asarray(given["y"]).copy()
    predicted[right:] = 1 - predicted[right:]
    np.save(prediction / "probabilities.npy", np.eye(2, dtype="float32")[predicted] * 0.8 + 0.1)
    outcome = {"member": "one", "run": "x", "accuracy": 0.5, "class_names": ["0", "1"]}
    write_file(prediction / c.END, to_json({**outcome, "probabilities": "probabilities/one/probabilities.npy"}))


def combine(program: Path, store: LocalStore, run: RunId, gate: Mapping[str, float], **env: str) -> dict[str, Any]:
    """What the gate says in the record."""
    task = {"members": [{"member": "one", "backend": "jax", "threads": 1, "env": {}}], "quorum": 1, "method": "accuracy"}
    process = supervise(program, store, run, "combine", {**task, "gate": dict(gate)}, **env)
    output, _ = process.communicate()
    assert process.returncode == ExitCode.DONE, output
    record = store.result(run) or {}
    return dict(record.get("gate") or {})


def night(store: LocalStore, day: int) -> RunId:
    return store.claim("e", "ensemble", MINUTE + day * DAY)


def test_a_drop_on_the_same_items_is_refused_and_a_repeat_comes_to_the_same(tmp_path: Path, program: Path) -> None:
    store, gate = LocalStore(tmp_path), {"max_drop": 0.03, "min_accuracy": 0.5}
    first, small, large, after = (night(store, day) for day in range(4))
    begin(store, first, 190)
    assert combine(program, store, first, gate) == {
        "limits": {"max_drop": 0.03, "min_accuracy": 0.5},
        "accuracy": 0.95,
        "loss": pytest.approx(0.95 * -np.log(0.9) + 0.05 * -np.log(0.1)),
        "items": ITEMS,
    }
    begin(store, small, 186)
    judged = combine(program, store, small, gate)
    assert (judged["previous"], judged["lost"], judged["gained"], judged["drop"]) == (str(first), 4, 0, 0.02)
    assert "refused" not in judged and "not_judged" not in judged
    begin(store, large, 176)
    judged = combine(program, store, large, gate)
    assert (judged["previous"], judged["lost"], judged["drop"]) == (str(small), 10, 0.05)
    assert judged["refused"] == (
        f"accuracy 0.8800 is 0.0500 less than the 0.9300 of {small} on the same 200 items "
        "(95 % interval 0.0192 to 0.0500), more than max_drop 0.03"
    )
    assert store.read(large).refused == judged["refused"] and (store.archive_folder("e") / f"{large.dated_name}.csv").exists()
    # What comes after is compared with the last accepted one.
    begin(store, after, 180)
    assert combine(program, store, after, gate)["previous"] == str(small)
    # A repeat is compared with what its original was, whatever has been decided since.
    store.decide(small, {"decision": "refused", "reason": "", "by": "ann", "time": "2026-11-28T06:00:00Z"})
    again = night(store, 2)
    begin(store, again, 176, kind="rerun")
    assert combine(program, store, again, gate, **{c.ENV_REPEATS: str(large)}) == judged
    # What was decided by hand of the original, before it was repeated, holds for the repeat.
    store.decide(large, {"decision": "accepted", "reason": "new labels", "by": "ann", "time": "2026-11-28T06:00:00Z"})
    third = night(store, 2)
    begin(store, third, 176, kind="rerun")
    followed = combine(program, store, third, gate, **{c.ENV_REPEATS: str(large)})
    assert "refused" not in followed and f"as {large}, which it repeats, by ann: new labels" in followed["accepted"]


def test_a_repeat_that_cannot_be_compared_once_more_is_refused_as_its_original(tmp_path: Path, program: Path) -> None:
    store, gate = LocalStore(tmp_path), {"max_drop": 0.03}
    first, refused, accepted = (night(store, day) for day in range(3))
    for run, right in ((first, 190), (refused, 150), (accepted, 188)):
        begin(store, run, right)
        judged = combine(program, store, run, gate)
        assert bool(judged.get("refused")) == (run == refused)
    (store.run_folder(first) / c.RESULT / c.CSV).unlink()
    original, numbers = refused, ("previous", "items", "lost", "gained", "drop", "interval", "p_value")
    for _ in range(2):  # and a repeat of the repeat
        again = night(store, 1)
        begin(store, again, 150, kind="rerun")
        judged = combine(program, store, again, gate, **{c.ENV_REPEATS: str(original)})
        assert judged["refused"] == (
            f"as {original}, which it repeats: accuracy 0.2000 less than that of {first} on the same 200 items, more than "
            "max_drop 0.03"
        )
        before = (store.result(refused) or {})["gate"]
        assert {name: judged[name] for name in numbers} == {name: before[name] for name in numbers}
        assert judged["note"].startswith(f"it is not compared once more: it cannot be compared with {first}: ")
        assert "not_judged" not in judged
        original = again
    again = night(store, 2)
    begin(store, again, 150, kind="rerun")
    judged = combine(program, store, again, gate, **{c.ENV_REPEATS: str(accepted)})
    assert "refused" not in judged and "it cannot be compared with" in judged["not_judged"]


def test_items_without_ids_are_the_same_where_their_inputs_are(tmp_path: Path, program: Path) -> None:
    store, gate = LocalStore(tmp_path), {"max_drop": 0.03}
    first, other, same, named, again = (night(store, day) for day in range(5))
    inputs = np.arange(600 * 4, dtype="float32").reshape(600, 4)
    begin(store, first, 190)
    combine(program, store, first, gate)
    begin(store, other, 150, x=inputs[ITEMS : 2 * ITEMS])
    assert (
        combine(program, store, other, gate)["not_judged"]
        == f"max_drop: {first} has predicted none of its items, or with other labels"
    )
    # Half of them.
    begin(store, same, 190, x=np.concatenate([inputs[ITEMS : ITEMS + 100], inputs[100:ITEMS]]))
    judged = combine(program, store, same, gate)
    assert (judged["previous"], judged["items"]) == (str(other), 100)
    ids = np.array([f"customer {n}" for n in range(ITEMS)])
    begin(store, named, 190, ids=ids)
    combine(program, store, named, gate)
    # What has an id of its own is the same, whatever has become of it.
    begin(store, again, 150, ids=ids, x=inputs[ITEMS : 2 * ITEMS])
    judged = combine(program, store, again, gate)
    assert (judged["previous"], judged["items"], judged["lost"]) == (str(named), ITEMS, 40)


def test_a_backfill_is_judged_as_of_its_date(tmp_path: Path, program: Path) -> None:
    store, gate = LocalStore(tmp_path), {"max_drop": 0.03}
    first, second, third = (night(store, day) for day in range(3))
    for run, right in ((first, 190), (second, 150)):
        begin(store, run, right)
        combine(program, store, run, gate)
    later = {"decision": "accepted", "reason": "", "by": "ann", "time": "2099-01-01T00:00:00Z"}
    store.decide(second, later)
    # The record of `second` says that it came now, after the third's minute: only then could it be decided of.
    begin(store, third, 150, kind="backfill")
    judged = combine(program, store, third, gate)
    assert judged["previous"] == str(second) and "refused" not in judged


def test_what_cannot_be_judged_is_accepted_and_degraded(tmp_path: Path, program: Path) -> None:
    store, gate = LocalStore(tmp_path), {"max_drop": 0.03, "max_loss": 0.5}
    runs = [night(store, day) for day in range(4)]
    begin(store, runs[0], 190)
    combine(program, store, runs[0], gate)
    begin(store, runs[1], 190, labels=False)
    unknown = "the labels of its items are not known"
    assert combine(program, store, runs[1], gate)["not_judged"] == f"max_loss: {unknown}; max_drop: {unknown}"
    assert store.read(runs[1]).degraded == f"the gate could not judge max_loss: {unknown}; max_drop: {unknown}"
    store.decide(runs[1], {"decision": "refused", "reason": "", "by": "ann", "time": "2026-11-23T06:00:00Z"})
    begin(store, runs[2], 100, ids=np.asarray([f"other {n}" for n in range(ITEMS)]))
    judged = combine(program, store, runs[2], gate)
    assert judged["not_judged"] == f"max_drop: {runs[0]} has predicted none of its items, or with other labels"
    assert judged["refused"].startswith("loss ") and store.read(runs[2]).refused
    data = json.loads((store.run_folder(runs[0]) / c.RESULT / c.DATA).read_text())
    begin(store, runs[3], 100)
    copy = store.dataset_path(data["fingerprint"])
    original = (store.run_folder(runs[0]) / c.RESULT / c.RECORD).read_text()
    assert data["fingerprint"] in original and copy.exists()
    (store.run_folder(runs[0]) / c.RESULT / c.CSV).unlink()
    assert f"max_drop: it cannot be compared with {runs[0]}: " in combine(program, store, runs[3], gate)["not_judged"]


def test_only_items_with_the_same_label_are_compared() -> None:
    earlier = {"a": ("x", True), "b": ("x", True), "c": ("y", False), "d": ("y", True)}
    new = {"a": ("x", False), "b": ("y", False), "c": ("y", True), "e": ("y", True)}
    assert compare(earlier, new) == {"items": 2, "lost": 1, "gained": 1, "previous_accuracy": 0.5}
    assert compare(earlier, {}) == {"items": 0, "lost": 0, "gained": 0}


KILLER = """
import os, signal, sys

def kill(event, arguments):
    if event == "open" and str(arguments[0]).endswith("comparison.json"):
        os.kill(os.getpid(), signal.SIGKILL)

if "supervise" in sys.orig_argv:
    sys.addaudithook(kill)
"""


def test_killed_between_judgement_and_commit_it_leaves_no_result(tmp_path: Path, program: Path) -> None:
    store, gate = LocalStore(tmp_path / "store"), {"max_drop": 0.03}
    first, second = night(store, 0), night(store, 1)
    begin(store, first, 190)
    combine(program, store, first, gate)
    (tmp_path / "sitecustomize.py").write_text(KILLER)
    begin(store, second, 150)
    task = {"members": [{"member": "one", "backend": "jax", "threads": 1, "env": {}}], "quorum": 1, "method": "accuracy"}
    process = supervise(program, store, second, "combine", {**task, "gate": gate}, PYTHONPATH=str(tmp_path))
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output
    assert store.result(second) is None and store.read(second).status == "died"
    assert not (store.archive_folder("e") / f"{second.dated_name}.csv").exists()
    assert combine(program, store, second, gate)["refused"]
