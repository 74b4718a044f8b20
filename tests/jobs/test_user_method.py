"""The method `file.py:function`: what the function gets, what it may return, and what each fault is called."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.keras3 import user_method
from jobs.keras3.combine import main
from jobs.keras3.pools import GivenProbabilities, LinearPool, combine, tempered, weighted_mean
from jobs.keras3.prepare import write_npz
from jobs.keras3.user_method import checked
from jobs.portable.inputs import WrongInput

ITEMS, VALIDATION, CLASSES = 7, 40, ["a", "b", "c"]


@pytest.fixture(autouse=True)
def working_directory() -> Iterator[None]:
    """A function of the user's changes it."""
    before = os.getcwd()
    yield
    os.chdir(before)


@pytest.fixture
def members(tmp_path: Path) -> list[dict[str, Any]]:
    generator = np.random.default_rng(3)
    labels = generator.integers(3, size=VALIDATION)
    write_npz(tmp_path / "data.npz", {"ids": np.arange(ITEMS).astype(str), "y_val": labels, "y_predict": np.arange(ITEMS) % 3})
    made = []
    for n, name in enumerate(("x", "y", "z")):
        validation = 0.1 + generator.random((VALIDATION, 3)) + n * np.eye(3)[labels]
        for file, values in ((f"{name}.npy", generator.random((ITEMS, 3))), (f"{name}-validation.npy", validation)):
            np.save(tmp_path / file, (values / values.sum(axis=1, keepdims=True)).astype("float32"))
        paths = {"probabilities": str(tmp_path / f"{name}.npy"), "validation": str(tmp_path / f"{name}-validation.npy")}
        made.append({"member": name, "accuracy": 0.5, "class_names": CLASSES, **paths})
    return made


def run(tmp_path: Path, members: list[dict[str, Any]], source: str, method: str = "own.py:combine") -> tuple[int, dict[str, Any]]:
    """The status of the combine program, and its ensemble.json."""
    code, out = tmp_path / "code", tmp_path / "out"
    for folder in (code, out):
        folder.mkdir(exist_ok=True)
    name = f"own{len(list(code.iterdir()))}"
    (code / f"{name}.py").write_text(source)
    plan = {"method": method.replace("own", name), "members": members, "data": str(tmp_path / "data.npz"), "seed": 5}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    status = main(["--plan", str(tmp_path / "plan.json"), "--out", str(out), "--code", str(code)])
    return status, json.loads((out / "ensemble.json").read_text()) if status == 0 else {}


def read(members: list[dict[str, Any]], key: str = "probabilities") -> list[Any]:
    return [np.load(member[key]) for member in members]


def table(path: Path) -> Any:
    return np.array([line.split(",")[3:] for line in path.read_text().splitlines()[1:]], dtype="float32")


def test_weights_are_applied_and_recorded(tmp_path: Path, members: list[dict[str, Any]]) -> None:
    source = """
import numpy as np
def combine(probabilities, validation_probabilities, validation_labels):
    assert probabilities.shape[1:] == (7, 3) and probabilities.dtype == np.float32
    assert validation_probabilities.shape[1:] == (40, 3) and validation_labels.shape == (40,)
    probabilities[:] = 0  # its own copy
    return (validation_probabilities.argmax(axis=2) == validation_labels).mean(axis=1) ** 4
"""
    status, ensemble = run(tmp_path, members, source)
    assert status == 0
    labels = np.load(tmp_path / "data.npz")["y_val"]
    raw = np.array([(own.argmax(axis=1) == labels).mean() for own in read(members, "validation")]) ** 4
    assert [ensemble["members"][name]["weight"] for name in "xyz"] == pytest.approx(raw / raw.sum())
    assert table(tmp_path / "out" / "predictions.csv").tobytes() == combine(read(members), raw / raw.sum()).tobytes()
    whole, others = combine(read(members), raw), combine(read(members)[1:], raw[1:])
    changed = int((whole.argmax(axis=1) != others.argmax(axis=1)).sum())
    assert ensemble["members"]["x"]["contribution"]["labels_changed"] == changed


def test_probabilities_are_the_ensembles_and_it_is_called_again_without_each(
    tmp_path: Path, members: list[dict[str, Any]]
) -> None:
    status, ensemble = run(tmp_path, members, "def combine(p, v, y):\n    return p.max(axis=0) / p.max(axis=0).sum(1)[:, None]\n")
    assert status == 0
    own = read(members)

    def pooled(arrays: list[Any]) -> Any:
        return np.max(arrays, axis=0) / np.max(arrays, axis=0).sum(1)[:, None]

    assert table(tmp_path / "out" / "predictions.csv") == pytest.approx(pooled(own), abs=1e-7)
    assert {member["weight"] for member in ensemble["members"].values()} == {None}
    right = np.arange(ITEMS) % 3
    for n, name in enumerate("xyz"):
        rest = pooled([array for m, array in enumerate(own) if m != n])
        gained = (pooled(own).argmax(axis=1) == right).mean() - (rest.argmax(axis=1) == right).mean()
        assert ensemble["members"][name]["contribution"]["accuracy"] == pytest.approx(gained)


def test_a_function_for_all_of_its_members_is_right_too(tmp_path: Path, members: list[dict[str, Any]]) -> None:
    status, ensemble = run(tmp_path, members, "def combine(p, v, y):\n    a, b, c = p\n    return [1, 1, 2]\n")
    assert status == 0 and ensemble["members"]["z"]["weight"] == 0.5
    for member in ensemble["members"].values():
        assert "contribution" not in member
        assert member["contribution_problem"].startswith("without it, the function fails: ValueError: not enough values")


def test_after_a_while_it_is_not_called_again(
    tmp_path: Path, members: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_method, "LEAVE_ONE_OUT_SECONDS", -1.0)
    status, ensemble = run(tmp_path, members, "def combine(p, v, y):\n    return [1] * len(p)\n")
    assert status == 0 and all("not computed" in member["contribution_problem"] for member in ensemble["members"].values())


def test_random_numbers_are_the_same_at_each_run(tmp_path: Path, members: list[dict[str, Any]]) -> None:
    source = "import random, numpy\ndef combine(p, v, y):\n    return [random.random() + numpy.random.random() for _ in p]\n"
    first, second = (run(tmp_path, members, source)[1] for _ in range(2))
    assert first["members"] == second["members"]


def test_calibrated_is_fitted_on_the_validation_items_and_leaves_out_by_fitting_again(
    tmp_path: Path, members: list[dict[str, Any]]
) -> None:
    from jobs.keras3.calibration import fit

    status, ensemble = run(tmp_path, members, "", "calibrated")
    assert status == 0
    labels = np.load(tmp_path / "data.npz")["y_val"]
    validation, own, right = read(members, "validation"), read(members), np.arange(ITEMS) % 3
    found = [ensemble["members"][name]["weight"] for name in "xyz"]
    assert found == fit(validation, labels).weights.tolist() and found[2] > found[1] > found[0]
    temperature = ensemble["calibration"]["temperature"]
    assert ensemble["calibration"]["validation_items"] == VALIDATION and ensemble["calibration"]["folds"] == 5
    whole = tempered(weighted_mean(own, found), temperature).astype("float32")
    assert table(tmp_path / "out" / "predictions.csv").tobytes() == whole.tobytes()
    rest = fit(validation[:2], labels)(own[:2], slice(None))
    losses = [-np.log(array[np.arange(ITEMS), right].astype("float64")).mean() for array in (whole, rest)]
    assert ensemble["members"]["z"]["contribution"]["loss"] == pytest.approx(losses[0] - losses[1])
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert run(tmp_path, members, "", "calibrated")[0] == 0
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}


def test_what_is_missing_of_the_validation_is_named(
    tmp_path: Path, members: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    without = [{key: value for key, value in member.items() if key != "validation"} for member in members]
    assert run(tmp_path, without, "", "calibrated")[0] == 3
    assert capsys.readouterr().err == "x has no predictions of the validation items, which calibrated needs\n"
    np.save(members[1]["validation"], np.zeros((3, 3), "float32"))
    assert run(tmp_path, members, "", "calibrated")[0] == 3
    assert capsys.readouterr().err == "y's validation predictions have the shape (3, 3), not (40, 3)\n"


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (None, "returns nothing: return probabilities of the shape (2, 2), (items, classes), or a weight for each of the 3 m"),
        ("text", "returns str of <U4, not numbers"),
        ([[1, 2], [3]], "returns no array"),
        ([{}, {}, {}], "returns list of object, not numbers"),
        (np.ones((2, 3)), "returns the shape (2, 3): return probabilities"),
        (1.0, "returns the shape (): return probabilities"),
        ([1, float("nan"), 1], "returns a weight that is no number: nan at [1]"),
        ([[0.5, 0.5], [float("inf"), 0]], "returns a probability that is no number: inf at [1, 0]"),
        ([1, -1, 1], "returns the weights [1.0, -1.0, 1.0]: none may be below 0, nor all of them 0"),
        ([0, 0, 0], "nor all of them 0"),
        ([[0.5, 0.6], [0.5, 0.5]], "returns no probabilities: those of an item sum to 1 up to 1.1, not to 1"),
        ([[2.0, -1.0], [0.5, 0.5]], "returns no probabilities: they lie from -1 to 2, not in [0, 1]"),
        (np.ma.masked_array([1, 1, 1], [0, 1, 0]), "returns masked values: fill them"),
    ],
)
def test_each_fault_has_one_sentence(returned: Any, problem: str) -> None:
    with pytest.raises(WrongInput) as caught:
        checked(returned, 3, (2, 2), "ensemble.method: own.py:combine")
    assert problem in caught.value.args[0] and caught.value.args[0].startswith("ensemble.method: own.py:combine returns ")


def test_what_may_be_returned() -> None:
    for weights in ([1, 1, 2], np.array([0.25, 0.25, 0.5], "float32"), (True, True, 2), [4e307, 4e307, 8e307]):
        pool = checked(weights, 3, (2, 2), "")
        assert isinstance(pool, LinearPool) and list(pool.weights) == [0.25, 0.25, 0.5]
    given = checked([[1.0000001, 0.0], [0.25, 0.75]], 3, (2, 2), "")
    assert isinstance(given, GivenProbabilities) and given.probabilities.tolist() == [[1.0, 0.0], [0.25, 0.75]]
