"""From the events of CronJobs to why they created no Job. Values in, values out; the shape is that of v1 Event.

The reasons and messages are those of Kubernetes' controller (pkg/controller/cronjob/cronjob_controllerv2.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from scheduler.history.cronjob_warnings import CronJobWarning
from scheduler.observe.run_status import message_line

_SUMMARIES = {
    "FailedCreate": "its Job is refused",
    "MissSchedule": "the controller came too late to start it within starting_deadline",
    "TooManyMissedTimes": "the controller started nothing for a long time, and then only the latest of more than 100 slots",
    "UnparseableSchedule": "the cluster cannot read its schedule",
    "InvalidSchedule": "the cluster cannot read its schedule",
    "UnknownTimeZone": "the cluster does not know its time zone",
    "UnsupportedSchedule": "the cluster does not take its schedule",
}
"""By the reason of a warning about a CronJob."""
_WITHOUT_MESSAGE = ("MissSchedule", "TooManyMissedTimes")
_PREFIXES = re.compile(r'^(\(combined from similar events\): )?(Error creating job: )?(jobs\.batch "[^"]*" is forbidden: )?')


def cronjob_warnings(events: Iterable[Mapping[str, Any]], tasks: Mapping[str, str]) -> list[CronJobWarning]:
    """The warnings in these events about CronJobs, oldest first; ``tasks``: by the name of a CronJob its task."""
    warnings = []
    for event in events:
        subject = event.get("involvedObject") or {}
        task = tasks.get(str(subject.get("name", ""))) if subject.get("kind") == "CronJob" else None
        if task is not None and event.get("reason") in _SUMMARIES:
            warnings.append(_warning(event, str(subject["name"]), task))
    return sorted(warnings, key=lambda warning: (warning.last, warning.first))


def _warning(event: Mapping[str, Any], cronjob: str, task: str) -> CronJobWarning:
    reason, message = str(event["reason"]), str(event.get("message") or "")
    text = _SUMMARIES[reason]
    if reason not in _WITHOUT_MESSAGE:
        text += f": {message_line(_PREFIXES.sub('', message))}"
    first, last = _times(event)
    return CronJobWarning(
        cronjob,
        task,
        text,
        first,
        last,
        _minute(reason, message, cronjob),
        is_refusal=reason == "FailedCreate",
        is_earlier=reason == "TooManyMissedTimes",
    )


def _minute(reason: str, message: str, cronjob: str) -> int | None:
    """The slot that an event names: by its Job's name or its time. A combined event is about several."""
    if message.startswith("(combined"):
        return None
    if reason == "MissSchedule":
        try:
            return int(parsedate_to_datetime(message.partition(": ")[2]).timestamp()) // 60
        except ValueError:
            return None
    named = re.search(rf'"{re.escape(cronjob)}-([0-9]{{1,10}})"', message)
    return int(named[1]) if named else None


def _times(event: Mapping[str, Any]) -> tuple[float, float]:
    series = event.get("series") or {}
    created = (event.get("metadata") or {}).get("creationTimestamp")
    first = event.get("firstTimestamp") or event.get("eventTime") or created
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    return _seconds(first), _seconds(last)


def _seconds(time: Any) -> float:
    return datetime.fromisoformat(str(time)).timestamp() if time else 0.0
