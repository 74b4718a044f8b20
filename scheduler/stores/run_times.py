"""What the runs in a store say of their times: how long they took, and the last scheduled slot."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from cronjobs.experiment import Experiment
from cronjobs.tasks import tasks_of
from jobs.contract import RunKind

if TYPE_CHECKING:
    from jobs.store import Store

_LATELY = 5


def store_if_present(experiment: Experiment) -> Store | None:
    """The store where it is a folder that is there."""
    if not isinstance(experiment.store, str):
        return None
    root = experiment.folder / experiment.store
    if not root.is_dir():
        return None
    from jobs.store import LocalStore

    return LocalStore(root)


def longest_durations(store: Store | None, experiment: Experiment) -> dict[str, float]:
    """By task the seconds that its longest run took, of its latest that succeeded."""
    found: dict[str, float] = {}
    for name, _ in tasks_of(experiment) if store else ():
        assert store is not None
        records = (store.result(run) for run in islice(store.run_ids(experiment.name, name), 4 * _LATELY))
        for record in islice((each for each in records if each), _LATELY):
            try:
                took = datetime.fromisoformat(record["finished"]) - datetime.fromisoformat(record["started"])
            except (KeyError, ValueError, TypeError):
                continue
            found[name] = max(found.get(name, 0.0), took.total_seconds())
    return found


def last_scheduled_slots(store: Store | None, experiment: Experiment) -> dict[str, datetime]:
    """By task the last scheduled slot, from which Kubernetes counts @every on."""
    found = {}
    for name, task in tasks_of(experiment) if store else ():
        assert store is not None
        if not (task.schedule or "").startswith("@every"):
            continue
        for run in store.run_ids(experiment.name, name):
            if (store.result(run) or {}).get("kind") == RunKind.SCHEDULED:
                found[name] = run.slot
                break
    return found
