"""The combine program: the weighted mean of the members' probabilities, written as CSVs in bounded memory."""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from jobs import strict_json
from jobs.csv_text import csv_text
from jobs.keras3 import array_files
from jobs.portable.inputs import WrongInput, exit_status, listed, say

ROWS = 65_536
"""Rows that are combined and written at a time."""


def main(argv: Sequence[str]) -> int:
    """Combine as the arguments say; returns the exit status."""
    return int(exit_status(_combine, argv))


def weights(method: str, accuracies: Sequence[float]) -> Any:
    """The members' weights, float64, summing to 1: in proportion to the accuracies (method ``accuracy``) or ``uniform``.

    They are uniform too if all accuracies are 0. Raises WrongInput for an unknown method or an accuracy that is no number.
    """
    values = np.asarray(accuracies, dtype="float64")
    if method == "uniform" or not values.any():
        return np.full(len(values), 1.0 / len(values))
    if method != "accuracy":
        raise WrongInput(f"ensemble.method: there is no method {method}: use accuracy or uniform")
    if not np.isfinite(values).all() or (values < 0).any():
        raise WrongInput(f"the accuracies {list(accuracies)} are not all finite numbers of at least 0")
    return values / values.sum()


def combine(members: Sequence[Any], member_weights: Any) -> Any:
    """Σ pᵢ·wᵢ / Σ wᵢ over members of shape (items, classes), summed in float64, returned as float32."""
    total = np.zeros(np.shape(members[0]), dtype="float64")
    for probabilities, weight in zip(members, member_weights, strict=True):
        total += np.asarray(probabilities, dtype="float64") * weight
    result: Any = (total / np.sum(member_weights)).astype("float32")
    return result


def _combine(argv: Sequence[str]) -> None:
    """Write the CSVs and ensemble.json; raises WrongInput for members that do not fit together."""
    parser = argparse.ArgumentParser(prog="combine", description="Combine the members' probabilities.")
    parser.add_argument("--plan", required=True, help="method, members and data, JSON")
    parser.add_argument("--out", required=True, help="the folder for the CSVs and ensemble.json")
    options = parser.parse_args(argv)
    plan, out = json.loads(Path(options.plan).read_text(encoding="utf-8")), Path(options.out)
    members = plan["members"]
    if not members:
        raise WrongInput("there are no members to combine")
    names = members[0]["class_names"]
    for member in members:
        if member["class_names"] != names:
            their, own = listed(member["class_names"]), listed(names)
            raise WrongInput(f"{member['member']}'s classes {their} differ from {members[0]['member']}'s, {own}")
    arrays = [_probabilities(member) for member in members]
    for member, array in zip(members, arrays, strict=True):
        if array.shape != arrays[0].shape or array.ndim != 2 or array.shape[1] != len(names):
            raise WrongInput(f"{member['member']}'s probabilities have the shape {array.shape}, not {arrays[0].shape}")
    ids, labels = _data(plan.get("data"), len(arrays[0]))
    member_weights = weights(plan["method"], [member["accuracy"] for member in members])
    (out / "members").mkdir(parents=True, exist_ok=True)
    metrics = write_all(out, [member["member"] for member in members], arrays, member_weights, ids, names, labels)
    summary = {
        "method": plan["method"],
        "members": {
            member["member"]: {"weight": float(weight), "accuracy": member["accuracy"], **metrics[member["member"]]}
            for member, weight in zip(members, member_weights, strict=True)
        },
        "items": len(arrays[0]),
        "classes": names,
        **metrics[""],
    }
    (out / "ensemble.json").write_text(strict_json.dumps(summary, indent=1, sort_keys=True), encoding="utf-8")
    say(f"combined {len(members)} members, {summary['items']} items")


def _probabilities(member: Mapping[str, Any]) -> Any:
    """A member's probabilities, mapped into memory; raises WrongInput for a file that has none."""
    try:
        return array_files.read_npy(Path(member["probabilities"]))
    except (array_files.BadArrays, OSError) as error:
        raise WrongInput(f"{member['member']}'s probabilities {member['probabilities']} cannot be read: {error}") from error


def _data(path: str | None, items: int) -> tuple[Any, Any]:
    """The ids of the predicted items, and their class numbers if these are known."""
    if path is None:
        return None, None
    try:
        arrays = array_files.read_npz(Path(path))
        ids, labels = arrays["ids"], arrays.get("y_predict")
    except (array_files.BadArrays, KeyError, OSError) as error:
        raise WrongInput(f"{path} is no prepared data: {error}") from error
    labels = None if labels is None else labels.astype("int64")
    if len(ids) != items:
        raise WrongInput(f"there are {items} rows of probabilities for {len(ids)} items")
    return ids, labels


def write_all(
    out: Path,
    names: Sequence[str],
    arrays: Sequence[Any],
    member_weights: Any,
    ids: Any,
    classes: Sequence[str],
    labels: Any,
) -> dict[str, dict[str, float]]:
    """Write predictions.csv and members/<name>.csv.

    ``arrays``: a member's probabilities each, (items, classes). Returns accuracy and log loss by member, the ensemble's under
    "" (nothing where the labels are not known).
    """
    paths = {"": out / "predictions.csv", **{name: out / "members" / f"{name}.csv" for name in names}}
    sums, count = {name: [0.0, 0.0] for name in paths}, len(arrays[0])

    def add_metrics(written: dict[str, Future[Any]], rows: slice, chunk: dict[str, Any]) -> None:
        for name, future in written.items():
            predicted = future.result()
            if labels is None:
                continue
            of_right_class = chunk[name][np.arange(len(predicted)), labels[rows]].astype("float64")
            sums[name][0] += float((predicted == labels[rows]).sum())
            sums[name][1] -= float(np.log(np.clip(of_right_class, 1e-15, 1.0)).sum())

    with ExitStack() as stack:
        writers = {name: Writer(stack.enter_context(open(path, "wb")), classes) for name, path in paths.items()}
        # Numbers are formatted outside the interpreter's lock: a thread a file, which keeps the rows in order.
        threads = {name: stack.enter_context(ThreadPoolExecutor(1)) for name in paths}
        waiting: deque[tuple[dict[str, Future[Any]], slice, dict[str, Any]]] = deque()
        for start in range(0, count, ROWS):
            rows = slice(start, start + ROWS)
            chunk = {name: np.asarray(array[rows]) for name, array in zip(names, arrays, strict=True)}
            chunk[""] = combine([chunk[name] for name in names], member_weights)
            items = [str(n) for n in range(start, start + len(chunk[""]))] if ids is None else ids[rows].tolist()
            waiting.append(({name: threads[name].submit(writers[name].write, items, chunk[name]) for name in paths}, rows, chunk))
            # The next rows are combined while these are written; more are not kept in memory.
            if len(waiting) > 2:
                add_metrics(*waiting.popleft())
        while waiting:
            add_metrics(*waiting.popleft())
    if labels is None:
        return {name: {} for name in paths}
    return {
        name: {"accuracy" if not name else "accuracy_here": hits / count, "loss": loss / count}
        for name, (hits, loss) in sums.items()
    }


class Writer:
    """Writes `item,prediction,rate,<class>…`; float32 in the shortest form that reads back to the same bits."""

    def __init__(self, file: IO[bytes], classes: Sequence[str]) -> None:
        import polars

        self._polars = polars
        self._classes = polars.Series([str(name) for name in classes], dtype=polars.String)
        self._file = file
        # The header is written apart: a class may have the name of a column.
        self._file.write(csv_text([["item", "prediction", "rate", *classes]]).encode())

    def write(self, items: Any, probabilities: Any) -> Any:
        """Write rows; returns the predicted class numbers."""
        best = probabilities.argmax(axis=1)
        columns = {
            "item": self._polars.Series(items, dtype=self._polars.String),
            "prediction": self._classes.gather(best),
            "rate": probabilities[np.arange(len(best)), best],
            **{f"class {n}": np.ascontiguousarray(probabilities[:, n]) for n in range(probabilities.shape[1])},
        }
        self._polars.DataFrame(columns).write_csv(self._file, include_header=False)
        return best
