"""Local revisions: what this machine runs and serves, recorded in the store whenever it differs from what it was before."""

from __future__ import annotations

import hashlib
from datetime import datetime
from importlib import metadata
from typing import Any

from cronjobs.experiment import Task
from cronjobs.revisions import periods, revisions
from cronjobs.revisions.revisions import Revision
from cronjobs.tasks import ExperimentContext, resolve_tasks
from jobs.store import Store
from jobs.store.files import to_json
from jobs.store.process_identity import host_name
from scheduler.identity import current_user
from scheduler.times import format_time


def engine() -> str:
    """This machine as an engine: ``host:NAME``."""
    return f"host:{host_name()}"


def describe_tasks(context: ExperimentContext) -> revisions.Tasks:
    """What a revision says of each task of a configuration."""
    return {name: _describe(settings, resolved) for name, (settings, resolved) in resolve_tasks(context).items()}


def _describe(settings: Task, resolved: dict[str, Any]) -> dict[str, Any]:
    description = {
        "schedule": settings.schedule,
        "timezone": settings.timezone,
        "suspend": settings.suspend,
        "concurrency": settings.concurrency.capitalize(),
        "starting_deadline": int(settings.starting_deadline),
        "deadline": int(settings.deadline),
        "task": hashlib.sha256(to_json(resolved)).hexdigest(),
    }
    return {key: value for key, value in description.items() if value is not None}


def record_revision(store: Store, context: ExperimentContext, what: str, now: datetime) -> Revision | None:
    """Append what this machine now runs or serves, unless that is what it did before; returns what was appended.

    ``what`` is run, which schedules nothing, or serve, suspend, resume or delete. Raises OSError.
    """
    name, this_engine = context.experiment.name, engine()
    recorded = store.ledger.revisions(name)
    of_this_kind = (
        recorded if what == revisions.MANUAL else [revision for revision in recorded if revision.get("what") != revisions.MANUAL]
    )
    last = next(reversed(periods.periods(of_this_kind, now.timestamp())), None)
    snapshot = {"program": context.program, "code": context.code}
    tasks = {} if what == "delete" else describe_tasks(context)
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
    store.ledger.add_revision(name, revision)
    return revision
