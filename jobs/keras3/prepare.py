"""The prepare program: resolves the data to one checked .npz, the same bytes for the same arrays."""

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

from jobs.portable.inputs import WrongInput, exit_status, sha256, user_function

Arrays = dict[str, Any]
HELD_OUT = 100
"""Test items that are kept for prediction, as in the article that this work comes from."""


def main(argv: Sequence[str]) -> int:
    """Prepare the data as the arguments say; returns the exit status."""
    return int(exit_status(_prepare, argv))


def _prepare(argv: Sequence[str]) -> None:
    """Write data.npz and its description data.json; raises WrongInput for a fault in the data."""
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
    predict = task["data"]["predict"].replace("{date}", options.date)
    inputs = None if predict == "holdout" else read_npz(inside(Path(options.folder), predict, "data.predict"), "data.predict")
    arrays = resolve(raw, task["data_seed"], inputs, needs_images=task.get("model") == "cnn")
    write_npz(Path(options.out) / "data.npz", arrays)
    summary = {
        "fingerprint": fingerprint(arrays),
        "source": reference,
        "predict": predict,
        "files": {name: sha256(Path(options.folder) / name) for name in (reference, predict) if name.endswith(".npz")},
        "shapes": {name: list(array.shape) for name, array in arrays.items()},
        "class_names": [str(name) for name in arrays["class_names"]],
    }
    (Path(options.out) / "data.json").write_text(json.dumps(summary, indent=1, sort_keys=True), encoding="utf-8")
    print(f"data {summary['fingerprint'][:12]}: {summary['shapes']}")


def load(reference: str, folder: Path, code: str, hyperparameters: Mapping[str, Any]) -> Arrays:
    """The dataset's arrays as their source has them: x_train, y_train and perhaps x_test, y_test, ids, class_names.

    ``code``: the folder of the user's code. Raises WrongInput for what cannot be read.
    """
    if reference == "digits":
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return {"x_train": bunch.images, "y_train": bunch.target}
    if reference in ("cifar10", "mnist"):
        return _keras_set(reference)
    if reference.rpartition(":")[0].endswith(".py"):
        arrays = user_function(reference, code)(dict(hyperparameters))
        if not isinstance(arrays, Mapping):
            raise WrongInput(f"data.dataset: {reference} returned {type(arrays).__name__}, not a dict of arrays")
        return {name: _array(name, value) for name, value in arrays.items() if value is not None}
    return read_npz(inside(folder, reference, "data.dataset"), "data.dataset")


def inside(folder: Path, name: str, key: str) -> Path:
    """The path of a file in the data folder; raises WrongInput for one that leads outside, by ``..`` or a link.

    It is checked here too, since the file of a date may not have existed when the configuration was checked.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise WrongInput(f"{key}: {name} leads outside {folder}: put a copy of the file inside")
    return path


_CACHED = {"cifar10": "cifar-10-batches-py-target_archive", "mnist": "mnist.npz"}
"""The names of the files that Keras 3 downloads, by dataset."""


def _keras_set(name: str) -> Arrays:
    """A dataset that Keras downloads, or has downloaded to ``~/.keras/datasets``; raises WrongInput."""
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
    """The arrays of an .npz; raises WrongInput for one that is missing, damaged or has pickled objects (none is unpickled)."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise WrongInput(f"{key}: {path} does not exist") from error
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error) or "pickle" in str(error):
            raise WrongInput(f"{key}: {path} has pickled objects, which are never loaded: save plain arrays") from error
        raise WrongInput(f"{key}: {path} is not an .npz of arrays: {error}") from error


def _array(name: str, value: Any) -> Any:
    """A value of a data function as an array of numbers or texts; raises WrongInput."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise WrongInput(f"data: {name} is not an array: {error}") from error
    if array.dtype.kind == "O":
        raise WrongInput(f"data: {name} has objects, not numbers")
    return array


def resolve(raw: Arrays, seed: int, inputs: Arrays | None, needs_images: bool) -> Arrays:
    """Checked arrays: x_train, y_train, x_val, y_val, x_predict, ids, class_names, and y_predict if known.

    Images get the shape (items, height, width, channels). Without a test set, it is the last 20 % of a shuffle seeded by
    ``seed``. The first HELD_OUT test items are predicted, unless ``inputs`` are given; the others are the validation data.
    Raises WrongInput for the first fault.
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
        to_predict = {"x_predict": x_test[:HELD_OUT], "ids": ids[:HELD_OUT], "y_predict": y_test[:HELD_OUT]}
        x_test, y_test = x_test[HELD_OUT:], y_test[HELD_OUT:]
    else:
        to_predict = _inputs(inputs, x_train.shape[1:], names, needs_images)
    if not len(x_train) or not len(x_test):
        raise WrongInput(
            f"data: there are {len(x_train)} training and {len(x_test)} validation items: at least one of each is needed"
        )
    to_predict["ids"] = np.asarray([str(item) for item in to_predict["ids"]])
    return {
        "x_train": x_train, "y_train": y_train, "x_val": x_test, "y_val": y_test, "class_names": names, **to_predict
    }  # fmt: skip


def _pair(raw: Arrays, x_name: str, y_name: str, needs_images: bool) -> tuple[Any, Any]:
    """Checked inputs and their class numbers; raises WrongInput."""
    x, y = _items(raw[x_name], x_name, needs_images), np.asarray(raw[y_name])
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise WrongInput(f"data: {y_name} has shape {y.shape}: give one class number for each item (the argmax of one-hot rows)")
    if len(x) != len(y):
        raise WrongInput(f"data: {x_name} has {len(x)} items, {y_name} {len(y)}")
    if not len(x):
        raise WrongInput(f"data: {x_name} has no items")
    if y.dtype.kind not in "iu":
        if y.dtype.kind != "f" or not np.isfinite(y).all() or (y != np.round(y)).any():
            raise WrongInput(f"data: {y_name} has {y.dtype} values that are not class numbers 0, 1, …")
        y = y.astype("int64")
    if y.min() < 0:
        raise WrongInput(f"data: {y_name} has {y.min()}: class numbers begin at 0")
    return x, y


def _items(x: Any, name: str, needs_images: bool) -> Any:
    """Checked inputs of rank 2 or 4; images without channels get one. Raises WrongInput."""
    x = np.asarray(x)
    if x.dtype.kind not in "iufb":
        raise WrongInput(f"data: {name} has {x.dtype} values, not numbers")
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim not in (2, 4) or (needs_images and x.ndim != 4):
        shapes = "(items, height, width[, channels])" + ("" if needs_images else " or (items, features)")
        raise WrongInput(f"data: {name} has rank {x.ndim}, shape {x.shape}: it must be {shapes}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        index = int(np.argwhere(~np.isfinite(x))[0][0])
        raise WrongInput(f"data: {name} has NaN or infinity, first in item {index}")
    return x


def _class_names(raw: Arrays, y_train: Any, y_test: Any) -> Any:
    """The class names in the order of the class numbers: those given, else the numbers as text; raises WrongInput."""
    largest = int(y_train.max())
    declared = raw.get("class_names")
    names = [str(n) for n in range(largest + 1)] if declared is None else [str(n) for n in np.asarray(declared)]
    if len(set(names)) != len(names):
        raise WrongInput("data: class_names has a name twice")
    for name, y in (("y_train", y_train), ("y_test", y_test)):
        if len(y) and int(y.max()) >= len(names):
            raise WrongInput(f"data: {name} has {int(y.max())}, but there are {len(names)} classes (0 to {len(names) - 1})")
    if len(names) < 2:
        raise WrongInput("data: there is only one class: at least two are needed")
    return np.asarray(names)


def _inputs(inputs: Arrays, shape: tuple[int, ...], names: Any, needs_images: bool) -> Arrays:
    """What is predicted instead of held-out test items: x_predict, ids, and y_predict if known; raises WrongInput."""
    key = next((name for name in ("x", "x_predict", "x_test") if name in inputs), None)
    if key is None:
        raise WrongInput(f"data.predict: x is missing; there are {', '.join(sorted(inputs)) or 'no arrays'}")
    x = _items(inputs[key], f"predict's {key}", needs_images)
    if x.shape[1:] != shape:
        raise WrongInput(f"data.predict: items have the shape {x.shape[1:]}, the training items {shape}")
    if not len(x):
        raise WrongInput("data.predict: there are no items to predict")
    declared = inputs.get("class_names")
    if declared is not None and [str(n) for n in declared] != [str(n) for n in names]:
        raise WrongInput(f"data.predict: its classes {list(map(str, declared))} differ from {list(map(str, names))}")
    to_predict: Arrays = {"x_predict": x, "ids": inputs.get("ids", np.arange(len(x)))}
    if len(to_predict["ids"]) != len(x):
        raise WrongInput(f"data.predict: ids has {len(to_predict['ids'])} entries, {key} {len(x)}")
    labels = inputs.get("y", inputs.get("y_test"))
    if labels is not None:
        _, to_predict["y_predict"] = _pair({"x": x, "y": labels}, "x", "y", needs_images)
        if int(to_predict["y_predict"].max()) >= len(names):
            raise WrongInput(f"data.predict: y has {int(to_predict['y_predict'].max())}: there are {len(names)} classes")
    return to_predict


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
