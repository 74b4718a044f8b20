"""The prepare program: resolves the data to one checked .npz, the same bytes for the same arrays."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jobs import strict_json
from jobs.keras3 import array_files
from jobs.keras3.labels import Classes, class_names, classes_of, item_ids, read_labels
from jobs.keras3.split_sizes import validation_warnings
from jobs.keras3.splits import few_items, held_out, train_and_test
from jobs.portable.inputs import WrongInput, exit_status, listed, say, sha256
from jobs.portable.user_code import user_function
from jobs.portable.value_range import to_training_scale, value_range

Arrays = dict[str, Any]
KNOWN = ("x_train", "y_train", "x_test", "y_test", "ids", "class_names")
KNOWN_TO_PREDICT = ("x", "x_predict", "x_test", "y", "y_test", "ids", "class_names")


@dataclass(frozen=True)
class Rules:
    """How data is split and what it must be: the split's seed, what the configuration says of it, whether images are needed."""

    seed: int
    needs_images: bool = False
    holdout: int | None = None
    stratified: bool = False


@dataclass
class Resolved:
    """The checked arrays, and what a user should know of them, a line each."""

    arrays: Arrays
    warnings: list[str] = field(default_factory=list)


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
    data = task["data"]
    rules = Rules(task["data_seed"], task.get("model") == "cnn", data.get("holdout"), bool(data.get("stratified")))
    resolved = resolve(raw, inputs, rules)
    items = task.get("few_items")
    arrays = few_items(resolved.arrays, items) if items else resolved.arrays
    write_npz(Path(options.out) / "data.npz", arrays)
    summary = {
        "fingerprint": fingerprint(arrays),
        "source": reference,
        "predict": predict,
        "files": {name: sha256(Path(options.folder) / name) for name in (reference, predict) if name.endswith(".npz")},
        "shapes": {name: list(array.shape) for name, array in arrays.items()},
        "class_names": [str(name) for name in arrays["class_names"]],
        "warnings": resolved.warnings,
    }
    (Path(options.out) / "data.json").write_text(strict_json.dumps(summary, indent=1, sort_keys=True), encoding="utf-8")
    say(f"data {summary['fingerprint'][:12]}: {summary['shapes']}")


def load(reference: str, folder: Path, code: str, hyperparameters: Mapping[str, Any]) -> Arrays:
    """The dataset's arrays as their source has them: x_train, y_train and perhaps x_test, y_test, ids, class_names.

    ``code``: the folder of the user's code. Raises WrongInput for what cannot be read.
    """
    if reference == "digits":
        return _digits()
    if reference in ("cifar10", "mnist"):
        return _keras_set(reference)
    if reference.rpartition(":")[0].endswith(".py"):
        arrays = user_function(reference, code)(dict(hyperparameters))
        if not isinstance(arrays, Mapping):
            raise WrongInput(f"data.dataset: {reference} returned {type(arrays).__name__}, not a dict of arrays")
        return {name: _array(name, value) for name, value in arrays.items() if value is not None}
    return read_npz(inside(folder, reference, "data.dataset"), "data.dataset")


def _digits() -> Arrays:
    """The digits of scikit-learn, from its file: its import takes a second of CPU time, most of it for SciPy."""
    package = find_spec("sklearn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz" if package and package.origin else None
    if path is None or not path.exists():  # another version may keep it elsewhere
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return {"x_train": bunch.images, "y_train": bunch.target}
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",")
    return {"x_train": table[:, :-1].reshape(-1, 8, 8), "y_train": table[:, -1].astype(int)}


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
        return array_files.read_npz(path)
    except FileNotFoundError as error:
        raise WrongInput(f"{key}: {path} does not exist") from error
    except array_files.PickledArrays as error:
        raise WrongInput(f"{key}: {path} has pickled objects, which are never loaded: save plain arrays") from error
    except (array_files.BadArrays, OSError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise WrongInput(f"{key}: {path} is not an .npz of arrays: {problem}") from error


def _array(name: str, value: Any) -> Any:
    """A value of a data function as an array; raises WrongInput for what is none."""
    if np.ma.is_masked(value):
        raise WrongInput(f"data: {name} has masked values: fill them, or leave such items out")
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise WrongInput(f"data: {name} is a sparse {type(value).__name__}: give {name}.toarray()")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise WrongInput(f"data: {name} is not an array: {error}") from error
    if array.dtype.kind == "O" and name.startswith("x"):
        return _numbers(name, array)
    return array


def _numbers(name: str, array: Any) -> Any:
    """An array of objects that are all numbers, which is what tables with columns of several types give; raises WrongInput."""
    if not array.ndim:
        raise WrongInput(f"data: {name} is a {type(array.item()).__name__}, not an array")
    for n, value in enumerate(array.ravel().tolist()):
        if not isinstance(value, int | float | np.number | np.bool_):
            item = n // max(1, array.size // max(1, len(array)))
            raise WrongInput(f"data: {name} has objects, not numbers: a {type(value).__name__} in item {item}")
    return array.astype("float64")


def resolve(raw: Arrays, inputs: Arrays | None, rules: Rules) -> Resolved:
    """Checked arrays: x_train, y_train, x_val, y_val, x_predict, ids, class_names, and y_predict if known.

    Images get the shape (items, height, width, channels). Without a test set, a fifth of the items is it. A part of the test
    set is predicted, unless ``inputs`` are given; the others are the validation data. Raises WrongInput for the first fault.
    """
    warnings = _unused(raw, KNOWN, "data")
    for name in ("x_train", "y_train"):
        if name not in raw:
            raise WrongInput(f"data: {name} is missing; there are {', '.join(sorted(raw)) or 'no arrays'}")
    if ("x_test" in raw) != ("y_test" in raw):
        raise WrongInput("data: x_test and y_test go together: give both or neither")
    has_test = "x_test" in raw
    x_train = _items(raw["x_train"], "data: x_train", rules.needs_images)
    train_labels = read_labels(raw["y_train"], "data: y_train")
    _same_length("data: x_train", x_train, "y_train", train_labels.values)
    x_test, test_labels = x_train[:0], None
    if has_test:
        x_test = _items(raw["x_test"], "data: x_test", rules.needs_images)
        test_labels = read_labels(raw["y_test"], "data: y_test")
        _same_length("data: x_test", x_test, "y_test", test_labels.values)
        if x_test.shape[1:] != x_train.shape[1:]:
            raise WrongInput(f"data: x_test items have shape {x_test.shape[1:]}, x_train's {x_train.shape[1:]}")
    ids = None if raw.get("ids") is None else item_ids(raw["ids"], "data: ids")
    if ids is not None:
        of = ("x_test", x_test) if has_test else ("x_train", x_train)
        if len(ids) != len(of[1]):
            raise WrongInput(f"data: ids has {len(ids)} entries, {of[0]} {len(of[1])}")
    classes, class_warnings = classes_of(train_labels, test_labels, raw.get("class_names"))
    warnings += class_warnings
    y_train = classes.numbers_of(train_labels)
    training = value_range(x_train)
    if test_labels is not None:
        y_test = classes.numbers_of(test_labels)
        x_test, done = to_training_scale(x_test, "data: x_test", training)
        warnings += [done] if done else []
    else:
        train, test = train_and_test(y_train, rules.seed, rules.stratified)
        x_test, y_test, x_train, y_train = x_train[test], y_train[test], x_train[train], y_train[train]
        ids = test if ids is None else ids[test]
    if inputs is None:
        predicted, validation = held_out(y_test, rules.holdout, rules.stratified)
        ids = np.arange(len(x_test)) if ids is None else ids
        to_predict = {"x_predict": x_test[predicted], "ids": ids[predicted], "y_predict": y_test[predicted]}
        x_test, y_test = x_test[validation], y_test[validation]
    else:
        warnings += _unused(inputs, KNOWN_TO_PREDICT, "data.predict")
        to_predict = _inputs(inputs, x_train.shape[1:], classes, rules.needs_images)
        to_predict["x_predict"], done = to_training_scale(to_predict["x_predict"], "data.predict: x", training)
        warnings += [done] if done else []
    to_predict["ids"] = np.asarray([str(item) for item in to_predict["ids"]])
    warnings += _twice(to_predict["ids"])
    warnings += validation_warnings(len(x_test), inputs is None)
    names = np.asarray(classes.names)
    return Resolved(
        {"x_train": x_train, "y_train": y_train, "x_val": x_test, "y_val": y_test, "class_names": names, **to_predict}, warnings
    )


def _unused(arrays: Arrays, known: Sequence[str], where: str) -> list[str]:
    unused = sorted(set(arrays) - set(known))
    return [f"{where}: {', '.join(unused)} is not used: the names are {', '.join(known)}"] if unused else []


def _twice(ids: Any) -> list[str]:
    distinct, counts = np.unique(ids, return_counts=True)
    if len(distinct) == len(ids):
        return []
    example = distinct[counts > 1][0]
    return [f"{len(ids) - len(distinct)} of the {len(ids)} predicted items have the id of another one, such as {example}"]


def _same_length(x_name: str, x: Any, y_name: str, y: Any) -> None:
    if len(x) != len(y):
        raise WrongInput(f"{x_name} has {len(x)} items, {y_name} {len(y)}")
    if not len(x):
        raise WrongInput(f"{x_name} has no items")


def _items(x: Any, name: str, needs_images: bool) -> Any:
    """Checked inputs of rank 2 or 4; images without channels get one. Raises WrongInput."""
    x = np.asarray(x)
    if x.dtype.kind not in "iufb":
        raise WrongInput(f"{name} has {x.dtype} values, not numbers")
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim not in (2, 4) or (needs_images and x.ndim != 4):
        shapes = "(items, height, width[, channels])" + ("" if needs_images else " or (items, features)")
        raise WrongInput(f"{name} has rank {x.ndim}, shape {x.shape}: it must be {shapes}")
    if 0 in x.shape[1:]:
        raise WrongInput(f"{name} has shape {x.shape}: its items are empty")
    if x.dtype.kind == "f":
        if not np.isfinite(x).all():
            index = int(np.argwhere(~np.isfinite(x))[0][0])
            raise WrongInput(f"{name} has NaN or infinity, first in item {index}")
        if x.dtype.itemsize > 4 and len(x) and max(abs(float(x.max())), abs(float(x.min()))) > float(np.finfo("float32").max):
            raise WrongInput(f"{name} has values beyond float32's range, which models are trained in")
        if x.dtype.itemsize > 8:
            x = x.astype("float64")
    return x


def _inputs(inputs: Arrays, shape: tuple[int, ...], classes: Classes, needs_images: bool) -> Arrays:
    """What is predicted instead of held-out test items: x_predict, ids, and y_predict if known; raises WrongInput."""
    key = next((name for name in ("x", "x_predict", "x_test") if name in inputs), None)
    if key is None:
        raise WrongInput(f"data.predict: x is missing; there are {', '.join(sorted(inputs)) or 'no arrays'}")
    x = _items(inputs[key], f"data.predict: {key}", needs_images)
    if x.shape[1:] != shape:
        raise WrongInput(f"data.predict: items have the shape {x.shape[1:]}, the training items {shape}")
    if not len(x):
        raise WrongInput("data.predict: there are no items to predict")
    declared = inputs.get("class_names")
    if declared is not None and (names := class_names(declared, "data.predict: class_names")) != classes.names:
        raise WrongInput(f"data.predict: its classes {listed(names)} differ from {listed(classes.names)}")
    ids = np.arange(len(x)) if inputs.get("ids") is None else item_ids(inputs["ids"], "data.predict: ids")
    to_predict: Arrays = {"x_predict": x, "ids": ids}
    if len(ids) != len(x):
        raise WrongInput(f"data.predict: ids has {len(ids)} entries, {key} {len(x)}")
    labels = inputs.get("y", inputs.get("y_test"))
    if labels is not None:
        read = read_labels(labels, "data.predict: y")
        _same_length(f"data.predict: {key}", x, "y", read.values)
        to_predict["y_predict"] = classes.numbers_of(read)
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
