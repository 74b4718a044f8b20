"""Opens an experiment's store: this machine's, or one that only a cluster mounts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cronjobs.experiment import Experiment
from scheduler.config import ConfigErrors, load
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import StoreLocation, locate


@contextmanager
def open_store(file: Path, folder: Path | None, name: str | None, cluster: ClusterTarget) -> Iterator[StoreLocation]:
    """Like :func:`locate`, and for a store that only a cluster can mount what its mirror holds, brought up to date."""
    experiment = None if folder is not None else _of_cluster(file)
    if experiment is None:
        yield replace(locate(file, folder, name), cluster=cluster)
        return
    if name not in (None, experiment.name):
        raise CronsembleError(f"--experiment {name}: {file} declares {experiment.name}: give -f of the other, or --store DIR")
    from scheduler.stores.remote import connect

    target = cluster
    with connect.open_remote_store(experiment, target, cluster.offline) as (store, more):
        known = replace(cluster, offline=cluster.offline or store.is_offline)
        yield StoreLocation(store, experiment.name, experiment, cluster=known, cluster_revisions=more)


def _of_cluster(file: Path) -> Experiment | None:
    """What a file declares, if its store is a cluster's."""
    try:
        experiment = load(file)
    except ConfigErrors:
        return None
    return experiment if isinstance(experiment.store, dict) else None
