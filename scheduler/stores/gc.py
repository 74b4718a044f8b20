"""`gc`: plans and executes a removal where the store is: on this machine, or beside one that only a cluster mounts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from jobs.contract import parse_run_id
from jobs.remote.gc import item_as_object, item_from_object
from jobs.store import LocalStore, Store
from jobs.store import gc as store_gc
from jobs.store.gc import RemovalItem, RemovalPlan, Removed, RetentionRule, item_list, row_list
from scheduler.identity import current_user
from scheduler.times import format_time


def plan_removal(store: Store, experiment: str, rule: RetentionRule) -> RemovalPlan:
    """What a rule removes of an experiment now; raises CronsembleError where the store cannot be reached."""
    if isinstance(store, LocalStore):
        return store_gc.plan_removal(store, experiment, rule, time.time())
    answer = _remote(store).plan_gc(**_request(experiment, rule))
    items = item_list(store.root, (item_from_object(item, store.root) for item in answer["items"]))
    runs = (parse_run_id(str(run), experiment, str(task)) for task, run in answer["runs"])
    return RemovalPlan(items, row_list((run, {}) for run in runs if run is not None), list(answer["consequences"]))


def execute_removal(store: Store, experiment: str, rule: RetentionRule, planned: Iterable[RemovalItem]) -> Iterator[Removed]:
    """Remove what was planned, as far as the rule still says so; see :func:`jobs.store.gc.execute_removal`."""
    now, user = time.time(), current_user()
    stamp = format_time(now, milliseconds=True)
    if isinstance(store, LocalStore):
        yield from store_gc.execute_removal(store, experiment, rule, planned, now, stamp, user)
        return
    planned = list(planned)
    items = [item_as_object(item, store.root) for item in planned]
    for number, problem in _remote(store).run_gc(items, **_request(experiment, rule), time=stamp, by=user):
        yield Removed(planned[number], problem)


def _request(experiment: str, rule: RetentionRule) -> dict[str, Any]:
    return {"experiment": experiment, "kinds": [str(kind) for kind in rule.kinds], "age": rule.age, "keep": rule.keep}


def _remote(store: Store) -> Any:
    # Late: what reaches a cluster takes 0.1 s to load.
    from scheduler.stores.remote.files import RemoteFiles

    assert isinstance(store.files, RemoteFiles)
    return store.files
