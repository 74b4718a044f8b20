"""When a CronJob fires before and after an edit, and which past slot the edit leaves to be run late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.cluster.plan import Fires


def forecast(live: dict[str, Any] | None, body: dict[str, Any], now: datetime) -> Fires:
    """``live`` is None for a new CronJob. The latent slot: facts of the controller are told in docs/kubernetes.md."""
    before = next_fire(live["spec"], now) if live else None
    return Fires(before, next_fire(body["spec"], now), _latent(live, body["spec"], now) if live else None)


def next_fire(spec: dict[str, Any], now: datetime) -> str | None:
    """The next fire time after ``now``, or None for never."""
    return None


def _latent(live: dict[str, Any], spec: dict[str, Any], now: datetime) -> str | None:
    return None


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ["UTC", "forecast", "next_fire", "timedelta"]
