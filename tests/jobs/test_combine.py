"""Combining: values by hand, float32 that reads back to the same bits, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from jobs import strict_json
from jobs.keras3.combine import main, write_all
from jobs.keras3.pools import LinearPool, combine, others, weights


def test_the_articles_formula() -> None:
    # (0.9·0.8 + 0.5·0.2) / (0.8 + 0.2) = 0.82
    members = [np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])]
    assert combine(members, [0.8, 0.2]).tolist() == [[np.float32(0.82), np.float32(0.18)]]
    assert combine(members, weights("accuracy", [0.4, 0.1])).tolist() == [[np.float32(0.82), np.float32(0.18)]]


def test_uniform_and_useless_accuracies_weigh_all_the_same() -> None:
    assert weights("uniform", [0.9, 0.1]).tolist() == [0.5, 0.5]
    assert weights("accuracy", [0.0, 0.0]).tolist() == [0.5, 0.5]


def run(tmp_path: Path, names: list[list[str]], name: str = "m0") -> int:
    generator = np.random.default_rng(1)
    members = []
    for number, classes in enumerate(names):
        path = tmp_path / f"{number}.npy"
        np.save(path, generator.dirichlet(np.ones(len(classes)), 70_000).astype("float32"))
        members.append(
            {"member": f"m{number}" if number else name, "accuracy": 0.5, "probabilities": str(path), "class_names": classes}
        )
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"method": "accuracy", "members": members, "data": None}))
    return main(["--plan", str(plan), "--out", str(tmp_path)])


def test_the_csv_reads_back_to_the_same_bits(tmp_path: Path) -> None:
    assert run(tmp_path, [["a", "b"], ["a", "b"]]) == 0
    for name, path in (("0", "members/m0.csv"), ("1", "members/m1.csv")):
        with open(tmp_path / path, newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["item", "prediction", "probability", "a", "b"]
        read = np.array([row[3:] for row in rows[1:]], dtype="float32")
        assert read.tobytes() == np.load(tmp_path / f"{name}.npy").tobytes()


def test_agreement_says_of_each_item_how_many_say_otherwise_and_how_certain_it_is(tmp_path: Path) -> None:
    members = [
        np.array([[1.0, 0.0], [0.6, 0.4], [0.5, 0.5]], dtype="float32"),
        np.array([[0.8, 0.2], [0.1, 0.9], [0.5, 0.5]], dtype="float32"),
    ]
    (tmp_path / "members").mkdir()
    names, labels = ["x", "y"], np.array([0, 0, 1])
    pools = others(names, [0.75, 0.25])
    own, ensemble = write_all(tmp_path, names, members, LinearPool([0.75, 0.25]), pools, None, ["a", "b,"], labels)
    with open(tmp_path / "members" / "agreement.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["item", "prediction", "disagreeing", "entropy"]
    # The pool is (0.95, 0.05), (0.475, 0.525), (0.5, 0.5): of equal probabilities the first is the label.
    assert [row[:3] for row in rows[1:]] == [["0", "a", "0"], ["1", "b,", "1"], ["2", "a", "0"]]
    pooled = np.array([[0.95, 0.05], [0.475, 0.525], [0.5, 0.5]])
    entropy = -(pooled * np.log(pooled)).sum(axis=1)
    assert [float(row[3]) for row in rows[1:]] == pytest.approx(entropy.tolist(), rel=1e-6)
    assert ensemble["agreement"]["disputed_items"] == 1
    assert ensemble["agreement"]["mean_entropy"] == pytest.approx(entropy.mean(), rel=1e-6)
    assert ensemble["agreement"]["disagreements"] == {"x": {"y": 1 / 3}, "y": {"x": 1 / 3}}
    assert (own["x"]["disagreement"], own["y"]["disagreement"]) == (1 / 3, 0)
    # Without x there is y alone, which has the ensemble's labels; without y there is x, which is right of the item 1.
    assert own["x"]["contribution"]["labels_changed"] == 0 and own["y"]["contribution"]["labels_changed"] == 1
    assert own["x"]["contribution"]["accuracy"] == 0 and own["y"]["contribution"]["accuracy"] == pytest.approx(-1 / 3)
    loss = -np.log(pooled[[0, 1, 2], labels]).mean()
    without_x = -np.log(members[1][[0, 1, 2], labels]).mean()
    assert own["x"]["contribution"]["loss"] == pytest.approx(loss - without_x, rel=1e-5)


def test_a_member_has_not_the_name_of_a_file_beside_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, [["a", "b"]], "agreement") == 3
    assert "a member has the name agreement" in capsys.readouterr().err


def test_names_with_commas_are_quoted(tmp_path: Path) -> None:
    assert run(tmp_path, [["a,b", 'c"d']]) == 0
    with open(tmp_path / "predictions.csv", newline="") as file:
        assert next(csv.reader(file)) == ["item", "prediction", "probability", "a,b", 'c"d']


def test_other_classes_are_never_combined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, [["a", "b"], ["b", "a"]]) == 3
    assert capsys.readouterr().err == "m1's classes b, a differ from m0's, a, b\n"


@pytest.mark.parametrize("names", [["a\rb", "c"], ["a\nb", "a\r\nb"], ["=cmd|' /C calc'!A0", "item"], ["\x1b[2J", "\u202e"]])
@pytest.mark.holds("printed-csv")
def test_any_class_name_is_read_back(tmp_path: Path, names: list[str]) -> None:
    """Python 3.11 leaves a bare CR unquoted; a name that a spreadsheet takes for a formula is kept as it is."""
    assert run(tmp_path, [names]) == 0
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header[3:] == names and {row[1] for row in rows} == set(names) and {len(row) for row in rows} == {5}


def test_what_is_no_number_is_null_in_ensemble_json(tmp_path: Path) -> None:
    probabilities = np.array([[0.5, np.nan]], dtype="float32")
    (tmp_path / "members").mkdir()
    members, ensemble = write_all(tmp_path, ["m"], [probabilities], LinearPool([1.0]), {}, None, ["a", "b"], np.array([1]))
    own = {"accuracy_here": 1.0, "disagreement": 0.0, "loss": None}
    assert np.isnan(members["m"]["loss"]) and json.loads(strict_json.dumps(members["m"])) == own
    assert json.loads(strict_json.dumps(ensemble))["agreement"]["mean_entropy"] is None
