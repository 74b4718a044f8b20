"""Which run of a task was accepted last before another: what a gate compares with. Standard library alone, Python 3.9."""

from __future__ import annotations

from typing import Any

from jobs.contract import ENSEMBLE_TASK, RunId, RunKind, parse_time
from jobs.store.latest_model import is_candidate
from jobs.store.latest_predictions import may_be_latest
from jobs.store.store import Store


def last_accepted(store: Store, run: RunId, kind: str | None) -> tuple[RunId, dict[str, Any]] | None:
    """The newest accepted run of a task at a slot before a run's own, with its record; None if there is none.

    ``kind`` is the run's. A backfill judges as of its date: by the decisions by hand that there were then.
    """
    at = run.minute * 60.0 if kind == RunKind.BACKFILL else None
    for other in store.run_ids(run.experiment, run.task):
        if other.minute >= run.minute:
            continue
        record = store.result(other)
        if record is not None and counts_for_others(other, record) and not store.refusal(other, record, _as_of(record, at)):
            return other, record
    return None


def counts_for_others(run: RunId, record: dict[str, Any]) -> bool:
    """Whether a published run is of those of which the newest accepted one is the latest: model, or predictions."""
    return may_be_latest(record) if run.task == ENSEMBLE_TASK else is_candidate(record, "")


def _as_of(record: dict[str, Any], at: float | None) -> float | None:
    """As of when decisions about a run count: of one that came after ``at`` nothing could be decided by then."""
    finished = parse_time(record.get("finished"))
    return None if at is None or finished is None or finished > at else at
