"""Times from the runs in a store of this machine: how long a task's runs took, and its last scheduled slot."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from cronjobs.experiment import Experiment
from cronjobs.tasks import tasks_of
from jobs.contract import RunKind, parse_time

if TYPE_CHECKING:
    from jobs.store import LocalStore

_RECENT = 5
"""How many of a task's latest successes count."""


def store_if_present(experiment: Experiment) -> LocalStore | None:
    """The experiment's store, if it is a folder of this machine that exists."""
    if not isinstance(experiment.store, str):
        return None
    root = experiment.folder / experiment.store
    if not root.is_dir():
        return None
    from jobs.store import LocalStore

    return LocalStore(root)


def longest_durations(store: LocalStore | None, experiment: Experiment) -> dict[str, float]:
    """By task the longest duration, in seconds, of its latest runs that succeeded."""
    durations: dict[str, float] = {}
    if store is None:
        return durations
    for name, _ in tasks_of(experiment):
        records = (store.result(run) for run in islice(store.run_ids(experiment.name, name, skip_unreadable=True), 4 * _RECENT))
        for record in islice(filter(None, records), _RECENT):
            finished, started = parse_time(record.get("finished")), parse_time(record.get("started"))
            if finished is not None and started is not None:
                durations[name] = max(durations.get(name, 0.0), finished - started)
    return durations


def last_scheduled_slots(store: LocalStore | None, experiment: Experiment) -> dict[str, datetime]:
    """By task with an @every schedule the last scheduled slot, from which Kubernetes counts on."""
    slots: dict[str, datetime] = {}
    if store is None:
        return slots
    for name, task in tasks_of(experiment):
        if not (task.schedule or "").startswith("@every"):
            continue
        for run in store.run_ids(experiment.name, name, skip_unreadable=True):
            if (store.result(run) or {}).get("kind") == RunKind.SCHEDULED:
                slots[name] = run.slot
                break
    return slots
