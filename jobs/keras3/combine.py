"""The combine step: weighs the members' probabilities and writes the CSVs, in bounded memory."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from jobs.portable.inputs import WrongInput, guarded

ROWS = 65_536
"""Rows that are combined and written at a time."""


def main(argv: Sequence[str]) -> int:
    return int(guarded(_combine, argv))


def weights(method: str, accuracies: Sequence[float]) -> Any:
    """The members' weights, float64, summing to 1: by accuracy or all the same.

    All accuracies zero weigh nothing, so the weights are then uniform.
    """
    given = np.asarray(accuracies, dtype="float64")
    if method == "uniform" or not given.any():
        return np.full(len(given), 1.0 / len(given))
    if method != "accuracy":
        raise WrongInput(f"ensemble.method: {method}: give accuracy or uniform")
    if not np.isfinite(given).all() or (given < 0).any():
        raise WrongInput(f"the accuracies {list(accuracies)} are not all numbers of at least 0")
    return given / given.sum()


def combine(members: Sequence[Any], weight: Any) -> Any:
    """Σ pᵢ·wᵢ / Σ wᵢ over members of shape (items, classes), summed in float64, returned as float32."""
    total = np.zeros(np.shape(members[0]), dtype="float64")
    for probabilities, factor in zip(members, weight, strict=True):
        total += np.asarray(probabilities, dtype="float64") * factor
    result: Any = (total / np.sum(weight)).astype("float32")
    return result


def _combine(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="combine", description="Combine the members' probabilities.")
    parser.add_argument("--plan", required=True, help="method, members and data, JSON")
    parser.add_argument("--out", required=True, help="the folder for the CSVs and ensemble.json")
    options = parser.parse_args(argv)
    plan, out = json.loads(Path(options.plan).read_text(encoding="utf-8")), Path(options.out)
    members = plan["members"]
    if not members:
        raise WrongInput("there is nothing to combine")
    names = members[0]["class_names"]
    for each in members:
        if each["class_names"] != names:
            raise WrongInput(f"{each['member']}'s classes {each['class_names']} differ from {members[0]['member']}'s")
    arrays = [np.load(each["probabilities"], mmap_mode="r", allow_pickle=False) for each in members]
    for each, array in zip(members, arrays, strict=True):
        if array.shape != arrays[0].shape or array.ndim != 2 or array.shape[1] != len(names):
            raise WrongInput(f"{each['member']}'s probabilities have shape {array.shape}, not {arrays[0].shape}")
    ids, labels = _data(plan.get("data"), len(arrays[0]))
    weight = weights(plan["method"], [each["accuracy"] for each in members])
    (out / "members").mkdir(parents=True, exist_ok=True)
    judged = write_all(out, [each["member"] for each in members], arrays, weight, ids, names, labels)
    told = {
        "method": plan["method"],
        "members": {
            each["member"]: {"weight": float(w), "accuracy": each["accuracy"], **judged[each["member"]]}
            for each, w in zip(members, weight, strict=True)
        },
        "items": len(arrays[0]),
        "classes": names,
        **judged[""],
    }
    (out / "ensemble.json").write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")
    print(f"combined {len(members)} members, {told['items']} items")


def _data(path: str | None, items: int) -> tuple[Any, Any]:
    if path is None:
        return None, None
    with np.load(path, allow_pickle=False) as data:
        ids = data["ids"]
        labels = data["y_predict"].astype("int64") if "y_predict" in data.files else None
    if len(ids) != items:
        raise WrongInput(f"there are {items} rows of probabilities for {len(ids)} items")
    return ids, labels


def write_all(
    out: Path,
    names: Sequence[str],
    arrays: Sequence[Any],
    weight: Any,
    ids: Any,
    classes: Sequence[str],
    labels: Any,
) -> dict[str, dict[str, float]]:
    """Write predictions.csv and members/<name>.csv; returns accuracy and loss by name, "" the ensemble's."""
    paths = {"": out / "predictions.csv", **{name: out / "members" / f"{name}.csv" for name in names}}
    sums, count = {name: [0.0, 0.0] for name in paths}, len(arrays[0])

    def judge(written: dict[str, Future[Any]], rows: slice, chunk: dict[str, Any]) -> None:
        for name, future in written.items():
            best = future.result()
            if labels is None:
                continue
            own = chunk[name][np.arange(len(best)), labels[rows]].astype("float64")
            sums[name][0] += float((best == labels[rows]).sum())
            sums[name][1] -= float(np.log(np.clip(own, 1e-15, 1.0)).sum())

    with ExitStack() as stack:
        writers = {name: Writer(stack.enter_context(open(path, "wb")), classes) for name, path in paths.items()}
        # Numbers are formatted outside the interpreter's lock: a thread a file, which keeps the rows in order.
        threads = {name: stack.enter_context(ThreadPoolExecutor(1)) for name in paths}
        waiting: deque[tuple[dict[str, Future[Any]], slice, dict[str, Any]]] = deque()
        for start in range(0, count, ROWS):
            rows = slice(start, start + ROWS)
            chunk = {name: np.asarray(array[rows]) for name, array in zip(names, arrays, strict=True)}
            chunk[""] = combine([chunk[name] for name in names], weight)
            items = [str(n) for n in range(start, start + len(chunk[""]))] if ids is None else ids[rows].tolist()
            waiting.append(({name: threads[name].submit(writers[name].write, items, chunk[name]) for name in paths}, rows, chunk))
            # The next rows are combined while these are written; no more lie in memory.
            if len(waiting) > 2:
                judge(*waiting.popleft())
        while waiting:
            judge(*waiting.popleft())
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
        # The header is written apart: a class may be called like a column.
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(["item", "prediction", "rate", *classes])
        self._file.write(header.getvalue().encode())

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
