"""The ensemble-drop program: two ensembles on the items that both predicted, how many only one of them has right."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import strict_json
from jobs.keras3 import array_files
from jobs.portable.inputs import WrongInput, exit_status, say
from jobs.portable.same_items import digests

Judged = dict[str, tuple[str, bool]]
"""By the id of an item what else must be the same, its true label at least, and whether that was predicted."""


def main(argv: Sequence[str]) -> int:
    """Compare as the arguments say; returns the exit status."""
    return int(exit_status(_compare, argv))


def _compare(argv: Sequence[str]) -> None:
    """Write the counts as JSON; raises WrongInput for files that cannot be read."""
    parser = argparse.ArgumentParser(prog="ensemble-drop", description="Compare an ensemble with an earlier one, item by item.")
    parser.add_argument("--plan", required=True, help="the predictions and the prepared data of both, JSON")
    parser.add_argument("--out", required=True, help="the JSON file to write")
    options = parser.parse_args(argv)
    plan = json.loads(Path(options.plan).read_text(encoding="utf-8"))
    both = plan["earlier"], plan["new"]
    data = [_read(Path(each["data"])) for each in both]
    # Where there are no ids, items are numbered: number 7 of two dates may be two items.
    by_input = not all(map(has_own_ids, data))
    earlier, new = (judged_items(Path(each["predictions"]), arrays, by_input) for each, arrays in zip(both, data, strict=True))
    result = compare(earlier, new)
    Path(options.out).write_text(strict_json.dumps(result, indent=1, sort_keys=True), encoding="utf-8")
    same = "inputs, for they have no ids of their own" if by_input else "ids"
    say(f"{result['items']} items were predicted by both ensembles and have the same labels, and {same}")


def compare(earlier: Judged, new: Judged) -> dict[str, float | int]:
    """How many items both have with the same label, how many only one has right, and the earlier one's accuracy on them."""
    pairs = [
        (earlier[item][1], is_right) for item, (label, is_right) in new.items() if item in earlier and earlier[item][0] == label
    ]
    result: dict[str, float | int] = {
        "items": len(pairs),
        "lost": sum(was_right and not is_right for was_right, is_right in pairs),
        "gained": sum(is_right and not was_right for was_right, is_right in pairs),
    }
    if pairs:
        result["previous_accuracy"] = sum(was_right for was_right, _ in pairs) / len(pairs)
    return result


def _read(data: Path) -> dict[str, Any]:
    """Prepared data; raises WrongInput."""
    try:
        arrays: dict[str, Any] = array_files.read_npz(data)
    except (array_files.BadArrays, OSError) as error:
        raise WrongInput(f"{data} is no prepared data: {error}") from error
    if missing := {"ids", "class_names", "x_predict"} - set(arrays):
        raise WrongInput(f"{data} is no prepared data: it has no {', '.join(sorted(missing))}")
    return arrays


def has_own_ids(arrays: Mapping[str, Any]) -> bool:
    """Whether the predicted items of prepared data have ids, and not just numbers: their places in what they were taken from."""
    count = sum(len(arrays[name]) for name in ("x_train", "x_val", "x_predict") if name in arrays)
    places = {str(place) for place in range(count)}
    return not places.issuperset(map(str, arrays["ids"].tolist()))


def judged_items(predictions: Path, arrays: Mapping[str, Any], by_input: bool) -> Judged:
    """What a CSV of predictions has right of the items of its prepared data, without ids that are there more than once.

    ``by_input``: items are the same only if their values are, too. Nothing where the labels are not known. Raises WrongInput for
    a file that cannot be read, or does not fit the data.
    """
    ids, labels, names = arrays["ids"], arrays.get("y_predict"), [str(name) for name in arrays["class_names"]]
    if labels is None:
        return {}
    right = [names[int(label)] for label in labels]
    values = [digest.hex() for digest in digests(arrays["x_predict"])] if by_input else [""] * len(right)
    try:
        with open(predictions, encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            next(rows, None)
            predicted = [(row[0], row[1]) for row in rows]
    except (OSError, csv.Error, ValueError, IndexError) as error:
        raise WrongInput(f"{predictions} cannot be read: {error}") from error
    if [item for item, _ in predicted] != [str(item) for item in ids.tolist()]:
        raise WrongInput(f"{predictions} has other items than its data")
    judged: Judged = {}
    repeated = set()
    for (item, prediction), label, value in zip(predicted, right, values, strict=True):
        if item in judged:
            repeated.add(item)
        judged[item] = (f"{label}\0{value}", prediction == label)
    return {item: value for item, value in judged.items() if item not in repeated}
