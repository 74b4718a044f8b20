"""What an ensemble run produced, read back from the store, against the numbers computed from its CSVs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import Store
from scheduler.results.contribution import contributions
from scheduler.results.ensemble_result import EnsembleResult, read_ensemble
from scheduler.results.probabilities import DamagedResult
from stores import minute
from year_store import CLASSES, ITEMS, Nights, build

DAYS = 19


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    yield build(tmp_path_factory.mktemp("nights") / "store", DAYS)


def result(nights: Nights, day: int) -> EnsembleResult:
    store: Store = nights.builder.store
    return read_ensemble(store, store.read(RunId(minute(f"{nights.date(day)}T06:00"), 1, "e", "ensemble")))


def test_an_ensemble_is_read_back_as_it_was_combined(nights: Nights) -> None:
    night = result(nights, 4)
    assert (night.method, night.classes) == ("accuracy", CLASSES)
    # `b` failed that night: the model of the night before was taken.
    models = {member.member: None if member.model is None else member.model.slot.date().isoformat() for member in night.members}
    assert models == {"a": nights.date(4), "b": nights.date(3), "c": nights.date(4), "d": nights.date(4)}
    assert night.items == tuple(f"item {n}" for n in range(ITEMS))
    archived = nights.builder.store.archive_folder("e") / f"{nights.date(4)}T0600Z.csv"
    rows = list(csv.reader(io.StringIO(archived.read_bytes().decode(), newline="")))[1:]
    probabilities = np.array([row[3:] for row in rows], dtype="float64").astype("float32")
    assert np.array_equal(probabilities, night.probabilities)
    right = probabilities.argmax(axis=1) == night.labels
    assert night.accuracy == right.mean()
    for member in night.members:
        own = night.member_probabilities[member.member]
        assert member.accuracy == (own.argmax(axis=1) == night.labels).mean()
        assert member.weight == pytest.approx(member.validation_accuracy / sum(m.validation_accuracy or 0 for m in night.members))


def test_without_quorum_the_members_and_why_they_were_left_out(nights: Nights) -> None:
    night = result(nights, 17)
    assert (night.accuracy, night.probabilities, night.items, night.contributions) == (None, None, (), {})
    assert {member.left_out for member in night.members} == {"the predict step ended with 1"}
    assert night.combined_members == ()


def test_a_degraded_training_is_said_of_its_member(nights: Nights) -> None:
    assert {member.member: member.degraded[:8] for member in result(nights, 5).members if member.degraded} == {"d": "the loss"}


def test_contributions_are_leave_one_out() -> None:
    labels = np.array([0, 1])
    good = np.array([[0.9, 0.1], [0.1, 0.9]], dtype="float32")
    bad = np.array([[0.2, 0.8], [0.8, 0.2]], dtype="float32")
    found = contributions({"good": good, "bad": bad}, {"good": 3, "bad": 1}, labels)
    whole = 0.75 * 0.9 + 0.25 * 0.2
    assert found["good"].accuracy == 1.0 and found["bad"].accuracy == 0.0
    assert found["good"].loss == pytest.approx(np.log(0.2) - np.log(whole)) and found["bad"].labels_changed == 0
    assert found["bad"].loss == pytest.approx(np.log(0.9) - np.log(whole))
    unlabelled = contributions({"good": good, "bad": bad}, {"good": 3, "bad": 1}, None)
    assert unlabelled["good"].accuracy is None and unlabelled["good"].labels_changed == 2


def earlier(night: EnsembleResult) -> EnsembleResult:
    """The same run as an earlier version recorded it."""
    night.run.record["ensemble"].pop("agreement", None)
    for member in night.run.record["ensemble"]["members"].values():
        for name in ("contribution", "disagreement"):
            member.pop(name, None)
    return read_ensemble(night._store, night.run)


def test_what_is_recorded_of_contributions_and_disagreement_is_what_is_computed_of_earlier_runs(nights: Nights) -> None:
    night = result(nights, 4)
    recorded, agreement = night.contributions, night.agreement
    computed = earlier(night)
    assert agreement is not None and computed.agreement is not None and list(recorded) == list(computed.contributions)
    for name, own in recorded.items():
        again = computed.contributions[name]
        assert own.labels_changed == again.labels_changed
        assert (own.accuracy, own.loss) == (pytest.approx(again.accuracy, abs=1e-12), pytest.approx(again.loss, abs=1e-12))
    assert agreement.disagreements == computed.agreement.disagreements and agreement.disagreements["a"]["c"] > 0
    assert agreement.from_ensemble == computed.agreement.from_ensemble
    assert agreement.disputed_items == computed.agreement.disputed_items
    assert agreement.mean_entropy == pytest.approx(computed.agreement.mean_entropy)


def test_a_damaged_file_is_named_and_not_read(nights: Nights) -> None:
    night = result(nights, 2)
    path = night.run.folder / c.RESULT / c.CSV
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"item 1,", b"item 2,"))
    with pytest.raises(DamagedResult, match="not what the run wrote"):
        _ = night.probabilities


def test_labels_are_unknown_where_the_data_is_gone(nights: Nights) -> None:
    night = result(nights, 3)
    data = nights.builder.store.dataset_path(str(night.run.record["data"]["fingerprint"]))
    moved = Path(f"{data}.moved")
    data.rename(moved)
    try:
        assert night.labels is None and night.contributions["a"].accuracy is not None  # recorded
        assert earlier(night).contributions["a"].accuracy is None
    finally:
        moved.rename(data)
