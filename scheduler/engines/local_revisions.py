"""Local revisions: what this machine runs and serves, recorded in the store whenever it differs from what it was before."""

from __future__ import annotations

import hashlib
from datetime import datetime
from importlib import metadata
from typing import Any

from cronjobs.experiment import Task
from cronjobs.revisions import revisions
from cronjobs.tasks import ExperimentContext, resolve_tasks, task_schedule
from jobs import schedule_periods
from jobs.revisions import MANUAL, Revision
from jobs.store import Store
from jobs.store.files import to_json
from jobs.store.process_identity import host_name
from scheduler.identity import current_user
from scheduler.times import format_time


def engine() -> str:
    """This machine as an engine: ``host:NAME``."""
    return f"host:{host_name()}"


def _describe(settings: Task, resolved: dict[str, Any]) -> dict[str, Any]:
    return {**task_schedule(settings), "task": hashlib.sha256(to_json(resolved)).hexdigest()}


def record_revision(store: Store, context: ExperimentContext, what: str, now: datetime) -> Revision | None:
    """Append what this machine now runs or serves, unless that is what it did before; returns what was appended.

    ``what`` is run, which schedules nothing, or serve, suspend, resume or delete. Raises OSError.
    """
    name, this_engine = context.experiment.name, engine()
    recorded = store.ledger.revisions(name)
    of_this_kind = recorded if what == MANUAL else [revision for revision in recorded if revision.get("what") != MANUAL]
    last = next(reversed(schedule_periods.periods(of_this_kind, now.timestamp())), None)
    snapshot = {"program": context.program, "code": context.code}
    resolved = {} if what == "delete" else resolve_tasks(context)
    tasks = {task: _describe(settings, configuration) for task, (settings, configuration) in resolved.items()}
    if last is not None and last.engine == this_engine and last.tasks == {task: {**tasks[task], **snapshot} for task in tasks}:
        return None
    numbers = [revision["revision"] for revision in revisions.merge(recorded) if revision.get("engine") == this_engine]
    revision = {
        "revision": max(numbers, default=0) + 1,
        "time": format_time(now, milliseconds=True),
        "by": current_user(),
        "tool": metadata.version("cronsemble"),
        "what": what,
        "engine": this_engine,
        **snapshot,
        "tasks": tasks,
        "folded": 1,
    }
    # Before the first run brings them: what the revision changed can be said in words at once.
    for _, configuration in resolved.values():
        store.put_snapshot("task", to_json(configuration))
    store.ledger.add_revision(name, revision)
    return revision
