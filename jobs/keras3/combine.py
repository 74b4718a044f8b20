"""The combine program: the ensemble's probabilities by its method, written as CSVs in bounded memory."""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jobs import contract as c
from jobs import strict_json
from jobs.keras3 import array_files, calibration
from jobs.keras3.agreement import Agreement
from jobs.keras3.pools import SMALLEST, LinearPool, Pool, others, weights
from jobs.keras3.prediction_csv import Writer
from jobs.keras3.user_method import UserMethod, ValidationData
from jobs.portable.inputs import WrongInput, exit_status, listed, say

ROWS = 65_536
"""Rows that are combined and written at a time."""


def main(argv: Sequence[str]) -> int:
    """Combine as the arguments say; returns the exit status."""
    return int(exit_status(_combine, argv))


def _combine(argv: Sequence[str]) -> None:
    """Write the CSVs and ensemble.json; raises WrongInput for members that do not fit together."""
    parser = argparse.ArgumentParser(prog="combine", description="Combine the members' probabilities.")
    parser.add_argument("--plan", required=True, help="method, members and data, JSON")
    parser.add_argument("--out", required=True, help="the folder for the CSVs and ensemble.json")
    parser.add_argument("--code", default="", help="the folder of the user's code, for a method of the user's")
    options = parser.parse_args(argv)
    # A function of the user's has its own folder as the working directory.
    plan, out = json.loads(Path(options.plan).read_text(encoding="utf-8")), Path(options.out).absolute()
    members = plan["members"]
    if not members:
        raise WrongInput("there are no members to combine")
    names = members[0]["class_names"]
    for member in members:
        if member["class_names"] != names:
            their, own = listed(member["class_names"]), listed(names)
            raise WrongInput(f"{member['member']}'s classes {their} differ from {members[0]['member']}'s, {own}")
    arrays = [_probabilities(member, "probabilities") for member in members]
    for member, array in zip(members, arrays, strict=True):
        if array.shape != arrays[0].shape or array.ndim != 2 or array.shape[1] != len(names):
            raise WrongInput(f"{member['member']}'s probabilities have the shape {array.shape}, not {arrays[0].shape}")
    ids, labels = _data(plan.get("data"), len(arrays[0]))
    own_names = [member["member"] for member in members]
    if Path(c.AGREEMENT).stem in own_names:
        raise WrongInput(f"a member has the name {Path(c.AGREEMENT).stem}, which is that of a file beside its own: rename it")
    (out / c.MEMBERS).mkdir(parents=True, exist_ok=True)
    method = _method(plan, own_names, arrays, options.code)
    by_member, ensemble = write_all(out, own_names, arrays, method.pool, method.without, ids, names, labels)
    member_weights = getattr(method.pool, "weights", None)
    summary = {
        "method": plan["method"],
        "members": {
            member["member"]: {
                "weight": None if member_weights is None else float(member_weights[n]),
                "accuracy": member["accuracy"],
                **by_member[member["member"]],
                **({"contribution_problem": problem} if (problem := method.problems.get(member["member"])) else {}),
            }
            for n, member in enumerate(members)
        },
        **({} if method.calibration is None else {"calibration": method.calibration}),
        "items": len(arrays[0]),
        "classes": names,
        **ensemble,
    }
    (out / "ensemble.json").write_text(strict_json.dumps(summary, indent=1, sort_keys=True), encoding="utf-8")
    say(f"combined {len(members)} members, {summary['items']} items")


@dataclass(frozen=True)
class Method:
    """A method, fitted: the pool of all members, by member that of the others, and by member why there is none.

    ``calibration``: what is recorded of the method `calibrated`.
    """

    pool: Pool
    without: Mapping[str, Pool]
    problems: Mapping[str, str] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None


def _method(plan: Mapping[str, Any], names: Sequence[str], arrays: Sequence[Any], code: str) -> Method:
    """The method that a plan names, fitted to its members; raises WrongInput."""
    method, members = plan["method"], plan["members"]
    if ":" not in method and method != "calibrated":
        member_weights = weights(method, [member["accuracy"] for member in members])
        return Method(LinearPool(member_weights), others(names, member_weights))
    validation = _validation_data(plan, arrays[0].shape[1])
    if method == "calibrated":
        pool = calibration.fit(validation.probabilities, validation.labels)
        recorded = {
            "temperature": pool.temperature,
            "validation_items": len(validation.labels),
            **calibration.cross_fitted(validation.probabilities, validation.labels),
        }
        rest = {name: validation.without(n).probabilities for n, name in enumerate(names) if len(names) > 1}
        return Method(pool, {name: calibration.fit(own, validation.labels) for name, own in rest.items()}, calibration=recorded)
    function = UserMethod(method, code, int(plan.get("seed") or 0))
    chosen = function(arrays, validation)
    without, problems = function.without_each(names, arrays, validation)
    return Method(chosen, without, problems)


def _validation_data(plan: Mapping[str, Any], classes: int) -> ValidationData:
    """What the members predict of the validation items, and these items' labels; raises WrongInput."""
    try:
        labels = array_files.read_npz(Path(plan["data"]), ("y_val",))["y_val"].astype("int64")
    except (array_files.BadArrays, KeyError, OSError, TypeError) as error:
        raise WrongInput(f"{plan.get('data')} is no prepared data with validation items: {error}") from error
    arrays = []
    for member in plan["members"]:
        if not member.get("validation"):
            raise WrongInput(f"{member['member']} has no predictions of the validation items, which {plan['method']} needs")
        array = _probabilities(member, "validation")
        if array.shape != (len(labels), classes):
            raise WrongInput(
                f"{member['member']}'s validation predictions have the shape {array.shape}, not {(len(labels), classes)}"
            )
        arrays.append(np.asarray(array))
    return ValidationData(arrays, labels)


def _probabilities(member: Mapping[str, Any], key: str) -> Any:
    """A member's probabilities, mapped into memory; raises WrongInput for a file that has none."""
    try:
        return array_files.read_npy(Path(member[key]))
    except (array_files.BadArrays, OSError) as error:
        raise WrongInput(f"{member['member']}'s {key} {member[key]} cannot be read: {error}") from error


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
    pool: Pool,
    without: Mapping[str, Pool],
    ids: Any,
    classes: Sequence[str],
    labels: Any,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Write predictions.csv, members/<name>.csv and members/agreement.csv.

    ``arrays``: a member's probabilities each, (items, classes); ``without``: by member the pool of the others. Returns what
    belongs to each member in ensemble.json (accuracy and log loss where the labels are known, what it adds, how often it
    disagrees), and what belongs to the ensemble.
    """
    paths = {"": out / "predictions.csv", **{name: out / c.MEMBERS / f"{name}.csv" for name in names}}
    sums, count = {name: [0.0, 0.0] for name in paths}, len(arrays[0])

    def add_metrics(written: dict[str, Future[Any]], rows: slice, chunk: dict[str, Any]) -> None:
        for name, future in written.items():
            predicted = future.result()
            if labels is None or name == c.AGREEMENT:
                continue
            of_right_class = chunk[name][np.arange(len(predicted)), labels[rows]].astype("float64")
            sums[name][0] += float((predicted == labels[rows]).sum())
            sums[name][1] -= float(np.log(np.clip(of_right_class, SMALLEST, 1.0)).sum())

    with ExitStack() as stack:
        writers = {name: Writer(stack.enter_context(open(path, "wb")), classes) for name, path in paths.items()}
        file = stack.enter_context(open(out / c.MEMBERS / c.AGREEMENT, "wb"))
        agreement = Agreement(file, names, classes, without, labels)
        # Numbers are formatted outside the interpreter's lock: a thread a file, which keeps the rows in order.
        threads = {name: stack.enter_context(ThreadPoolExecutor(1)) for name in (*paths, c.AGREEMENT)}
        waiting: deque[tuple[dict[str, Future[Any]], slice, dict[str, Any]]] = deque()
        for start in range(0, count, ROWS):
            rows = slice(start, start + ROWS)
            chunk = {name: np.asarray(array[rows]) for name, array in zip(names, arrays, strict=True)}
            members = list(chunk.values())
            chunk[""] = pool(members, rows)
            items = [str(n) for n in range(start, start + len(chunk[""]))] if ids is None else ids[rows].tolist()
            written = {name: threads[name].submit(writers[name].write, items, chunk[name]) for name in paths}
            written[c.AGREEMENT] = threads[c.AGREEMENT].submit(agreement.write, items, rows, members, chunk[""])
            waiting.append((written, rows, chunk))
            # The next rows are combined while these are written; more are not kept in memory.
            if len(waiting) > 2:
                add_metrics(*waiting.popleft())
        while waiting:
            add_metrics(*waiting.popleft())
    known = {} if labels is None else sums
    own = {name: {"accuracy_here": hits / count, "loss": loss / count} for name, (hits, loss) in known.items() if name}
    added = agreement.members()
    ensemble: dict[str, Any] = {"agreement": agreement.summary()}
    if known:
        ensemble |= {"accuracy": sums[""][0] / count, "loss": sums[""][1] / count}
    return {name: {**own.get(name, {}), **added[name]} for name in names}, ensemble
