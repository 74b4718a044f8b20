"""When a CronJob fires before and after a change, and which past slot the change makes the controller run late.

An edited schedule or zone only asks for the next time: what the new one has passed since the last scheduled time waits for
another event of the CronJob. Every other change, a resume too, is such an event, and what was due then starts at once.
Source: updateCronJob in pkg/controller/cronjob/cronjob_controllerv2.go of Kubernetes 1.34.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jobs.fire_times import fires, schedule
from scheduler.kube import due_slots
from scheduler.kube.due_slots import missed_slot
from scheduler.kube.objects import last_schedule_time
from scheduler.sync.plan import FireTimes
from scheduler.times import format_time


def fire_times(live: Mapping[str, Any] | None, spec: Mapping[str, Any], now: datetime) -> FireTimes:
    """The fire times of a CronJob that gets this specification; ``live`` is None for a new one."""
    if live is None:
        return FireTimes(None, next_fire(spec, now, now))
    return FireTimes(
        next_fire(live["spec"], now, last_schedule_time(live)),
        next_fire(spec, now, last_schedule_time(live)),
        missed_slot(live, spec, now),
    )


def released_slot(live: Mapping[str, Any], spec: Mapping[str, Any], now: datetime) -> FireTimes | None:
    """The past slot, as ``latent``, that the controller runs at once when a CronJob gets this specification; None for none.

    The schedule and the zone are those that it has.
    """
    has_active = bool((live.get("status") or {}).get("active"))
    if has_active and spec.get("concurrencyPolicy") == "Forbid":
        return None
    latent = missed_slot(live, spec, now)
    return None if latent is None else FireTimes(None, None, latent, True, spec.get("startingDeadlineSeconds"))


def release_text(fires: FireTimes) -> str:
    """The sentence about a slot that starts at once."""
    deadline = fires.starting_deadline
    return due_slots.release_text(str(fires.latent), deadline if isinstance(deadline, int) else None)


def next_fire(spec: Mapping[str, Any], now: datetime, anchor: datetime) -> str | None:
    """The next fire time after ``now`` as ISO 8601 in UTC, whether or not the CronJob is suspended.

    None for never, and for a schedule that cannot be read. ``anchor`` is the last scheduled time, or that of the
    CronJob's creation: from there ``@every`` counts.
    """
    try:
        parsed = schedule.parse(spec["schedule"])
    except schedule.ScheduleError:
        return None
    if parsed.every is not None:
        return next((format_time(fire) for fire in fires.fires(parsed, "UTC", anchor) if fire > now), None)
    # Fire times are whole minutes: every instant of a minute has the same next one.
    return _after(spec["schedule"], spec.get("timeZone") or "UTC", now.replace(second=0, microsecond=0))


@functools.lru_cache(maxsize=8192)
def _after(expression: str, timezone: str, minute: datetime) -> str | None:
    return next((format_time(fire) for fire in fires.fires(schedule.parse(expression), timezone, minute)), None)
