"""What a run that has just ended lacks although it succeeded, as the history will say it."""

from __future__ import annotations

import time

from jobs.contract import ENSEMBLE_TASK, Status
from jobs.store import Run, Store
from scheduler.errors import CronsembleError
from scheduler.history.query import HistoryQuery
from scheduler.stores.history_reader import HistoryReader


def degraded_reason(store: Store, timezone: str, run: Run) -> str:
    """What a run lacks; empty if nothing. Times in it are in ``timezone``.

    Which older models an ensemble took follows from the schedules; where these cannot be read, what its record says is all.
    """
    if run.status != Status.SUCCEEDED or run.id.task != ENSEMBLE_TASK:
        return run.degraded
    try:
        reader = HistoryReader(store, run.id.experiment, timezone, time.time())
        rows = reader.rows(HistoryQuery(run.id.minute, run.id.minute, (ENSEMBLE_TASK,)))
    except (OSError, CronsembleError):
        return run.degraded
    return next((row.degraded for row in rows if row.run == str(run.id)), run.degraded)
