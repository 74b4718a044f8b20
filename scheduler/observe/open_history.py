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
from scheduler.stores.workspace import Workspace


def history_of(workspace: Workspace) -> tuple[History, str]:
    """The history of an experiment as of now, and its zone: without a configuration that of its newest run.

    Where the experiment runs on a cluster it is looked at, and what was seen of runs that have ended is kept in the store.
    """
    if workspace.config_problem:
        print(f"{workspace.config_problem}\ngoing on from what {workspace.store.root} kept", file=sys.stderr)
    timezone = workspace.experiment.timezone if workspace.experiment else _last_zone(workspace)
    history = History(workspace.store, workspace.name, timezone, time.time(), _sight(workspace))
    _keep(history)
    return history, timezone


def _sight(workspace: Workspace) -> ClusterObservation:
    """What is to be seen on the cluster now; where none is looked at, the revisions that were seen last."""
    target, experiment, found = workspace.target, workspace.experiment, None
    if not target.offline and experiment is not None and not isinstance(experiment.store, str):
        from scheduler.observe import cluster_state

        is_named = any((target.kubeconfig, target.context, target.namespace))
        found = cluster_state.observe_experiment(experiment, target, is_named)
    return found or ClusterObservation("", time.time(), revisions=workspace.cluster_revisions)


def _keep(history: History) -> None:
    """Write down what was seen: Kubernetes' objects vanish. Who cannot write has seen it all the same."""
    for seen in history.unrecorded():
        try:
            history.store.record_observation(seen.run, {"time": iso(history.sight.time), "by": current_user(), **seen.facts()})
        except (OSError, CronsembleError):
            return


def _last_zone(workspace: Workspace) -> str:
    for task in workspace.store.tasks(workspace.name):
        for run in workspace.store.run_ids(workspace.name, task):
            told = workspace.store.task_configuration(workspace.store.result(run) or {}).get("timezone")
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
