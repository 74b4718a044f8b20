"""`gc` of a store beside which this program runs: plans and removals as objects. Standard library alone, Python 3.9."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.contract import RunId, parse_run_id
from jobs.store import LocalStore
from jobs.store.gc import RemovalItem, RemovalKind, RetentionRule, execute_removal, plan_removal
from jobs.store.safe_paths import split_path

BATCH = 100
"""Items after whose removal it is said what became of them."""


def rule_of(request: dict[str, Any]) -> RetentionRule:
    """The rule that a request has as ``kinds``, ``age`` (seconds) and ``keep``."""
    return RetentionRule([RemovalKind(kind) for kind in request["kinds"]], float(request["age"]), int(request["keep"]))


def plan(store: LocalStore, request: dict[str, Any]) -> dict[str, Any]:
    """What the rule of a request removes of its ``experiment`` now: ``items``, ``runs`` and ``consequences``.

    ``runs`` has task and name of those that are removed as a whole.
    """
    planned = plan_removal(store, str(request["experiment"]), rule_of(request), time.time())
    return {
        "items": [item_as_object(item, store.root) for item in planned.items],
        "runs": [[run.task, str(run)] for run, _ in planned.rows],
        "consequences": planned.consequences,
    }


def remove(store: LocalStore, request: dict[str, Any], items: list[dict[str, Any]]) -> Iterator[bytes]:
    """Remove these items of a plan, as far as the same rule still says so: what became of them, as lines of JSON.

    Of each its number and its problem, which is empty if it has gone.
    """
    planned = [item_from_object(item, store.root) for item in items]
    removed = execute_removal(
        store, str(request["experiment"]), rule_of(request), planned, time.time(), str(request["time"]), str(request["by"])
    )
    lines = []
    for number, one in enumerate(removed):
        lines.append(json.dumps([number, one.problem]).encode() + b"\n")
        if len(lines) == BATCH:
            yield b"".join(lines)
            lines = []
    yield b"".join(lines)


def item_as_object(item: RemovalItem, root: Path) -> dict[str, Any]:
    """An item with its path relative to the store."""
    return {
        "kind": str(item.kind),
        "path": item.path.relative_to(root).as_posix(),
        "name": item.name,
        "size": item.size,
        "reason": item.reason,
        "run": None if item.run is None else [item.run.experiment, item.run.task, str(item.run)],
    }


def item_from_object(value: dict[str, Any], root: Path) -> RemovalItem:
    """The item that :func:`item_as_object` wrote; raises ValueError, KeyError or TypeError for anything else."""
    run: RunId | None = None
    if value["run"] is not None:
        experiment, task, name = value["run"]
        run = parse_run_id(name, experiment, task)
        if run is None:
            raise ValueError(f"{name}: no run of {experiment}'s {task}")
    path = root.joinpath(*split_path(value["path"]))
    return RemovalItem(RemovalKind(value["kind"]), path, value["name"], int(value["size"]), value["reason"], run)
