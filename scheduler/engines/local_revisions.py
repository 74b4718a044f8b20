"""Local revisions: what this machine runs is recorded in the store, once for as long as it stays the same."""

from __future__ import annotations

import hashlib
import socket
from datetime import datetime
from importlib import metadata
from typing import Any

from cronjobs.experiment import Task
from cronjobs.revisions import periods, revisions
from cronjobs.revisions.revisions import Revision
from cronjobs.tasks import ExperimentContext, ensemble_task, train_task
from jobs.contract import ENSEMBLE_TASK, member_task
from jobs.store import Store
from jobs.store.files import to_json
from scheduler.identity import current_user
from scheduler.times import format_time


def engine() -> str:
    """This machine as an engine."""
    return f"host:{socket.gethostname()}"


def describe_tasks(context: ExperimentContext) -> revisions.Tasks:
    """What a revision says of each task of a configuration."""
    experiment = context.experiment
    found = {member_task(name): _told(member, train_task(context, member)) for name, member in experiment.members.items()}
    if experiment.ensemble is not None:
        found[ENSEMBLE_TASK] = _told(experiment.ensemble, ensemble_task(context, experiment.ensemble))
    return found


def _told(task: Task, resolved: dict[str, Any]) -> dict[str, Any]:
    told = {
        "schedule": task.schedule,
        "timezone": task.timezone,
        "suspend": task.suspend,
        "concurrency": task.concurrency.capitalize(),
        "starting_deadline": int(task.starting_deadline),
        "deadline": int(task.deadline),
        "task": hashlib.sha256(to_json(resolved)).hexdigest(),
    }
    return {key: value for key, value in told.items() if value is not None}


def record_revision(store: Store, context: ExperimentContext, what: str, now: datetime) -> Revision | None:
    """Append what this machine now runs or serves, unless that is what it did before; returns what was appended.

    ``what`` is run, which schedules nothing, or serve, suspend, resume or delete.
    """
    name, mine = context.experiment.name, engine()
    known = store.ledger.revisions(name)
    asked = known if what == revisions.MANUAL else [each for each in known if each.get("what") != revisions.MANUAL]
    last = next(reversed(periods.periods(asked, now.timestamp())), None)
    held = {"program": context.program, "code": context.code}
    tasks = {} if what == "delete" else describe_tasks(context)
    if last is not None and last.engine == mine and last.tasks == {task: {**told, **held} for task, told in tasks.items()}:
        return None
    numbers = [each["revision"] for each in revisions.merge(known) if each.get("engine") == mine]
    revision = {
        "revision": max(numbers, default=0) + 1,
        "time": format_time(now, milliseconds=True),
        "by": current_user(),
        "tool": metadata.version("cronsemble"),
        "what": what,
        "engine": mine,
        **held,
        "tasks": tasks,
        "folded": 1,
    }
    store.ledger.add_revision(name, revision)
    return revision
