"""Data: splits, one line for each fault, and the same bytes for the same arrays."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.contract import ExitCode
from jobs.keras3.prepare import fingerprint, read_npz, resolve, write_npz
from jobs.portable.inputs import WrongInput, exit_status


def data(items: int = 600, **changes: Any) -> dict[str, Any]:
    images = np.arange(items * 16, dtype="float32").reshape(items, 4, 4)
    return {"x_train": images, "y_train": np.arange(items) % 3, **changes}


def test_without_a_test_set_the_last_fifth_is_it() -> None:
    arrays = resolve(data(), 1, None, True)
    assert {name: len(arrays[name]) for name in ("x_train", "x_val", "x_predict")} == {
        "x_train": 480,
        "x_val": 20,
        "x_predict": 100,
    }
    assert arrays["x_train"].shape[1:] == (4, 4, 1)
    assert fingerprint(arrays) == fingerprint(resolve(data(), 1, None, True))
    assert fingerprint(arrays) != fingerprint(resolve(data(), 2, None, True))


def test_the_first_hundred_test_items_are_held_out() -> None:
    test = data(150)
    arrays = resolve(data(x_test=test["x_train"], y_test=test["y_train"]), 1, None, True)
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
        (data(y_train=np.arange(600) % 3 - 1), "data: y_train has -1: class numbers begin at 0"),
        (data(class_names=["a", "b"]), "data: y_train has 2, but there are 2 classes (0 to 1)"),
        (data(x_train=X[:0], y_train=np.arange(0)), "data: x_train has no items"),
        (data(x_test=X), "data: x_test and y_test go together: give both or neither"),
        (data(y_train=np.eye(3)[np.arange(600) % 3]), "data: y_train has shape (600, 3): give one class number for each item (the argmax of one-hot rows)"),
        (data(y_train=np.arange(600) / 7), "data: y_train has float64 values that are not class numbers 0, 1, …"),
    ],
)  # fmt: skip
def test_one_line_for_each_fault(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongInput) as caught:
        resolve(raw, 1, None, True)
    assert str(caught.value) == message


def test_too_few_test_items_say_what_to_do() -> None:
    with pytest.raises(WrongInput, match="the test set has 80 items; the first 100 are held out"):
        resolve(data(400), 1, None, True)


def test_classes_that_differ_from_the_inputs() -> None:
    with pytest.raises(WrongInput, match="differ"):
        resolve(data(), 1, {"x": X, "class_names": ["b", "a", "c"]}, True)


class Trap:
    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


def test_the_programs_of_both_pythons_end_with_the_contracts_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def program(argv: list[str]) -> None:
        raise WrongInput(argv[0])

    assert exit_status(program, ["wrong"]) == ExitCode.WRONG_INPUT
    assert capsys.readouterr().err == "wrong\n"


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x_train=np.array([Trap()], dtype=object))
    with pytest.raises(WrongInput, match="has pickled objects, which are never loaded"):
        read_npz(tmp_path / "p.npz", "data.dataset")
    (tmp_path / "q.npz").write_bytes(pickle.dumps([1]))
    with pytest.raises(WrongInput, match="never loaded|is not an .npz"):
        read_npz(tmp_path / "q.npz", "data.dataset")


def test_the_same_arrays_are_the_same_bytes(tmp_path: Path) -> None:
    arrays = resolve(data(), 1, None, True)
    write_npz(tmp_path / "a.npz", arrays)
    write_npz(tmp_path / "b.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
