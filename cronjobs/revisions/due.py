"""What is due: what Kubernetes' CronJob controller would do now with one task, decided from values alone.

Reference: syncCronJob and mostRecentScheduleTime of Kubernetes 1.34. Of the times that were missed only the latest is made up
for, and only within the starting deadline; `forbid` lets it wait for the running run, `replace` ends that run, `allow` starts
beside it; a suspended task starts nothing, and its latest time is made up for when it is resumed. A time that had passed its
deadline is made up for when an edit raises the deadline. Two things `decide` does otherwise: a time that an edited schedule
finds already passed, which a controller leaves latent until something else happens, is dropped; and a time that the
controller's estimate jumps over (see `most_recent_schedule_time`) is made up for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, takewhile
from math import inf

from jobs.expected_slots import expected, following
from jobs.fire_times.fires import instants, seconds
from jobs.fire_times.schedule import Schedule
from jobs.fire_times.zones import zone
from jobs.schedule_periods import SchedulePeriod

LATER, DEADLINE, EDIT = "a later time came", "its starting deadline passed", "the schedule was edited"
MOST = 100
"""So many slots of one task are reported lost at once; of more only the newest."""


@dataclass(frozen=True)
class TaskHistory:
    """What is known of one task. Slots are minutes since 1970.

    ``periods`` are its schedules, the last one holding; ``started`` the slots that have a run of the schedule, at least those
    within the starting deadline; ``active`` the slots whose runs are running; ``waiting`` the slot that was due and could not
    start; ``settled`` the minute up to which every slot but that one is decided.
    """

    periods: Sequence[SchedulePeriod]
    started: Collection[int]
    active: Collection[int]
    waiting: int | None
    settled: int


@dataclass(frozen=True)
class Decision:
    """``start`` is the slot to start now, in place of the runs of ``replaced``; ``waiting`` the one that is due and may not.

    ``lost`` are slots that will never run, and why; ``coming`` is the next slot; ``wake`` is when to decide again, in seconds
    since 1970, if nothing else happens.
    """

    start: int | None
    replaced: tuple[int, ...]
    waiting: int | None
    lost: tuple[tuple[int, str], ...]
    settled: int
    coming: int | None
    wake: float


def decide(known: TaskHistory, now: float) -> Decision:
    """The decision at ``now``, in seconds since 1970."""
    period = known.periods[-1]
    plan, minute = period.task_schedule, int(now // 60)
    deadline = inf if plan.starting_deadline is None else float(plan.starting_deadline)
    candidate = None if plan.suspend else _latest(known, now, deadline)
    start = waiting = None
    replaced: tuple[int, ...] = ()
    if candidate is not None:
        if known.active and plan.concurrency == "Forbid":
            waiting = candidate
        else:
            start = candidate
            replaced = tuple(sorted(known.active)) if plan.concurrency == "Replace" else ()
    lost = () if plan.suspend else tuple(_lost(known, candidate, now, deadline))
    coming = following(known.periods, now)
    wake = inf if coming is None else coming * 60.0
    if waiting is not None and deadline < inf:
        wake = min(wake, waiting * 60 + deadline + 1)
    # While it is suspended nothing is decided: its latest time may yet be made up for.
    settled = known.settled if plan.suspend else max(known.settled, minute)
    # A suspended task's latest time waits for the day when it is resumed.
    waits = known.waiting if plan.suspend else waiting
    return Decision(start, replaced, waits, lost, settled, coming, wake)


def most_recent_schedule_time(
    schedule: Schedule, timezone: str, since: datetime, now: datetime, starting_deadline: int | None = None
) -> datetime | None:
    """The time for which a controller that looks at ``now`` would start a Job; None for none.

    ``since`` is the last scheduled time, or the CronJob's creation; ``starting_deadline`` is in seconds. For a schedule whose
    times lie unevenly the controller's estimate may lie beyond the latest of them, and then it starts nothing until the next.
    Source: mostRecentScheduleTime in pkg/controller/cronjob/utils.go of Kubernetes 1.34.
    """
    # The deadline is counted from now with its fraction, and cut when the next time is sought.
    deadline = inf if starting_deadline is None else float(starting_deadline)
    low, end = int(_earliest(since.timestamp(), now.timestamp(), deadline) // 1), seconds(now)
    area = zone(timezone)
    times = list(islice(instants(schedule, area, low), 2))
    # With no second time the controller takes it for a schedule that makes no sense.
    if len(times) < 2 or end < times[0]:
        return None
    first, second = times
    if end >= second:
        apart = second - first
        missed = (end - first) // apart + 1
        last = _last(instants(schedule, area, first + (missed - 2) * apart), end)
        return None if last is None else datetime.fromtimestamp(last, UTC)
    return datetime.fromtimestamp(first, UTC)


def _earliest(since: float, now: float, deadline: float) -> float:
    """The instant after which a time must lie to be made up for; all in seconds."""
    return max(since, now - deadline)


def _last(times: Iterator[int], until: int) -> int | None:
    """The last of some ascending times up to one."""
    last = deque(takewhile(lambda time: time <= until, times), maxlen=1)
    return last[0] if last else None


def since(periods: Sequence[SchedulePeriod]) -> float:
    """When the schedule that holds came to hold: other changes of a plan leave due what was due."""
    start = periods[-1].start
    for later, before in zip(reversed(periods), list(reversed(periods))[1:], strict=False):
        own, other = later.task_schedule, before.task_schedule
        joined = before.end == later.start and before.engine == later.engine
        if not joined or (own.schedule, own.timezone) != (other.schedule, other.timezone):
            break
        start = before.start
    return start


def _latest(known: TaskHistory, now: float, deadline: float) -> int | None:
    """The latest time that passed and is not begun, if it is within the deadline and later than any that was begun."""
    # A clock that was set back finds times begun that lie ahead of it: they say nothing of those before.
    last = max((slot for slot in known.started if slot * 60 <= now), default=None)
    low = _earliest(max(since(known.periods), -inf if last is None else last * 60.0), now, deadline)
    slots = expected(known.periods, low, now)
    while slots:
        slot = slots.pop()[0]
        # Whole seconds: what is exactly the deadline old is too old, as in the controller.
        if slot not in known.started and slot * 60 > low:
            return slot
    return None


def _lost(known: TaskHistory, candidate: int | None, now: float, deadline: float) -> list[tuple[int, str]]:
    floor = since(known.periods)
    slots = {
        slot: period for slot, period in expected(known.periods, known.settled * 60 + 59, now) if not period.task_schedule.suspend
    }
    gone = set(slots)
    if known.waiting is not None:
        gone.add(known.waiting)
    gone -= {candidate, *known.started}
    lost = []
    for slot in sorted(gone)[-MOST:]:
        if slot * 60 <= floor:
            lost.append((slot, EDIT))
        else:
            lost.append((slot, DEADLINE if slot * 60 + deadline <= now else LATER))
    return lost
