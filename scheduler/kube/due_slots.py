"""Which past slot of a CronJob its controller would start now, and the sentence about it. Values in, values out.

Source: mostRecentScheduleTime in pkg/controller/cronjob/utils.go of Kubernetes 1.34, which `cronjobs.revisions.due` ports.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cronjobs.revisions.due import most_recent_schedule_time
from jobs.fire_times import schedule
from scheduler.kube.objects import last_schedule_time
from scheduler.times import format_duration, format_time


def missed_slot(live: Mapping[str, Any], spec: Mapping[str, Any], now: datetime) -> str | None:
    """The slot (ISO 8601) that the controller, if it looked now, would run late with this specification.

    None while it is suspended. Only the latest that passed since the last scheduled time is run, and none that is older than
    the starting deadline.
    """
    if spec.get("suspend", live["spec"].get("suspend")):
        return None
    zone, deadline = spec.get("timeZone") or "UTC", spec.get("startingDeadlineSeconds")
    try:
        missed = most_recent_schedule_time(schedule.parse(spec["schedule"]), zone, last_schedule_time(live), now, deadline)
    except schedule.ScheduleError:
        return None
    return format_time(missed) if missed else None


def release_text(slot: str, starting_deadline: int | None) -> str:
    """The sentence about a slot (ISO 8601) that starts at once, and until when it would; the deadline is in seconds."""
    subject = f"the slot {slot.replace(':00Z', 'Z')} starts at once"
    if starting_deadline is None:
        return f"{subject}: it was due and has no starting deadline"
    end = format_time(datetime.fromisoformat(slot) + timedelta(seconds=starting_deadline))
    return f"{subject}: it is within its starting deadline of {format_duration(starting_deadline)}, which ends at {end}"
