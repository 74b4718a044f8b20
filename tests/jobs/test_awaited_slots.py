"""Which slots an ensemble awaits: by value, and as a walk over every minute finds them."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.awaited_slots import awaited_slots, previous_slot
from jobs.schedule_periods import SchedulePeriod, TaskSchedule
from stores import at, minute

DAY = 86400


def period(schedule: str, zone: str = "UTC", start: float = 0, end: float = inf, **more: object) -> SchedulePeriod:
    limits = {"starting_deadline": 3600, "deadline": 6 * 3600, **more}
    return SchedulePeriod(start, end, TaskSchedule(schedule, zone, **limits), "host:here", "me")  # type: ignore[arg-type]


def awaited(ensemble: SchedulePeriod, member: list[SchedulePeriod], slot: str, now: float | None = None) -> list[str]:
    """The member's awaited slots, as of just after the ensemble's minute unless ``now`` says otherwise."""
    own = minute(slot)
    slots = awaited_slots({"ensemble": [ensemble], "train-a": member}, "ensemble", ["train-a"], own, now or own * 60 + 1)
    return [datetime.fromtimestamp(each.minute * 60, UTC).strftime("%m-%d %H:%M") for each in slots.get("train-a", ())]


def test_the_slots_since_the_last_one_newest_first() -> None:
    nightly, morning = [period("30 1 * * *")], period("0 6 * * *")
    assert awaited(morning, nightly, "2026-11-20T06:00") == ["11-20 01:30"]
    # Its own minute belongs to it; that of the slot before does not.
    assert awaited(period("30 1 * * *"), nightly, "2026-11-20T01:30") == ["11-20 01:30"]
    # Across midnight, and of several those that can still be going on.
    every_other_hour = [period("0 */2 * * *")]
    assert awaited(period("0 1 * * *"), every_other_hour, "2026-11-20T01:00") == ["11-20 00:00", "11-19 22:00", "11-19 20:00"]


def test_a_night_in_which_the_clock_is_set() -> None:
    morning, nightly = period("0 5 * * *", "Europe/Berlin"), [period("30 2 * * *", "Europe/Berlin")]
    # 02:30 comes twice on 25 October 2026, and not at all on 29 March.
    assert awaited(morning, nightly, "2026-10-25T04:00") == ["10-25 01:30", "10-25 00:30"]
    assert awaited(morning, nightly, "2026-03-29T03:00") == []


def test_what_is_suspended_gone_or_long_over_is_not_awaited() -> None:
    morning = period("0 6 * * *")
    assert awaited(morning, [period("30 1 * * *", suspend=True)], "2026-11-20T06:00") == []
    gone = [period("30 1 * * *", end=at("2026-11-20T06:05").timestamp())]
    assert awaited(morning, gone, "2026-11-20T06:00") == ["11-20 01:30"]
    assert awaited(morning, gone, "2026-11-20T06:00", at("2026-11-20T06:05").timestamp()) == []
    assert awaited(morning, [], "2026-11-20T06:00") == []
    assert awaited(morning, [period("30 1 * * *")], "2026-11-20T06:00", at("2026-11-20T08:31").timestamp()) == []
    # A weekly ensemble asks for nothing that ended days ago.
    assert awaited(period("0 6 * * 5"), [period("0 * * * *", deadline=60)], "2026-11-20T06:00") == ["11-20 06:00", "11-20 05:00"]


def test_before_its_first_slot_all_since_the_beginning_count() -> None:
    start = at("2026-11-20T00:10").timestamp()
    assert previous_slot([period("0 6 * * *", start=start)], minute("2026-11-20T06:00")) is None
    hourly = [period("0 * * * *", start=start)]
    assert awaited(period("0 3 * * *", start=start), hourly, "2026-11-20T03:00") == ["11-20 03:00", "11-20 02:00", "11-20 01:00"]


# Shifts by whole hours: of others, and at midnights, the Go library has its own view (test_fires.py).
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]
SHIFTS = ["2026-03-29T01:00", "2026-10-25T01:00", "2026-11-01T06:00", "2026-04-04T15:00", "2026-09-26T14:00", "2026-12-31T23:00"]
SCHEDULES = st.tuples(
    st.integers(0, 59).map(str), st.one_of(st.just("*"), st.integers(0, 23).map(str)), st.sampled_from(["*", "*", "0", "3", "6"])
)


def fires(schedule: tuple[str, str, str], zone: str, instant: int) -> bool:
    """Whether a minute of the zone's clock is that of the schedule: minute, hour and weekday, Sunday first."""
    local = datetime.fromtimestamp(instant, ZoneInfo(zone))
    values = (local.minute, local.hour, local.isoweekday() % 7)
    return all(part in ("*", str(value)) for part, value in zip(schedule, values, strict=True))


Fields = tuple[str, str, str]
History = tuple[list[tuple[float, float, Fields, str, bool]], int, Fields, str]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A member's periods, and an ensemble's schedule and slot, around a shift of a clock."""
    around = minute(draw(st.sampled_from(SHIFTS)))
    ensemble, zone = draw(SCHEDULES), draw(st.sampled_from(ZONES))
    first = around + draw(st.integers(0, 1440))
    slot = next((m for m in range(first, first + 8 * 1440) if fires(ensemble, zone, m * 60)), first)
    ends = sorted(draw(st.lists(st.integers(-3 * 1440, 60), max_size=3)))
    periods, start = [], 0.0
    for end in [*(float((slot + end) * 60 + 30) for end in ends), inf]:
        periods.append((start, end, draw(SCHEDULES), draw(st.sampled_from(ZONES)), draw(st.booleans()) and draw(st.booleans())))
        start = end
    return periods, slot, ensemble, zone


@given(history=histories())
@settings(max_examples=60, deadline=None)
def test_they_are_those_that_a_walk_over_every_minute_finds(
    history: History,
) -> None:
    periods, slot, ensemble, zone = history

    def expression(schedule: tuple[str, str, str]) -> str:
        return f"{schedule[0]} {schedule[1]} * * {schedule[2]}"

    limits = {"starting_deadline": 3600, "deadline": 20 * 3600}
    member = [period(expression(own), area, start, end, suspend=off, **limits) for start, end, own, area, off in periods]
    now = slot * 60 + 1
    known = {"ensemble": [period(expression(ensemble), zone)], "train-a": member}
    slots = awaited_slots(known, "ensemble", ["train-a"], slot, now)
    low = next((m for m in range(slot - 1, slot - 8 * 1440, -1) if fires(ensemble, zone, m * 60)), slot - 8 * 1440)
    walked = []
    for m in range(slot, max(low, slot - 22 * 60), -1):
        for start, end, own, area, off in periods:
            if start < m * 60 <= end and fires(own, area, m * 60) and not off and m * 60 > now - 21 * 3600:
                walked.append(m)
    assert [each.minute for each in slots["train-a"]] == walked


@pytest.mark.parametrize("limit", [None, 0, 600])
def test_until_when_a_slot_may_start(limit: int | None) -> None:
    own = minute("2026-11-20T06:00")
    (slot,) = awaited_slots(
        {"ensemble": [], "train-a": [period("0 6 * * *", starting_deadline=limit)]}, "ensemble", ["train-a"], own, own * 60
    )["train-a"][:1]
    assert slot.last_start == (inf if limit is None else own * 60 + limit)
