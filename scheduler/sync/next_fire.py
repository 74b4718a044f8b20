"""When a CronJob fires before and after a change, and which past slot the change makes the controller run late.

An edited schedule or zone only asks for the next time: what the new one has passed since the last scheduled time waits for
another event of the CronJob. Every other change, a resume too, is such an event, and what was due then starts at once.
Source: updateCronJob in pkg/controller/cronjob/cronjob_controllerv2.go of Kubernetes 1.34.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cronjobs.fire_times import fires, schedule
from cronjobs.revisions.due import most_recent_schedule_time
from scheduler.kube.objects import last_schedule_time
from scheduler.sync.plan import FireTimes
from scheduler.times import format_duration, format_time


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
    """The sentence about a slot that starts at once, and how to leave it out."""
    slot = str(fires.latent).replace(":00Z", "Z")
    if not isinstance(fires.starting_deadline, int):
        return f"the slot {slot} starts at once: it was due and has no starting deadline"
    end = format_time(datetime.fromisoformat(str(fires.latent)) + timedelta(seconds=fires.starting_deadline))
    deadline = format_duration(fires.starting_deadline)
    return f"the slot {slot} starts at once: it is within its starting deadline of {deadline}, which ends at {end}"


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


def missed_slot(live: Mapping[str, Any], spec: Mapping[str, Any], now: datetime) -> str | None:
    """The slot that the controller, if it looked now, would run late with this specification; None while it is suspended.

    Only the latest that passed since the last scheduled time is run, and none that is older than the starting deadline.
    """
    if spec.get("suspend", live["spec"].get("suspend")):
        return None
    zone, deadline = spec.get("timeZone") or "UTC", spec.get("startingDeadlineSeconds")
    try:
        missed = most_recent_schedule_time(schedule.parse(spec["schedule"]), zone, last_schedule_time(live), now, deadline)
    except schedule.ScheduleError:
        return None
    return format_time(missed) if missed else None
