"""The ensemble-drop program: two ensembles on the items that both predicted, how many only one of them has right."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

from jobs import strict_json
from jobs.keras3 import array_files
from jobs.portable.inputs import WrongInput, exit_status, say

Judged = dict[str, tuple[str, bool]]
"""By the id of an item its true label, and whether it was predicted."""


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
    earlier, new = (judged_items(Path(each["predictions"]), Path(each["data"])) for each in (plan["earlier"], plan["new"]))
    result = compare(earlier, new)
    Path(options.out).write_text(strict_json.dumps(result, indent=1, sort_keys=True), encoding="utf-8")
    say(f"{result['items']} items were predicted by both ensembles and have the same labels")


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


def judged_items(predictions: Path, data: Path) -> Judged:
    """What a CSV of predictions has right of the items of its prepared data, without ids that are there more than once.

    Nothing where the labels are not known. Raises WrongInput for files that cannot be read, or do not fit together.
    """
    try:
        arrays = array_files.read_npz(data)
        ids, labels, names = arrays["ids"], arrays.get("y_predict"), [str(name) for name in arrays["class_names"]]
    except (array_files.BadArrays, KeyError, OSError) as error:
        raise WrongInput(f"{data} is no prepared data: {error}") from error
    if labels is None:
        return {}
    right = [names[int(label)] for label in labels]
    try:
        with open(predictions, encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            next(rows, None)
            predicted = [(row[0], row[1]) for row in rows]
    except (OSError, csv.Error, ValueError, IndexError) as error:
        raise WrongInput(f"{predictions} cannot be read: {error}") from error
    if [item for item, _ in predicted] != [str(item) for item in ids.tolist()]:
        raise WrongInput(f"{predictions} has other items than {data}")
    judged: Judged = {}
    repeated = set()
    for (item, prediction), label in zip(predicted, right, strict=True):
        if item in judged:
            repeated.add(item)
        judged[item] = (label, prediction == label)
    return {item: value for item, value in judged.items() if item not in repeated}
