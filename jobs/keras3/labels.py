"""Labels and ids as they come: which class each item has, what the classes are called, and the items' ids as text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.portable.inputs import WrongInput, listed

FEWEST_ITEMS, MANY_CLASSES, MOST_CLASSES = 3, 20, 25_000
"""Items a class on average below which more than MANY_CLASSES distinct labels are no classes; and how many classes may be."""


@dataclass(frozen=True)
class Labels:
    """The labels of an array, one an item: ``values`` are whole numbers or texts.

    ``kind`` is ``number``, ``bool``, ``text`` or ``one-hot``; of one-hot rows the values are their columns, of ``width`` many.
    """

    name: str
    kind: str
    values: Any
    width: int = 0


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset: ``names`` in the order of the class numbers; ``numbers`` by label, None where a label is one."""

    names: list[str]
    numbers: dict[Any, int] | None

    def numbers_of(self, labels: Labels) -> Any:
        """The class numbers of labels, (items,); raises WrongInput for a label that is no class."""
        if self.numbers is None or labels.kind == "one-hot":
            limit = len(self.names)
            if labels.kind == "text":
                raise WrongInput(f"{labels.name} has texts, such as {_first(labels)!r}, and y_train class numbers")
            wrong = labels.values[(labels.values < 0) | (labels.values >= limit)]
            if len(wrong):
                counted = ": they count from 1: subtract 1" if labels.values.min() == 1 and labels.values.max() == limit else ""
                raise WrongInput(f"{labels.name} has {wrong.max()}, but there are {limit} classes (0 to {limit - 1}){counted}")
            return labels.values
        is_text = labels.kind == "text"
        if any(isinstance(label, str) != is_text for label in self.numbers):
            raise WrongInput(
                f"{labels.name} has {_words(labels)}, the classes are {listed(self.names)}: give all labels in the same form"
            )
        distinct, places = np.unique(labels.values, return_inverse=True)
        unknown = [label for label in distinct.tolist() if label not in self.numbers]
        if unknown:
            raise WrongInput(f"{labels.name} has the label {unknown[0]!r}, which is none of the classes {listed(self.names)}")
        numbers = np.asarray([self.numbers[label] for label in distinct.tolist()], dtype="int64")
        if numbers.tolist() == distinct.tolist():
            return labels.values  # they are class numbers as they are
        return numbers[places.reshape(-1)]


def _first(labels: Labels) -> Any:
    return labels.values[:1].tolist()[0] if len(labels.values) else ""


def _bare(labels: Labels) -> str:
    """Its name without the prefix."""
    return labels.name.rpartition(" ")[2]


def _words(labels: Labels) -> str:
    return f"{'texts' if labels.kind == 'text' else 'numbers'}, such as {_first(labels)!r}"


def read_labels(values: Any, name: str) -> Labels:
    """The labels of an array of class numbers, texts, bytes, truth values, dates or one-hot rows.

    Raises WrongInput for what are no labels, a label each item.
    """
    y = np.asarray(values)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "iufb" and len(y):
        return _one_hot(y, name)
    if y.ndim != 1:
        raise WrongInput(f"{name} has shape {y.shape}: give one label for each item")
    if y.dtype.kind == "O":
        y = _plain(y, name)
    if y.dtype.kind == "S":
        y = np.asarray([_decoded(value, name, n) for n, value in enumerate(y.tolist())], dtype=str)
    if y.dtype.kind == "M":
        _refuse_missing(np.isnat(y), name, "label")
        y = y.astype(str)
    if y.dtype.kind in "UT":
        y = y.astype(str)
        _refuse_missing(np.char.str_len(y) == 0, name, "label")
        return Labels(name, "text", y)
    if y.dtype.kind == "b":
        return Labels(name, "bool", y.astype("int64"))
    if y.dtype.kind == "f":
        _refuse_missing(np.isnan(y), name, "label")
        if y.dtype.itemsize < 8:
            # Half precision has no number as large as the limit.
            y = y.astype("float64")
        fractions = np.flatnonzero((y != np.round(y)) | (np.abs(y) >= 2.0**53))
        if len(fractions):
            n = int(fractions[0])
            raise WrongInput(
                f"{name} has {y[n]:g} in item {n}: that is a quantity, not the label of a class: the work here is classification"
            )
        return Labels(name, "number", y.astype("int64"))
    if y.dtype.kind not in "iu":
        raise WrongInput(f"{name} has {y.dtype} values, not labels: give class numbers or names")
    return Labels(name, "number", y)


def _one_hot(y: Any, name: str) -> Labels:
    if ((y == 0) | (y == 1)).all():
        ones = np.asarray(y, dtype="int64").sum(axis=1)
        if (ones == 1).all():
            return Labels(name, "one-hot", np.asarray(y.argmax(axis=1), dtype="int64"), y.shape[1])
        n = int(np.flatnonzero(ones != 1)[0])
        what = f"item {n} has {ones[n]} of its {y.shape[1]} labels: each item needs exactly one"
        raise WrongInput(f"{name} has shape {y.shape}, and {what}")
    raise WrongInput(f"{name} has shape {y.shape}: give one label for each item, or one-hot rows of 0 and 1")


def _plain(y: Any, name: str) -> Any:
    """Objects as an array of numbers or of texts; raises WrongInput where they are neither, or both."""
    values = y.tolist()
    _refuse_missing(np.asarray([_is_missing(value) for value in values], dtype=bool), name, "label")
    if all(isinstance(value, str | bytes) for value in values):
        return np.asarray([_decoded(value, name, n) for n, value in enumerate(values)], dtype=str)
    if all(isinstance(value, bool | np.bool_) for value in values):
        return np.asarray(values, dtype=bool)
    if all(isinstance(value, int | float | np.integer | np.floating) for value in values):
        return np.asarray(values)
    if all(isinstance(value, np.datetime64) or hasattr(value, "isoformat") for value in values):
        return np.asarray([value.isoformat() if hasattr(value, "isoformat") else str(value) for value in values], dtype=str)
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) == 1:
        raise WrongInput(f"{name} has {kinds[0]} values, not labels: give class numbers or names")
    raise WrongInput(f"{name} mixes {' and '.join(kinds)}: give all labels in the same form")


def _is_missing(value: Any) -> bool:
    """Whether an object stands for no value: None, NaN, NaT, pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return bool(np.isnat(value)) if isinstance(value, np.datetime64) else isinstance(value, float) and math.isnan(value)


def _decoded(value: str | bytes, name: str, item: int) -> str:
    """A text, from UTF-8 where it is bytes; raises WrongInput."""
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise WrongInput(f"{name} has {value!r} in item {item}, which is not UTF-8: give texts") from error


def _refuse_missing(missing: Any, name: str, what: str) -> None:
    if missing.any():
        raise WrongInput(f"{name} has no {what} in item {int(np.flatnonzero(missing)[0])}: leave such items out")


def classes_of(train: Labels, test: Labels | None, declared: Any) -> tuple[Classes, list[str]]:
    """The classes of a dataset, and warnings: ``declared`` class names, else the sorted distinct labels.

    Raises WrongInput for labels that do not fit the names, that are too many to be classes, or all the same.
    """
    parts = [train] if test is None else [train, test]
    for part in parts:
        if (part.kind == "text") != (train.kind == "text"):
            raise WrongInput(f"{train.name} has {_words(train)}, {_bare(part)} {_words(part)}: give all labels in the same form")
    one_hot = next((part for part in parts if part.kind == "one-hot"), None)
    if declared is not None:
        return _declared_classes(parts, class_names(declared, "data: class_names")), []
    if one_hot is not None:
        if any(part.kind == "one-hot" and part.width != one_hot.width for part in parts):
            raise WrongInput(f"{parts[0].name} has {parts[0].width} columns, {_bare(parts[1])} {parts[1].width}")
        classes = Classes([str(n) for n in range(one_hot.width)], None)
        return _at_least_two(classes), []
    # Not concatenated: signed and unsigned 64-bit numbers together would become floats.
    distinct = sorted(set().union(*(np.unique(part.values).tolist() for part in parts)))
    items = sum(len(part.values) for part in parts)
    if len(distinct) > MOST_CLASSES or (len(distinct) > MANY_CLASSES and items < FEWEST_ITEMS * len(distinct)):
        raise WrongInput(
            f"{train.name} has {len(distinct):,} different labels in {items:,} items, such as {distinct[-1]!r}: these look like "
            "ids or quantities, not classes; if they are classes, give class_names"
        )
    is_bool = all(part.kind == "bool" for part in parts)
    names = [str(bool(label)) if is_bool else str(label) for label in distinct]
    warnings = []
    if test is not None:
        learnt = set(np.unique(train.values).tolist())
        unlearnt = [names[n] for n, label in enumerate(distinct) if label not in learnt]
        if unlearnt:
            warnings.append(f"{test.name} has items of {listed(unlearnt)}, {_bare(train)} has none: no model can learn that")
    return _at_least_two(Classes(names, {label: n for n, label in enumerate(distinct)})), warnings


def _at_least_two(classes: Classes) -> Classes:
    if len(classes.names) < 2:
        raise WrongInput(f"data: there is only one class, {classes.names[0]}: at least two are needed")
    return classes


def _declared_classes(parts: Sequence[Labels], names: list[str]) -> Classes:
    """Labels that are the names stand for them; other whole numbers are places in the list of names."""
    classes = Classes(names, None)
    _at_least_two(classes)
    for part in parts:
        if part.kind == "one-hot" and part.width != len(names):
            raise WrongInput(f"{part.name} has {part.width} columns, and there are {len(names)} class_names")
    by_name = {name: n for n, name in enumerate(names)}
    kinds = {part.kind for part in parts}
    if kinds == {"text"}:
        return Classes(names, by_name)
    if kinds == {"bool"} and set(by_name) == {"False", "True"}:
        return Classes(names, {0: by_name["False"], 1: by_name["True"]})
    if "one-hot" not in kinds:
        by_number = {int(name): n for name, n in by_name.items() if re.fullmatch("-?[0-9]+", name)}
        if all(np.isin(part.values, list(by_number)).all() for part in parts):
            return Classes(names, by_number)
    return classes


def class_names(declared: Any, name: str) -> list[str]:
    """Declared class names as texts; raises WrongInput for one that is there twice or missing."""
    names = np.asarray(item_ids(declared, name, "name")).tolist()
    twice = sorted({text for text in names if names.count(text) > 1}) if len(set(names)) != len(names) else []
    if twice:
        raise WrongInput(f"{name} has a name twice: {twice[0]}")
    if not names:
        raise WrongInput(f"{name} is empty")
    return [str(text) for text in names]


def item_ids(values: Any, name: str, what: str = "id") -> Any:
    """Ids as an array of texts, (items,): of texts, bytes (UTF-8), whole numbers and dates; raises WrongInput for others.

    A column (items, 1) is taken as one; a number like 7.0, which is what a table with gaps makes of 7, is ``7``.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise WrongInput(f"{name} has shape {array.shape}: give one {what} for each item")
    if array.dtype.kind == "M":
        _refuse_missing(np.isnat(array), name, what)
        return array.astype(str)
    texts = [_text(value, name, what, n) for n, value in enumerate(array.tolist())]
    return np.asarray(texts, dtype=str)


def _text(value: Any, name: str, what: str, item: int) -> str:
    if _is_missing(value) or value in ("", b""):
        raise WrongInput(f"{name} has no {what} in item {item}: give one for each")
    if isinstance(value, str | bytes):
        return _decoded(value, name, item)
    if isinstance(value, float) and value == round(value, 0) and abs(value) < 2.0**53:
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, np.datetime64 | np.generic) or type(value).__name__ == "UUID":
        return str(value)
    raise WrongInput(f"{name} has a {type(value).__name__} in item {item}: give texts or whole numbers")
