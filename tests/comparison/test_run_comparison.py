"""Two runs of a store of many nights: every number against the CSVs, and what differed told once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import Run
from scheduler.comparison.data_difference import ArrayDifference, PreparedData
from scheduler.comparison.difference import describe
from scheduler.comparison.predictions import MetricChange
from scheduler.comparison.run_comparison import Comparison, RunComparer, compare_runs
from scheduler.comparison.verdict import CHANGED, NOTHING
from scheduler.errors import CronsembleError
from stores import minute
from year_store import CLASSES, ITEMS, Nights, build

DAYS = 24  # `b` is `b2` from night 9 on, the edit is night 12's, night 17 has no quorum, `b` fails on 4, 13 and 22


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    yield build(tmp_path_factory.mktemp("nights") / "store", DAYS)


def run(nights: Nights, day: int, task: str = "ensemble") -> Run:
    hour = "06" if task == "ensemble" else "01"
    return nights.builder.store.read(RunId(minute(f"{nights.date(day)}T{hour}:00"), 1, "e", task))


def compare(nights: Nights, before: int, after: int, task: str = "ensemble") -> Comparison:
    return compare_runs(nights.builder.store, run(nights, before, task), run(nights, after, task))


def rows(nights: Nights, day: int, name: str = "") -> dict[str, list[float]]:
    """An archived CSV by item: the probabilities."""
    path = nights.builder.store.archive_folder("e") / f"{nights.date(day)}T0600Z"
    path = path.with_suffix(".members") / f"{name}.csv" if name else path.with_suffix(".csv")
    table = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))[1:]
    return {row[0]: [float(value) for value in row[3:]] for row in table}


def true_labels(nights: Nights, day: int) -> dict[str, int]:
    pinned = run(nights, day).record["data"]["fingerprint"]
    with np.load(nights.builder.store.dataset_path(pinned)) as data:
        return dict(zip(map(str, data["ids"]), map(int, data["y_predict"]), strict=True))


def test_an_ensemble_is_compared_with_its_members_on_the_same_items(nights: Nights) -> None:
    comparison = compare(nights, 2, 14)
    labels = true_labels(nights, 2)
    ensemble = comparison.ensemble
    assert ensemble is not None and ensemble.predictions is not None
    before, after = rows(nights, 2), rows(nights, 14)

    def accuracy(table: dict[str, list[float]]) -> float:
        return float(np.mean([np.argmax(table[item]) == labels[item] for item in labels]))

    assert ensemble.accuracy == MetricChange(accuracy(before), accuracy(after))
    flipped = {item for item in labels if np.argmax(before[item]) != np.argmax(after[item])}
    assert {flip.item for flip in ensemble.predictions.flips} == flipped and flipped
    for flip in ensemble.predictions.flips:
        assert (CLASSES.index(flip.before), CLASSES.index(flip.after)) == (
            np.argmax(before[flip.item]),
            np.argmax(after[flip.item]),
        )
        assert flip.label == CLASSES[labels[flip.item]]
    distance = max(abs(np.float32(a) - np.float32(b)) for item in labels for a, b in zip(before[item], after[item], strict=True))
    assert ensemble.predictions.largest_difference == pytest.approx(float(distance), abs=1e-7)
    assert (ensemble.verdict.verdict, ensemble.verdict.items, ensemble.verdict.flipped) == (CHANGED, ITEMS, len(flipped))
    # `b2` was called `b`: one member, whose predictions are compared.
    assert [(member.member, member.former_name) for member in ensemble.members] == [("a", ""), ("b2", "b"), ("c", ""), ("d", "")]
    for member in ensemble.members:
        sides = rows(nights, 2, member.former_name or member.member), rows(nights, 14, member.member)
        assert member.accuracy == MetricChange(accuracy(sides[0]), accuracy(sides[1]))
        assert member.before is not None and member.before.accuracy == member.accuracy.before
        assert member.training is not None and member.training.after.run == member.after.model  # type: ignore[union-attr]


def test_what_was_pinned_and_differs_is_told_once_in_the_words_of_the_file(nights: Nights) -> None:
    comparison = compare(nights, 2, 14)
    assert [describe(difference, comparison.tasks) for difference in comparison.differences] == [
        "all trainings: hyperparameters.epochs 4 → 8",
        "all tasks: code: models.py changed",
        "all trainings: keras 3.12.0 → 3.13.0",
    ]
    (code,) = comparison.code
    assert code.tasks == ("train-a", "train-b2", "train-c", "train-d", "ensemble")
    (file,) = code.files
    assert (file.name, file.change, file.added, file.removed) == ("models.py", "changed", 1, 1)
    assert file.lines[1:] == (" def model():", "-    return 4", "+    return 8")
    assert comparison.data == ()
    # Nothing was edited between these two.
    assert compare(nights, 14, 15).differences == () and compare(nights, 14, 15).code == ()


def test_a_member_that_took_the_same_model_again_is_one_run(nights: Nights) -> None:
    """`b` failed in night 4: the ensemble took night 3's."""
    ensemble = compare(nights, 3, 4).ensemble
    assert ensemble is not None
    by_name = {member.member: member.training for member in ensemble.members}
    assert {name: training is not None and training.is_same_run for name, training in by_name.items()} == {
        "a": False, "b": True, "c": False, "d": False,
    }  # fmt: skip


def test_a_run_without_a_result_says_why(nights: Nights) -> None:
    comparison = compare(nights, 8, 17)
    ensemble = comparison.ensemble
    assert ensemble is not None and ensemble.predictions is None
    assert (ensemble.verdict.verdict, ensemble.after.status) == (NOTHING, "no quorum")
    assert ensemble.notes == ("e-ensemble-29418120 has no result: no quorum",)
    assert ensemble.after.reason.startswith("0 of the 2 members it needs (a: the predict step ended with 1; ")
    assert ensemble.accuracy.before == run(nights, 8).accuracy and ensemble.accuracy.after is None
    # What the failed run was made from is not recorded.
    assert comparison.differences == () and comparison.code == ()
    assert comparison.notes == (
        "what e-ensemble-29418120 was made from is not recorded: nothing that is pinned is compared with it",
    )
    failed = compare(nights, 3, 4, "train-b")
    assert [training.verdict.reason for training in failed.trainings] == ["e-train-b-29399100 has no result: failed"]


def test_one_of_each_kind_is_refused(nights: Nights) -> None:
    with pytest.raises(CronsembleError, match="e-ensemble-29396520 is an ensemble run, e-train-a-29396220 a training: give two"):
        compare_runs(nights.builder.store, run(nights, 2), run(nights, 2, "train-a"))


def test_different_tasks_are_compared_and_said(nights: Nights) -> None:
    comparison = compare_runs(nights.builder.store, run(nights, 2, "train-a"), run(nights, 2, "train-c"))
    assert comparison.notes == ("different tasks: train-a, then train-c",)
    assert comparison.trainings[0].accuracy.before == run(nights, 2, "train-a").accuracy


def test_without_the_data_the_recorded_metrics_count(nights: Nights, tmp_path: Path) -> None:
    store = nights.builder.store
    path = store.dataset_path(run(nights, 2).record["data"]["fingerprint"])
    path.rename(tmp_path / "gone")
    try:
        ensemble = compare(nights, 2, 14).ensemble
        assert ensemble is not None and ensemble.predictions is not None
        assert ensemble.predictions.labelled == 0 and {flip.label for flip in ensemble.predictions.flips} == {None}
        assert ensemble.accuracy == MetricChange(run(nights, 2).accuracy, run(nights, 14).accuracy)
    finally:
        (tmp_path / "gone").rename(path)


def test_a_damaged_csv_is_named(nights: Nights) -> None:
    path = run(nights, 14).folder / c.RESULT / c.CSV
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-9])
    try:
        ensemble = compare(nights, 2, 14).ensemble
        assert ensemble is not None and ensemble.verdict.verdict == NOTHING
        assert "predictions.csv is not what the run wrote" in ensemble.verdict.reason
    finally:
        path.write_bytes(whole)


def test_a_snapshot_that_is_gone_is_said(nights: Nights, tmp_path: Path) -> None:
    store = nights.builder.store
    path = store.snapshot_path("code", run(nights, 14).record["snapshot"]["code"])
    path.rename(tmp_path / "gone")
    try:
        comparison = compare(nights, 2, 14)
        assert comparison.code[0].problem == f"the code {path.stem[:12]} is not in the store any more"
        assert "all tasks: code: the snapshot changed" in [describe(each, comparison.tasks) for each in comparison.differences]
    finally:
        (tmp_path / "gone").rename(path)


def test_which_arrays_of_the_data_differ_and_in_how_many_items(nights: Nights) -> None:
    store = nights.builder.store
    arrays: dict[str, Any] = {"x_train": np.zeros((5, 2), dtype="float32"), "ids": np.array(["1", "2"])}
    changed = {**arrays, "x_train": arrays["x_train"].copy(), "y_train": np.zeros(6)}
    changed["x_train"][3, 1] = 1
    data = []
    for name, each in (("1" * 64, arrays), ("2" * 64, changed)):
        np.savez(store.dataset_path(name), **each)
        data.append({"fingerprint": name, "source": "d.npz", "shapes": {key: list(value.shape) for key, value in each.items()}})
    difference = PreparedData(store).difference(data[0], data[1])
    assert difference.arrays == (ArrayDifference("x_train", (5, 2), (5, 2), 1), ArrayDifference("y_train", None, (6,)))
    store.dataset_path("1" * 64).unlink()
    gone = PreparedData(store).difference(data[0], data[1])
    assert gone.arrays == (ArrayDifference("y_train", None, (6,)),)
    assert gone.note == "the data before is not on this machine: which arrays differ is known by their shapes alone"


def test_what_many_comparisons_share_is_read_once(nights: Nights) -> None:
    comparer = RunComparer(nights.builder.store)
    first = comparer.pinned(run(nights, 2)), comparer.pinned(run(nights, 3))
    assert first[0].task is first[1].task and first[0].code is first[1].code
