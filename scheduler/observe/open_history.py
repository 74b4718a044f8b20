"""Opens the history of an experiment as of now: its store, and what its cluster shows; keeps what only the cluster showed."""

from __future__ import annotations

import time

from jobs.contract import NoteEvent, RunId
from jobs.store.process_identity import host_name
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.history.observed_runs import ClusterObservation
from scheduler.identity import current_user
from scheduler.notices import notify
from scheduler.stores import find_run
from scheduler.stores.history_reader import HistoryReader
from scheduler.stores.workspace import Workspace
from scheduler.times import format_time


def open_history(workspace: Workspace) -> HistoryReader:
    """The history of an experiment as of now, by the clock of the cluster that is observed, if one is.

    Without a configuration, dates are in the zone of its newest run.

    Where the experiment runs on a cluster that is observed, and what it shows of ended runs is kept in the store.
    """
    if workspace.config_problem:
        notify(workspace.config_problem)
        notify(f"the history is read from {workspace.store.root} alone")
    observation = _observation(workspace)
    reader = HistoryReader(
        workspace.store, workspace.name, workspace.timezone, observation.time, observation, workspace.store_time
    )
    _record_observations(reader)
    return reader


def _observation(workspace: Workspace) -> ClusterObservation:
    """What the cluster shows; where none is observed, the revisions that were read from it last."""
    target, experiment, observation = workspace.target, workspace.experiment, None
    if not target.offline and experiment is not None and not isinstance(experiment.store, str):
        from scheduler.observe import cluster_state

        is_named = any((target.kubeconfig, target.context, target.namespace))
        observation = cluster_state.observe_experiment(experiment, target, is_named, workspace.store)
    return observation or ClusterObservation("", time.time(), revisions=workspace.cluster_revisions)


def _record_observations(reader: HistoryReader) -> None:
    """Write down what was observed of ended runs: Kubernetes removes its objects. No error where the store cannot be written."""
    seen = {"time": format_time(reader.history.observation.time), "by": current_user()}
    try:
        for job in reader.unrecorded_jobs():
            reader.store.record_observation(job.run, {**seen, **job.observation()})
        refusals = reader.unrecorded_refusals()
        # No run may bring them into the store: after `suspend` or `delete` there is none.
        reader.store.ledger.add_revisions(reader.history.experiment, reader.history.observation.revisions)
        for task, minute, reason in refusals:
            note = {**seen, "task": task, "minute": minute, "event": NoteEvent.REFUSED, "reason": reason}
            reader.store.ledger.add_note(reader.history.experiment, host_name(), note)
    except (OSError, CronsembleError):
        return


def find_run_or_job(reader: HistoryReader, name: str, task: str | None = None) -> RunId:
    """The run that a name means (:func:`scheduler.stores.find_run.find_run`), or of a Job that has left nothing in the store.

    Raises UnknownRun.
    """
    history = reader.history
    jobs = list(history.observation.jobs.values())
    try:
        return find_run.find_run(
            reader.store,
            history.experiment,
            name,
            task,
            jobs=[job.run for job in jobs],
            timezone=history.timezone,
        ).id
    except UnknownRun:
        by_hand = [job.run for job in jobs if job.name == name]
        if len(by_hand) != 1:
            raise
        return by_hand[0]
