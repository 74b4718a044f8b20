"""Writes into an experiment's store what its cluster has recorded: who reads the store without the cluster must know it too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cronjobs.revisions.revisions import Revision, merge
from jobs.schedule_periods import scheduling_periods
from scheduler import VERSION
from scheduler.identity import current_user
from scheduler.kube.errors import KubeError
from scheduler.stores.location import StoreLocation
from scheduler.stores.workspace import open_workspace
from scheduler.times import format_time


def record_deletion(location: StoreLocation, revisions: Iterable[Revision], engine: str, now: float) -> None:
    """Write the revisions of the cluster's ConfigMap into the store, and those given, which it has no longer.

    One is added that ends at ``now``, by the server's clock, what a cluster's engine (``cluster:<server>/<namespace>``) still
    schedules. Raises CronsembleError and OSError where the store cannot be reached or written.
    """
    with open_workspace(location) as workspace:
        files = workspace.store.files
        if files.is_offline:
            raise KubeError(f"{files.display_path(workspace.store.root)} cannot be written now")
        ledger, name = workspace.store.ledger, workspace.name
        known = merge(ledger.revisions(name), workspace.cluster_revisions, revisions)
        end = end_of_schedules(known, engine, now)
        ledger.add_revisions(name, [*known, *([end] if end else [])])


def end_of_schedules(revisions: Iterable[Revision], engine: str, now: float) -> dict[str, Any] | None:
    """The revision that ends at ``now`` (seconds since 1970) what a cluster's engine schedules; None where that is nothing.

    Its time is in whole seconds, as those of a cluster are: with a fraction it would end what is synced in the same second.

    The same cluster may have been reached at another address; what a machine or another namespace has taken over goes on.
    """
    revisions = list(revisions)
    latest = next(reversed(scheduling_periods(revisions, now)), None)
    namespace = engine.rpartition("/")[2]
    if latest is None or not latest.tasks:
        return None
    if not latest.engine.startswith("cluster:") or latest.engine.rpartition("/")[2] != namespace:
        return None
    number = max((int(revision["revision"]) for revision in revisions if revision.get("engine") == engine), default=0) + 1
    return {
        "revision": number,
        "time": format_time(max(now, latest.start)),
        "by": current_user(),
        "tool": VERSION,
        "what": "delete",
        "engine": engine,
        "gone": sorted(latest.tasks),
    }
