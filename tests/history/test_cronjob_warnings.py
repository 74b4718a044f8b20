"""From a controller's events about a CronJob to the reason of its slots without a run: values in, values out."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.history.cronjob_warnings import CronJobWarning, explanation
from scheduler.observe.cronjob_events import cronjob_warnings

MINUTE = 29929001  # 2026-11-27T00:41Z
QUOTA = "exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=0, limited: count/jobs.batch=0"


def event(
    reason: str, message: str, first: str = "2026-11-27T00:41:00Z", last: str | None = None, name: str = "e-train-a"
) -> Any:
    return {
        "involvedObject": {"kind": "CronJob", "name": name},
        "reason": reason,
        "message": message,
        "type": "Warning",
        "firstTimestamp": first,
        "lastTimestamp": last or first,
    }


def forbidden(minute: int) -> str:
    return f'Error creating job: jobs.batch "e-train-a-{minute}" is forbidden: {QUOTA}'


def reason(minute: int, *events: Any, following: int | None = None, deadline: float | None = 3600.0) -> str:
    warnings = cronjob_warnings(events, {"e-train-a": "train-a"})
    found = explanation(warnings, minute, following, deadline)
    return found.reason if found else ""


def test_a_refusal_names_its_slot_and_explains_those_that_the_controller_waited_through() -> None:
    refusals = event("FailedCreate", forbidden(MINUTE)), event("FailedCreate", forbidden(MINUTE + 5), "2026-11-27T00:46:00Z")
    waited = f"the controller waited to try again after a Job was refused: {QUOTA}"
    refused = f"its Job is refused: {QUOTA}"
    expected = ["", refused, waited, waited, waited, waited, refused, waited]
    assert [reason(MINUTE + n, *refusals, following=MINUTE + n + 1) for n in range(-1, 7)] == expected
    # Its longest pause is 1,000 seconds.
    assert reason(MINUTE + 5 + 16, *refusals) == waited and reason(MINUTE + 5 + 17, *refusals) == ""


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        (
            "FailedCreate",
            'Error creating job: admission webhook "x" denied the request: no',
            'its Job is refused: admission webhook "x" denied the request: no',
        ),
        ("FailedCreate", f"(combined from similar events): {forbidden(1)}", f"its Job is refused: {QUOTA}"),
        (
            "MissSchedule",
            "Missed scheduled time to start a job: Fri, 27 Nov 2026 00:41:00 +0000",
            "the controller came too late to start it within starting_deadline",
        ),
        ("UnknownTimeZone", "invalid timeZone: Mars/X", "the cluster does not know its time zone: invalid timeZone: Mars/X"),
        ("UnexpectedJob", "Saw a job that the controller did not create or forgot: x", ""),
    ],
)
def test_each_kind_of_warning(kind: str, message: str, expected: str) -> None:
    assert reason(MINUTE, event(kind, message), following=MINUTE + 1440) == expected
    assert reason(MINUTE - 1440, event(kind, message), following=MINUTE) == ""
    assert reason(MINUTE, event(kind, message, name="another")) == ""


def test_a_long_pause_explains_the_slots_before_it_within_the_starting_deadline() -> None:
    missed = event("TooManyMissedTimes", "too many missed start times: 101. Set or decrease ...", "2026-11-27T00:41:30Z")
    assert "only the latest of more than 100 slots" in reason(MINUTE - 59, missed, following=MINUTE - 58)
    assert reason(MINUTE - 61, missed, following=MINUTE - 60) == reason(MINUTE + 1, missed) == ""


def test_a_refusal_of_a_nightly_slot_is_about_it_until_its_deadline() -> None:
    warning = CronJobWarning("c", "t", "r", MINUTE * 60 + 1800, MINUTE * 60 + 3500, is_refusal=True)
    assert explanation([warning], MINUTE, None, 3600.0) == warning
    assert explanation([warning], MINUTE, None, 600.0) is None
    assert explanation([warning], MINUTE - 1440, MINUTE, None) is None
