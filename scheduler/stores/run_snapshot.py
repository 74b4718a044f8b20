"""What a run was made from: the hashes of its snapshot, and the task's configuration and zone among them."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs.store import Run, Store


def snapshot(run: Run) -> dict[str, str]:
    """The hashes that a run was made from: by its record, else by its newest start mark; empty if it had none."""
    hashes = run.record.get("snapshot") or next((one_try["start"].get("snapshot") for one_try in reversed(run.tries)), None)
    return dict(hashes or {})


def task_of(store: Store, run: Run) -> dict[str, Any]:
    """The resolved configuration that a run was made with, from the store's snapshots; empty if that is gone."""
    return store.task_configuration({"snapshot": snapshot(run)})


def timezone_of(store: Store, run: Run) -> str:
    """The experiment's zone, as the run's own configuration had it; UTC if that is gone or this machine knows no such zone."""
    timezone = str(task_of(store, run).get("timezone") or "UTC")
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"
    return timezone
