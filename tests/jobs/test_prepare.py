"""Data: splits, one line for each fault, and the same bytes for the same arrays."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import ExitCode
from jobs.keras3.prepare import Resolved, Rules, fingerprint, read_npz, resolve, write_npz
from jobs.keras3.splits import held_out, train_and_test
from jobs.portable.inputs import WrongInput, exit_status


def data(items: int = 600, **changes: Any) -> dict[str, Any]:
    images = np.arange(items * 16, dtype="float32").reshape(items, 4, 4)
    return {"x_train": images, "y_train": np.arange(items) % 3, **changes}


def prepared(raw: dict[str, Any], seed: int = 1, inputs: dict[str, Any] | None = None, **rules: Any) -> dict[str, Any]:
    return resolve(raw, inputs, Rules(seed, needs_images=True, **rules)).arrays


def test_without_a_test_set_the_last_fifth_is_it() -> None:
    arrays = prepared(data())
    assert {name: len(arrays[name]) for name in ("x_train", "x_val", "x_predict")} == {
        "x_train": 480,
        "x_val": 20,
        "x_predict": 100,
    }
    assert arrays["x_train"].shape[1:] == (4, 4, 1)
    assert fingerprint(arrays) == fingerprint(prepared(data()))
    assert fingerprint(arrays) != fingerprint(prepared(data(), 2))


def test_the_first_hundred_test_items_are_held_out() -> None:
    test = data(150)
    arrays = prepared(data(x_test=test["x_train"], y_test=test["y_train"]))
    assert (arrays["x_predict"][..., 0] == test["x_train"][:100]).all()
    assert len(arrays["x_val"]) == 50


X = data()["x_train"]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"x_train": X}, "data: y_train is missing; there are x_train"),
        (data(x_train=np.where(X == 37, np.nan, X)), "data: x_train has NaN or infinity, first in item 2"),
        (data(x_train=X.reshape(600, 16)), "data: x_train has rank 2, shape (600, 16): it must be (items, height, width[, channels])"),
        (data(y_train=np.arange(599) % 3), "data: x_train has 600 items, y_train 599"),
        (data(class_names=["a", "b"]), "data: y_train has 2, but there are 2 classes (0 to 1)"),
        (data(x_train=X[:0], y_train=np.arange(0)), "data: x_train has no items"),
        (data(x_test=X), "data: x_test and y_test go together: give both or neither"),
        (data(y_train=np.full((600, 3), 0.3)), "data: y_train has shape (600, 3): give one label for each item, or one-hot rows of 0 and 1"),
        (data(y_train=np.ones((600, 3))), "data: y_train has shape (600, 3), and item 0 has 3 of its 3 labels: each item needs exactly one"),
        (data(y_train=np.arange(600) / 8), "data: y_train has 0.125 in item 1: that is a quantity, not the label of a class: the work here is classification"),
        (data(y_train=np.where(np.arange(600) == 7, np.nan, 1.0)), "data: y_train has no label in item 7: leave such items out"),
        (data(y_train=np.array([None, "a"] * 300)), "data: y_train has no label in item 0: leave such items out"),
        (data(y_train=np.array([1, "a"] * 300, dtype=object)), "data: y_train mixes int and str: give all labels in the same form"),
        (data(y_train=np.arange(600)), "data: y_train has 600 different labels in 600 items, such as 599: these look like ids or quantities, not classes; if they are classes, give class_names"),
        (data(y_train=np.zeros(600, int)), "data: there is only one class, 0: at least two are needed"),
        (data(y_train=np.arange(600) % 2 + 1, class_names=["a", "b"]), "data: y_train has 2, but there are 2 classes (0 to 1): they count from 1: subtract 1"),
        (data(y_train=np.array(["a", "c"] * 300), class_names=["a", "b"]), "data: y_train has the label 'c', which is none of the classes a, b"),
        (data(x_test=X[:300], y_test=np.array(["a", "b", "c"] * 100)), "data: y_train has numbers, such as 0, y_test texts, such as 'a': give all labels in the same form"),
        (data(ids=np.arange(1200).reshape(600, 2)), "data: ids has shape (600, 2): give one id for each item"),
        (data(ids=np.where(np.arange(600) == 3, np.nan, 1.0)), "data: ids has no id in item 3: give one for each"),
        (data(ids=np.array([b"\xff"] * 600)), "data: ids has b'\\xff' in item 0, which is not UTF-8: give texts"),
        (data(x_test=X[:150] * 1000, y_test=np.arange(150) % 3), "data: x_test is float32 from 0 to 2.399e+06, x_train is float32 from 0 to 9599: on another scale: give both on the same, as bytes (uint8) or as fractions in 0..1, say"),
        (data(x_train=X.astype("float64") * 1e300), "data: x_train has values beyond float32's range, which models are trained in"),
        (data(x_train=X[:9], y_train=np.arange(9) % 3), "data: there are 9 items: too few to train, validate and predict: give 10 or more"),
    ],
)  # fmt: skip
def test_one_line_for_each_fault(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongInput) as caught:
        prepared(raw)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("items", "rules", "predicted", "validation"),
    [(400, {}, 40, 40), (178, {}, 17, 18), (10, {}, 1, 1), (600, {"holdout": 20}, 20, 100), (600, {"holdout": 119}, 119, 1)],
)
def test_what_is_held_out(items: int, rules: dict[str, Any], predicted: int, validation: int) -> None:
    resolved = resolve(data(items), None, Rules(1, **rules))
    assert (len(resolved.arrays["x_predict"]), len(resolved.arrays["x_val"])) == (predicted, validation)
    assert any("the validation set has" in warning for warning in resolved.warnings) == (validation < 50)


def test_a_holdout_that_leaves_nothing_says_what_fits() -> None:
    with pytest.raises(WrongInput, match="data.holdout: 80 is given, and the test set has 80 items: .* give at most 79"):
        prepared(data(400), holdout=80)


def test_a_class_of_one_item_is_in_the_training_and_the_split_is_else_the_same() -> None:
    """Of the items that the shuffle puts into the test set."""
    plain = prepared(data())
    for rare in np.random.RandomState(1).permutation(600)[-120:]:
        labels = np.arange(600) % 3
        labels[rare] = 3
        arrays = prepared(data(y_train=labels))
        assert sorted(set(arrays["y_train"].tolist())) == [0, 1, 2, 3]
        assert {name: len(array) for name, array in arrays.items()} == {
            **{name: len(array) for name, array in plain.items()},
            "class_names": 4,
        }
        assert (arrays["x_train"] != plain["x_train"]).any(axis=(1, 2, 3)).sum() == 1


def test_classes_of_one_item_each_leave_enough_to_predict() -> None:
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9] + [0] * 10)
    assert set(prepared(data(20, y_train=labels))["y_train"].tolist()) == set(range(10))


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=6),
    seed=st.integers(0, 99),
    holdout=st.none() | st.integers(1, 5),
)
def test_a_stratified_split_keeps_the_proportions(counts: list[int], seed: int, holdout: int | None) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    if len(y) // 5 <= (holdout or 1):
        return
    train, test = train_and_test(y, seed, True)
    predicted, validation = held_out(y[test], holdout, True)
    assert sorted([*train, *test]) == list(range(len(y))) and sorted([*predicted, *validation]) == list(range(len(test)))
    assert len(test) <= len(y) // 5 and len(predicted) == (holdout or len(test) // 2)
    for number, count in enumerate(counts):
        assert (y[train] == number).sum() >= 1 and (y[test] == number).sum() <= count / 5 + 1


def labelled(labels: Any, **more: Any) -> tuple[list[str], list[int]]:
    """The class names, and the class numbers of the items in their order."""
    values = np.asarray(labels)
    raw = {
        "x_train": np.ones((60, 2)),
        "y_train": np.repeat(values, 20, axis=0),
        "x_test": np.ones((len(values), 2)),
        "y_test": values,
    }
    arrays = resolve({**raw, **more}, {"x": np.ones((1, 2))}, Rules(1)).arrays
    return arrays["class_names"].tolist(), arrays["y_val"].tolist()


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ([2, 0, 1], ["0", "1", "2"], [2, 0, 1]),
        ([3, 1, 2], ["1", "2", "3"], [2, 0, 1]),
        ([20241126, 0, 1], ["0", "1", "20241126"], [2, 0, 1]),
        ([1, -1, 1], ["-1", "1"], [1, 0, 1]),
        ([7.0, 7.0, 3.0], ["3", "7"], [1, 1, 0]),
        ([True, False, True], ["False", "True"], [1, 0, 1]),
        (["dog", "cat", "dog"], ["cat", "dog"], [1, 0, 1]),
        ([b"dog", b"cat", "été".encode()], ["cat", "dog", "été"], [1, 0, 2]),
        (np.array(["dog", b"cat", "dog"], dtype=object), ["cat", "dog"], [1, 0, 1]),
        (np.array([5, 3.0, np.int8(4)], dtype=object), ["3", "4", "5"], [2, 0, 1]),
        ([["b"], ["a"], ["b"]], ["a", "b"], [1, 0, 1]),
        (np.eye(4)[[1, 0, 2]], ["0", "1", "2", "3"], [1, 0, 2]),
        (np.eye(2, dtype=bool)[[1, 0, 1]], ["0", "1"], [1, 0, 1]),
        (np.array(["2026-11-20", "2026-11-19", "2026-11-20"], "datetime64[D]"), ["2026-11-19", "2026-11-20"], [1, 0, 1]),
    ],
)  # fmt: skip
def test_labels_become_classes(labels: Any, names: list[str], numbers: list[int]) -> None:
    assert labelled(labels) == (names, numbers)


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ([2, 0, 1], ["a", "b", "c"], [2, 0, 1]),
        (["b", "a", "b"], ["b", "a", "unseen"], [0, 1, 0]),
        ([b"b", b"a", b"b"], [b"b", b"a"], [0, 1, 0]),
        ([10, 30, 20], [30, 20, 10], [2, 0, 1]),
        ([True, False, True], ["no", "yes"], [1, 0, 1]),
        ([True, False, True], ["True", "False"], [0, 1, 0]),
        (np.eye(3)[[1, 0, 2]], ["a", "b", "c"], [1, 0, 2]),
    ],
)  # fmt: skip
def test_labels_are_read_by_the_declared_class_names(labels: Any, names: list[Any], numbers: list[int]) -> None:
    assert labelled(labels, class_names=np.asarray(names))[1] == numbers


def test_a_class_that_only_the_test_set_has_is_warned_of() -> None:
    raw = {"x_train": np.ones((60, 2)), "y_train": np.arange(60) % 2, "x_test": np.ones((60, 2)), "y_test": np.arange(60) % 3}
    resolved = resolve(raw, None, Rules(1))
    assert resolved.arrays["class_names"].tolist() == ["0", "1", "2"]
    assert "data: y_test has items of 2, y_train has none: no model can learn that" in resolved.warnings


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        ([b"a", "été".encode()], ["a", "été"]),
        ([[3], [4]], ["3", "4"]),
        ([3.0, 4.5], ["3", "4.5"]),
        (np.array(["2026-11-20T06", "2026-11-21T06"], "datetime64[h]"), ["2026-11-20T06", "2026-11-21T06"]),
        (np.array(["a", 7, b"c"], dtype=object)[:2], ["a", "7"]),
    ],
)
def test_ids_are_written_as_a_reader_expects(ids: Any, texts: list[str]) -> None:
    assert prepared(data(), inputs={"x": X[-2:], "ids": np.asarray(ids)})["ids"].tolist() == texts


def test_what_is_not_used_and_ids_that_are_there_twice_are_said() -> None:
    resolved: Resolved = resolve(data(x_val=X), {"x": X[-3:], "ids": ["a", "b", "a"]}, Rules(1))
    assert resolved.warnings == [
        "data: x_val is not used: the names are x_train, y_train, x_test, y_test, ids, class_names",
        "1 of the 3 predicted items have the id of another one, such as a",
    ]


def test_objects_that_are_numbers_are_inputs() -> None:
    from jobs.keras3.prepare import _array

    assert _array("x_train", np.array([[1, 2.5], [True, 4]], dtype=object)).tolist() == [[1, 2.5], [1, 4]]
    with pytest.raises(WrongInput, match="x_train has objects, not numbers: a str in item 1"):
        _array("x_train", np.array([[1, 2], ["a", 3]], dtype=object))
    with pytest.raises(WrongInput, match="x_train has masked values"):
        _array("x_train", np.ma.masked_less([[1, 2]], 2))
    with pytest.raises(WrongInput, match="x_train is a generator, not an array"):
        _array("x_train", (row for row in X))


def test_signed_and_unsigned_labels_together_are_whole_numbers() -> None:
    raw = {"x_train": X, "y_train": (np.arange(600) % 3).astype("uint64"), "x_test": X, "y_test": np.arange(600) % 3}
    assert prepared(raw)["class_names"].tolist() == ["0", "1", "2"]


def test_classes_that_differ_from_the_inputs() -> None:
    with pytest.raises(WrongInput, match="differ"):
        prepared(data(), inputs={"x": X, "class_names": ["b", "a", "c"]})


class Trap:
    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


def test_the_programs_of_both_pythons_end_with_the_contracts_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def program(argv: list[str]) -> None:
        raise WrongInput(argv[0])

    assert exit_status(program, ["wrong"]) == ExitCode.WRONG_INPUT
    assert capsys.readouterr().err == "wrong\n"


@pytest.mark.holds("volume-arrays")
def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x_train=np.array([Trap()], dtype=object))
    with pytest.raises(WrongInput, match="has pickled objects, which are never loaded"):
        read_npz(tmp_path / "p.npz", "data.dataset")
    (tmp_path / "q.npz").write_bytes(pickle.dumps([1]))
    with pytest.raises(WrongInput, match="never loaded|is not an .npz"):
        read_npz(tmp_path / "q.npz", "data.dataset")


def test_the_same_arrays_are_the_same_bytes(tmp_path: Path) -> None:
    arrays = prepared(data())
    write_npz(tmp_path / "a.npz", arrays)
    write_npz(tmp_path / "b.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
