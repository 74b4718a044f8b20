"""What is exported of a run: its names, times, parameters, metrics and files, as values, for whatever tool takes them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import ENSEMBLE_TASK, RunId, Status, parse_run_id
from jobs.schedule_periods import at
from jobs.store import Run, Store
from jobs.store.document_files import read_document
from scheduler.errors import CronsembleError
from scheduler.history.query import ExperimentHistory
from scheduler.history.run_facts import run_fact
from scheduler.history.slot_report import decision_text
from scheduler.history.slots import Row
from scheduler.notices import notify
from scheduler.results.ensemble_result import read_ensemble
from scheduler.results.epochs import Epochs, read_epochs

FORMAT = 2
"""Of what is exported: a run that was exported in another one is completed by the next export."""
NOT_ENDED = (Status.RUNNING, Status.UNKNOWN)
"""Statuses of runs that are not exported yet."""
PREFIX = "cronsemble."
"""What the names of tags begin with."""


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics after an epoch (from 1): ``time`` is when it ended, in seconds since 1970."""

    number: int
    time: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class ExportedRun:
    """A run as it is exported. Times are in seconds since 1970; values that are no numbers are left out.

    ``params``: what it was made with; ``metrics``: of the run as a whole, their names begin with ``run/``, ``member/``,
    ``calibration/`` or ``gate/``; ``tags``: its identity and history, their names begin with PREFIX.
    """

    id: RunId
    status: str
    started: float
    finished: float
    params: Mapping[str, str]
    epochs: Sequence[EpochMetrics]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def exported_ids(rows: Sequence[Row], experiment: str) -> Iterator[tuple[RunId, Row]]:
    """The runs among the history's rows that have ended, oldest first, with their rows."""
    for row in reversed(rows):
        run = None if row.run is None else parse_run_id(row.run, experiment, row.task)
        if run is not None and row.status not in NOT_ENDED:
            yield run, row


def digest(row: Row) -> str:
    """Differs once what is exported of an ended run does, as far as its row shows it: its result never changes."""
    values = [FORMAT, row.status, row.reason, row.why, row.evidence, row.kind, row.duration, row.try_number]
    values += [row.degraded, row.items_accuracy, row.items_loss]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def exported_run(store: Store, history: ExperimentHistory, run_id: RunId, row: Row) -> ExportedRun:
    """What is exported of a run; a file of its result that is damaged is named in a notice, and left out."""
    run = store.read(run_id)
    fact, record = run_fact(run), run.record
    started = fact.started if fact.started is not None else run_id.minute * 60.0
    finished = fact.finished if fact.finished is not None else started
    task = store.task_configuration(record)
    return ExportedRun(
        run_id,
        row.status,
        started,
        max(started, finished),
        _params(run, task),
        list(_epochs(_read_epochs(store, run), started)),
        {name: value for name, value in _metrics(store, run, row).items() if _is_number(value)},
        {PREFIX + name: str(value) for name, value in _tags(store, history, run, row, task).items() if value not in (None, "")},
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _params(run: Run, task: Mapping[str, Any]) -> dict[str, str]:
    record = run.record
    if run.id.task == ENSEMBLE_TASK:
        names = ("method", "quorum", "max_age")
        ensemble = record.get("ensemble") or {}
        values = {name: ensemble.get(name, task.get(name)) for name in names}
    else:
        values = dict(record.get("hyperparameters") or task.get("hyperparameters") or {})
        values |= {name: record.get(name, task.get(name)) for name in ("seed", "threads")}
        values |= {name: task.get(name) for name in ("backend", "model")}
    gate = record.get("gate") or {}
    values |= {f"gate.{name}": limit for name, limit in (gate.get("limits") or task.get("gate") or {}).items()}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items() if value is not None}


def _read_epochs(store: Store, run: Run) -> Epochs:
    try:
        return read_epochs(store, run) if run.record else Epochs()
    except CronsembleError as error:
        notify(f"{run.id}: its epochs are left out: {error}")
        return Epochs()


def _epochs(epochs: Epochs, started: float) -> Iterator[EpochMetrics]:
    """Each epoch with its end: after the seconds of those before it and its own."""
    time = started
    for n, number in enumerate(epochs.numbers):
        values = {name: column[n] for name, column in epochs.metrics.items() if math.isfinite(column[n])}
        time += max(0.0, values.get("seconds", 0.0))
        yield EpochMetrics(number, time, values)


def _metrics(store: Store, run: Run, row: Row) -> dict[str, Any]:
    metrics: dict[str, Any] = {"run/accuracy": run.accuracy, "run/loss": run.loss, "run/duration": row.duration}
    if run.id.task != ENSEMBLE_TASK:
        metrics |= {"run/items_accuracy": row.items_accuracy, "run/items_loss": row.items_loss}
    if run.id.task == ENSEMBLE_TASK:
        ensemble = read_ensemble(store, run)
        metrics |= {f"calibration/{name}": value for name, value in ensemble.calibration.items()}
        for member in ensemble.combined_members:
            values = {"weight": member.weight, "accuracy": member.accuracy, "loss": member.loss}
            metrics |= {f"member/{member.member}/{name}": value for name, value in values.items()}
    return metrics | {f"gate/{name}": value for name, value in _gate_numbers(run.record.get("gate") or {}).items()}


def _gate_numbers(gate: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers by which a gate has compared a run with the last accepted one."""
    numbers = {name: gate.get(name) for name in ("drop", "p_value", "items", "lost", "gained")}
    low_high = gate.get("interval") or ()
    interval = dict(zip(("interval_low", "interval_high"), low_high, strict=True)) if len(low_high) == 2 else {}
    return numbers | interval if gate.get("drop") is not None else {}


def _tags(store: Store, history: ExperimentHistory, run: Run, row: Row, task: Mapping[str, Any]) -> dict[str, Any]:
    record = run.record
    period = at(history.revision_periods, run.id.minute * 60)
    verdict = read_document(run.folder / c.VERDICT) or {}
    model: Mapping[str, Any] = record.get("model") or {}
    snapshot: Mapping[str, Any] = record.get("snapshot") or {}
    tags: dict[str, Any] = {
        "run": run.id,
        "experiment": run.id.experiment,
        "task": run.id.task,
        "member": task.get("member") or run.id.task.removeprefix(c.member_task("")) if run.id.task != ENSEMBLE_TASK else None,
        "slot": row.slot,
        "local": row.local,
        "attempt": run.id.attempt,
        "status": row.status,
        "reason": row.reason,
        "why": row.why,
        "kind": row.kind,
        "revision": period.revision.get("revision") if period is not None else None,
        "verdict": verdict.get("verdict"),
        "repeats": verdict.get("repeats") or record.get("repeats"),
        "degraded": row.degraded,
        "backend": model.get("backend"),
        "image": (record.get("image") or {}).get("reference") if isinstance(record.get("image"), dict) else record.get("image"),
        "data": (record.get("data") or {}).get("fingerprint"),
        "code": snapshot.get("code"),
        "configuration": snapshot.get("task"),
    }
    tags |= {f"version.{name}": version for name, version in (model.get("versions") or record.get("versions") or {}).items()}
    gate: Mapping[str, Any] = record.get("gate") or {}
    if gate:
        tags |= {"gate": Status.REFUSED if gate.get("refused") else "accepted"}
        tags |= {f"gate.{name}": gate.get(name) for name in ("refused", "accepted", "not_judged", "previous", "note")}
    if run.decisions:
        tags["decided"] = decision_text(run.decisions[-1])
    if run.id.task == ENSEMBLE_TASK:
        for choice in read_ensemble(store, run).members:
            tags[f"model.{choice.member}"] = choice.model
            tags[f"left_out.{choice.member}"] = choice.left_out
    return tags


def artifacts(store: Store, run: RunId) -> list[tuple[Path, str]]:
    """The files of a run's result on this machine, each with its path within the result; none where it has no result."""
    if store.result(run) is None:
        return []
    store.download(run, f"{c.RESULT}/*")
    folder = store.run_folder(run) / c.RESULT
    return [(path, path.relative_to(folder).as_posix()) for path in store.list_files(run, c.RESULT)]
