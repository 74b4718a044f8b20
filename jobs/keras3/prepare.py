"""The prepare step: resolves the dataset to one checked .npz, the same bytes for the same arrays."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jobs.portable.inputs import WrongInput, guarded, sha256, user_function

Arrays = dict[str, Any]
HELD_OUT = 100
"""Test items that are kept for prediction, as in the article that this work comes from."""


def main(argv: Sequence[str]) -> int:
    return int(guarded(_prepare, argv))


def _prepare(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="prepare", description="Resolve and check a task's data.")
    parser.add_argument("--task", required=True, help="the task's resolved configuration, JSON")
    parser.add_argument("--folder", default=".", help="where relative data paths begin")
    parser.add_argument("--code", default="", help="the folder of the user's code")
    parser.add_argument("--date", required=True, help="the slot's date, YYYY-MM-DD")
    parser.add_argument("--out", required=True, help="the folder for data.npz and data.json")
    options = parser.parse_args(argv)
    task = json.loads(Path(options.task).read_text(encoding="utf-8"))
    reference = task["data"]["dataset"].replace("{date}", options.date)
    raw = load(reference, Path(options.folder), options.code, task["data"].get("hyperparameters", {}))
    wanted = task["data"]["predict"].replace("{date}", options.date)
    inputs = None if wanted == "holdout" else read_npz(inside(Path(options.folder), wanted, "data.predict"), "data.predict")
    arrays = resolve(raw, task["data_seed"], inputs, needs_images=task.get("model") == "cnn")
    write_npz(Path(options.out) / "data.npz", arrays)
    told = {
        "fingerprint": fingerprint(arrays),
        "source": reference,
        "predict": wanted,
        "files": {name: sha256(Path(options.folder) / name) for name in (reference, wanted) if name.endswith(".npz")},
        "shapes": {name: list(array.shape) for name, array in arrays.items()},
        "class_names": [str(name) for name in arrays["class_names"]],
    }
    (Path(options.out) / "data.json").write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")
    print(f"data {told['fingerprint'][:12]}: {told['shapes']}")


def load(reference: str, folder: Path, code: str, hyperparameters: Mapping[str, Any]) -> Arrays:
    """The dataset's arrays as its source gives them: x_train, y_train and perhaps the other keys."""
    if reference == "digits":
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return {"x_train": bunch.images, "y_train": bunch.target}
    if reference in ("cifar10", "mnist"):
        return _keras_set(reference)
    if reference.rpartition(":")[0].endswith(".py"):
        made = user_function(reference, code)(dict(hyperparameters))
        if not isinstance(made, Mapping):
            raise WrongInput(f"data.dataset: {reference} gave {type(made).__name__}, not a dict of arrays")
        return {name: _array(name, value) for name, value in made.items() if value is not None}
    return read_npz(inside(folder, reference, "data.dataset"), "data.dataset")


def inside(folder: Path, name: str, key: str) -> Path:
    """The path of a name in the folder of data; raises WrongInput for one that leads elsewhere, by ``..`` or a link.

    A date's file need not have been there when the configuration was checked.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise WrongInput(f"{key}: {name} leads outside {folder}: put a copy inside")
    return path


_CACHED = {"cifar10": "cifar-10-batches-py-target_archive", "mnist": "mnist.npz"}
"""The names under which Keras 3 keeps what it downloads."""


def _keras_set(name: str) -> Arrays:
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # the loaders raise bare Exception when the download fails
        raise WrongInput(
            f"data.dataset: {name} cannot be loaded: {error}: download it to ~/.keras/datasets/{_CACHED[name]}, or give an .npz"
        ) from error
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def read_npz(path: Path, key: str) -> Arrays:
    """The arrays of an .npz; one that holds pickled objects is refused, never unpickled."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise WrongInput(f"{key}: {path} is not there") from error
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error) or "pickle" in str(error):
            raise WrongInput(f"{key}: {path} holds pickled objects, which are never loaded: save plain arrays") from error
        raise WrongInput(f"{key}: {path} is not an .npz of arrays: {error}") from error


def _array(name: str, value: Any) -> Any:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise WrongInput(f"data: {name} is not an array: {error}") from error
    if array.dtype.kind == "O":
        raise WrongInput(f"data: {name} holds objects, not numbers")
    return array


def resolve(raw: Arrays, seed: int, inputs: Arrays | None, needs_images: bool) -> Arrays:
    """Checked arrays: x_train, y_train, x_val, y_val, x_predict, ids, class_names and y_predict if known.

    Without a test set the last 20 % after a seeded shuffle is it. The first HELD_OUT test items are what
    is predicted unless ``inputs`` are given; the rest is validation.
    """
    for name in ("x_train", "y_train"):
        if name not in raw:
            raise WrongInput(f"data: {name} is missing; there are {', '.join(sorted(raw)) or 'no arrays'}")
    x_train, y_train = _pair(raw, "x_train", "y_train", needs_images)
    ids = raw.get("ids")
    if ("x_test" in raw) != ("y_test" in raw):
        raise WrongInput("data: x_test and y_test go together: give both or neither")
    if "x_test" in raw:
        x_test, y_test = _pair(raw, "x_test", "y_test", needs_images)
        if ids is not None and len(ids) != len(x_test):
            raise WrongInput(f"data: ids has {len(ids)} entries, x_test {len(x_test)}")
    else:
        if ids is not None and len(ids) != len(x_train):
            raise WrongInput(f"data: ids has {len(ids)} entries, x_train {len(x_train)}")
        order = np.random.RandomState(seed).permutation(len(x_train))
        cut = len(order) - len(order) // 5
        train, test = order[:cut], order[cut:]
        x_test, y_test, x_train, y_train = x_train[test], y_train[test], x_train[train], y_train[train]
        ids = test if ids is None else ids[test]
    if x_test.shape[1:] != x_train.shape[1:]:
        raise WrongInput(f"data: x_test items have shape {x_test.shape[1:]}, x_train's {x_train.shape[1:]}")
    names = _class_names(raw, y_train, y_test)
    if inputs is None:
        if len(x_test) <= HELD_OUT:
            raise WrongInput(
                f"data: the test set has {len(x_test)} items; the first {HELD_OUT} are held out for prediction and "
                "none is left for validation: give more, or `predict: FILE.npz`"
            )
        ids = np.arange(len(x_test)) if ids is None else ids
        held = {"x_predict": x_test[:HELD_OUT], "ids": ids[:HELD_OUT], "y_predict": y_test[:HELD_OUT]}
        x_test, y_test = x_test[HELD_OUT:], y_test[HELD_OUT:]
    else:
        held = _inputs(inputs, x_train.shape[1:], names, needs_images)
    if not len(x_train) or not len(x_test):
        raise WrongInput(f"data: an empty split: {len(x_train)} training and {len(x_test)} validation items")
    held["ids"] = np.asarray([str(each) for each in held["ids"]])
    return {
        "x_train": x_train, "y_train": y_train, "x_val": x_test, "y_val": y_test, "class_names": names, **held
    }  # fmt: skip


def _pair(raw: Arrays, x_name: str, y_name: str, needs_images: bool) -> tuple[Any, Any]:
    x, y = _items(raw[x_name], x_name, needs_images), np.asarray(raw[y_name])
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise WrongInput(f"data: {y_name} has shape {y.shape}: give one class number an item (argmax of one-hot rows)")
    if len(x) != len(y):
        raise WrongInput(f"data: {x_name} has {len(x)} items, {y_name} {len(y)}")
    if not len(x):
        raise WrongInput(f"data: {x_name} is an empty split")
    if y.dtype.kind not in "iu":
        if y.dtype.kind != "f" or not np.isfinite(y).all() or (y != np.round(y)).any():
            raise WrongInput(f"data: {y_name} holds {y.dtype} values that are not class numbers 0, 1, …")
        y = y.astype("int64")
    if y.min() < 0:
        raise WrongInput(f"data: {y_name} holds {y.min()}: class numbers begin at 0")
    return x, y


def _items(x: Any, name: str, needs_images: bool) -> Any:
    x = np.asarray(x)
    if x.dtype.kind not in "iufb":
        raise WrongInput(f"data: {name} holds {x.dtype} values, not numbers")
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim not in (2, 4) or (needs_images and x.ndim != 4):
        wanted = "(items, height, width[, channels])" + ("" if needs_images else " or (items, features)")
        raise WrongInput(f"data: {name} has rank {x.ndim}, shape {x.shape}: it must be {wanted}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        where = int(np.argwhere(~np.isfinite(x))[0][0])
        raise WrongInput(f"data: {name} holds NaN or infinity, first in item {where}")
    return x


def _class_names(raw: Arrays, y_train: Any, y_test: Any) -> Any:
    largest = int(y_train.max())
    given = raw.get("class_names")
    names = [str(n) for n in range(largest + 1)] if given is None else [str(n) for n in np.asarray(given)]
    if len(set(names)) != len(names):
        raise WrongInput("data: class_names holds a name twice")
    for name, y in (("y_train", y_train), ("y_test", y_test)):
        if len(y) and int(y.max()) >= len(names):
            raise WrongInput(f"data: {name} holds {int(y.max())}, out of range: there are {len(names)} classes")
    if len(names) < 2:
        raise WrongInput("data: there is one class only: at least two are needed")
    return np.asarray(names)


def _inputs(inputs: Arrays, shape: tuple[int, ...], names: Any, needs_images: bool) -> Arrays:
    key = next((name for name in ("x", "x_predict", "x_test") if name in inputs), None)
    if key is None:
        raise WrongInput(f"data.predict: x is missing; there are {', '.join(sorted(inputs)) or 'no arrays'}")
    x = _items(inputs[key], f"predict's {key}", needs_images)
    if x.shape[1:] != shape:
        raise WrongInput(f"data.predict: items have shape {x.shape[1:]}, the training items {shape}")
    if not len(x):
        raise WrongInput("data.predict: there is nothing to predict")
    given = inputs.get("class_names")
    if given is not None and [str(n) for n in given] != [str(n) for n in names]:
        raise WrongInput(f"data.predict: its classes {list(map(str, given))} differ from {list(map(str, names))}")
    held: Arrays = {"x_predict": x, "ids": inputs.get("ids", np.arange(len(x)))}
    if len(held["ids"]) != len(x):
        raise WrongInput(f"data.predict: ids has {len(held['ids'])} entries, {key} {len(x)}")
    labels = inputs.get("y", inputs.get("y_test"))
    if labels is not None:
        _, held["y_predict"] = _pair({"x": x, "y": labels}, "x", "y", needs_images)
        if int(held["y_predict"].max()) >= len(names):
            raise WrongInput(f"data.predict: y holds {int(held['y_predict'].max())}: there are {len(names)} classes")
    return held


def fingerprint(arrays: Arrays) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the arrays, in name order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_npz(path: Path, arrays: Arrays) -> None:
    """An .npz whose bytes depend on the arrays alone: name order, no times, stored."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
