"""Missed fire times, as the CronJob controller looks for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal

from cronjobs.fire_times.fires import instants, seconds
from cronjobs.fire_times.schedule import Schedule
from cronjobs.fire_times.zones import Zone, zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class MissedTimes:
    """What the controller finds when it looks: the one time that it would start, and how many it has missed.

    ``missed`` is its own estimate: none before the first time, few, or many (over 100; only a warning). A time of
    None with few or many missed is no slip: for an uneven schedule the controller's estimate can lie beyond the last
    time, and then it starts nothing until the next.
    """

    time: datetime | None
    missed: Literal["none", "few", "many"]


def most_recent_missed(
    schedule: Schedule, timezone: str, since: datetime, now: datetime, starting_deadline: int | None = None
) -> MissedTimes:
    """The latest fire time not yet run, at ``now``.

    ``since`` is the last scheduled time, or the CronJob's creation; ``starting_deadline`` in seconds raises it.
    Source: mostRecentScheduleTime in pkg/controller/cronjob/utils.go of Kubernetes 1.34.
    """
    start, at = seconds(since), seconds(now)
    if starting_deadline is not None:
        # The deadline is counted from now with its fraction, and cut when the next time is sought.
        start = max(start, seconds(now - timedelta(seconds=starting_deadline)))
    area = zone(timezone)
    first, second = [*islice(instants(schedule, area, start), 2), None, None][:2]
    if first is None or at < first:
        return MissedTimes(None, "none")
    if second is None:
        # The controller takes it for a schedule that makes no sense, and starts nothing.
        return MissedTimes(None, "none")
    if at < second:
        return MissedTimes(_EPOCH + timedelta(seconds=first), "none")
    apart = second - first
    missed = (at - first) // apart + 1
    latest = _latest(schedule, area, first + (missed - 2) * apart, at)
    return MissedTimes(None if latest is None else _EPOCH + timedelta(seconds=latest), "many" if missed > 100 else "few")


def _latest(schedule: Schedule, area: Zone, after: int, last: int) -> int | None:
    latest = None
    for each in instants(schedule, area, after):
        if each > last:
            break
        latest = each
    return latest
