"""`delete`: the desired state of an experiment that is to go from a namespace. Its store is never touched."""

from __future__ import annotations

from scheduler.sync.desired_state import DesiredState


def deleted_state(experiment: str, namespace: str, purge: bool = False) -> DesiredState:
    """Without CronJobs, Jobs and snapshots that nothing else needs; with ``purge`` without its revisions too."""
    return DesiredState(experiment, namespace, is_deleted=True, purge=purge)
