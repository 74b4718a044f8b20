"""The latest predictions, brought up to date where the store is: on this machine, or beside one that only a cluster mounts."""

from __future__ import annotations

from jobs.contract import ENSEMBLE_TASK, parse_run_id
from jobs.store import LocalStore, Store
from jobs.store import latest_predictions as store_latest
from jobs.store.latest_predictions import LatestUpdate


def update_latest(store: Store, experiment: str) -> LatestUpdate:
    """See :func:`jobs.store.latest_predictions.update_latest`; raises CronsembleError where the store cannot be reached."""
    if isinstance(store, LocalStore):
        return store_latest.update_latest(store, experiment)
    # Late: what reaches a cluster takes 0.1 s to load.
    from scheduler.stores.remote.files import RemoteFiles

    assert isinstance(store.files, RemoteFiles)
    run, problem = store.files.update_latest(experiment)
    return LatestUpdate(None if run is None else parse_run_id(run, experiment, ENSEMBLE_TASK), problem)
