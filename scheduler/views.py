"""Views of the store's runs as values: rows of the history, and the finding of a run by name."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from jobs import contract as c
from jobs.store import Run, Store
from scheduler.errors import UnknownRun

COLUMNS = ("slot", "task", "status", "accuracy", "loss", "duration", "attempt", "kind", "run", "reason")


def runs(store: Store, experiment: str) -> Iterator[Run]:
    """Every run of an experiment, newest slot first."""
    ids = heapq.merge(*(store.run_ids(experiment, task) for task in store.tasks(experiment)), reverse=True)
    return map(store.read, ids)


def rows(store: Store, experiment: str, limit: int) -> list[dict[str, Any]]:
    """The newest ``limit`` runs (0: all) as rows with the keys of COLUMNS."""
    return [row(run) for run in islice(runs(store, experiment), limit or None)]


def row(run: Run) -> dict[str, Any]:
    """One run; duration in seconds, loss and accuracy on the data that the run was judged by."""
    record = run.record
    judged = record.get("metrics") or record.get("ensemble") or {}
    began = record.get("started") or (run.tries[0]["start"].get("time") if run.tries else None)
    kinds = [each["start"].get("kind") for each in run.tries]
    return {
        "slot": run.id.slot.strftime("%Y-%m-%dT%H:%MZ"),
        "task": run.id.task,
        "status": run.status,
        "accuracy": record.get("accuracy"),
        "loss": judged.get("loss"),
        "duration": _seconds(began, record.get("finished") or _last_end(run)),
        "attempt": run.id.attempt,
        "kind": record.get("kind") or next(iter(kinds), None),
        "run": str(run.id),
        "reason": run.reason,
    }


def find(store: Store, experiment: str, name: str) -> Run:
    """The run of that id, or the only one whose id holds ``name``; raises UnknownRun."""
    ids = [run for task in store.tasks(experiment) for run in store.run_ids(experiment, task)]
    exact = [run for run in ids if str(run) == name]
    found = exact or [run for run in ids if name in str(run)]
    if len(found) == 1:
        return store.read(found[0])
    if not found:
        raise UnknownRun(f"{name}: no such run in {store.root}: `cronsemble history` lists them")
    some = ", ".join(map(str, found[:3])) + (", …" if len(found) > 3 else "")
    raise UnknownRun(f"{name}: {len(found)} runs have this in their id ({some}): give more of it")


def _last_end(run: Run) -> str | None:
    ends = [each["end"].get("time") for each in run.tries if each["end"]]
    return ends[-1] if ends else None


def _seconds(start: str | None, end: str | None) -> float | None:
    if not start or not end:
        return None
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 1)


def folder_of(run: Run) -> list[str]:
    """The folders that hold a run's files: its result, else its tries."""
    if run.status == "succeeded":
        return [c.RESULT]
    return [c.TRY_PREFIX + each["name"] for each in run.tries]
