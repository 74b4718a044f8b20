"""The history of an experiment as of now: its store, and what its cluster shows."""

from __future__ import annotations

import sys
import time

from jobs.contract import RunId
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.history.observed_runs import ClusterObservation, iso
from scheduler.history.query import History
from scheduler.identity import current_user
from scheduler.stores import find_run
from scheduler.stores.location import StoreLocation


def history_of(place: StoreLocation) -> tuple[History, str]:
    """The history of an experiment as of now, and its zone: without a configuration that of its newest run.

    Where the experiment runs on a cluster it is looked at, and what was seen of runs that have ended is kept in the store.
    """
    if place.config_problem:
        print(f"{place.config_problem}\ngoing on from what {place.store.root} kept", file=sys.stderr)
    timezone = place.experiment.timezone if place.experiment else _last_zone(place)
    history = History(place.store, place.name, timezone, time.time(), _sight(place))
    _keep(history)
    return history, timezone


def _sight(place: StoreLocation) -> ClusterObservation:
    """What is to be seen on the cluster now; where none is looked at, the revisions that were seen last."""
    cluster, found = place.cluster, None
    if cluster is not None and not cluster.offline and place.experiment is not None and isinstance(place.experiment.store, dict):
        from scheduler.observe import cluster_state

        is_named = any((cluster.kubeconfig, cluster.context, cluster.namespace))
        found = cluster_state.observe_experiment(place.experiment, cluster, is_named)
    return found or ClusterObservation("", time.time(), revisions=place.cluster_revisions)


def _keep(history: History) -> None:
    """Write down what was seen: Kubernetes' objects vanish. Who cannot write has seen it all the same."""
    for seen in history.unrecorded():
        try:
            history.store.record_observation(seen.run, {"time": iso(history.sight.time), "by": current_user(), **seen.facts()})
        except (OSError, CronsembleError):
            return


def _last_zone(place: StoreLocation) -> str:
    for task in place.store.tasks(place.name):
        for run in place.store.run_ids(place.name, task):
            told = place.store.task_configuration(place.store.result(run) or {}).get("timezone")
            if told:
                return str(told)
    return "UTC"


def run_named(history: History, name: str) -> RunId:
    """The run of that id in the store, else of a Job that has left nothing in it; raises UnknownRun."""
    try:
        return find_run.find_run(history.store, history.experiment, name).id
    except UnknownRun:
        found = [seen.run for seen in history.sight.seen.values() if name in str(seen.run)]
        exact = [run for run in found if str(run) == name] or found
        if len(exact) != 1:
            raise
        return exact[0]
