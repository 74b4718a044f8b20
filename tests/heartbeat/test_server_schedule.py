"""What a server of Healthchecks is told of a schedule: by the libraries that it reads them with, it expects no run too early."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heartbeat.server import is_cron, next_expected
from jobs.fire_times.fires import instants
from jobs.fire_times.schedule import parse
from jobs.fire_times.zones import DAY, Zone, zone
from scheduler.heartbeat.server_schedule import LONGEST_SCHEDULE, MOST_SECONDS, ServerSchedule, _calendar_lines, server_schedule

TODAY = (date(2026, 1, 1) - date(1970, 1, 1)).days
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo", "Asia/Kolkata",
    "Pacific/Chatham", "Africa/Casablanca", "Asia/Beirut", "America/Havana", "Antarctica/Troll",
]  # fmt: skip


def calendar(lines: str, extra: int, cron: str, extra_before: int) -> ServerSchedule:
    return ServerSchedule(lines, extra_grace=extra, before_3_1=ServerSchedule(cron, extra_grace=extra_before))


@pytest.mark.parametrize(
    ("expression", "timezone", "expected"),
    [
        ("0 1 * * *", "Europe/Berlin", ServerSchedule(schedule="0 1 * * *")),
        ("@daily", "UTC", ServerSchedule(schedule="0 0 * * *")),
        ("*/10 * * * *", "Europe/Berlin", ServerSchedule(schedule="*/10 * * * *")),
        ("0 0 ? * MON-FRI", "UTC", ServerSchedule(schedule="0 0 * * 1-5")),
        # By Kubernetes every other day or Monday, by Debian's rules every other day that is a Monday.
        ("0 6 */2 * 1", "UTC", ServerSchedule(schedule="0 6 1-31/2 * 1")),
        ("0 6 1-31 * 1", "UTC", ServerSchedule(schedule="0 6 1-31 * 1")),
        ("5,10,15,40 8-18/2 * jan,feb,mar *", "UTC", ServerSchedule(schedule="5-15/5,40 8-18/2 * 1-3 *")),
        ("@every 90m", "Europe/Berlin", ServerSchedule(timeout=5400)),
        ("@every 1s", "UTC", ServerSchedule(timeout=60)),
        # At two in the morning of one Sunday in spring there is none: the star has the server follow the clock.
        ("0 2 * * *", "Europe/Berlin", ServerSchedule(schedule="*/60 2 * * *")),
        ("30 0 * * *", "America/Santiago", ServerSchedule(schedule="30 */24 * * *")),
        # What begins with no star is expected after the gap, and Kubernetes runs it a day later, or a week, or a year: OnCalendar
        # leaves it out too. What is shown twice may be expected an hour too early.
        ("30 2 * * *", "Europe/Berlin", calendar("02:30", 3600, "30 2 * * *", 84_600)),
        ("30 2 * * 0", "Europe/Berlin", calendar("Sun 02:30", 3600, "30 2 * * 0", 603_000)),
        ("0 0 * * 5", "Africa/Cairo", calendar("Fri 00:00", 0, "0 0 * * 5", 601_200)),
        ("30 2 31 3 *", "Europe/Berlin", calendar("*-3-31 02:30", 0, "30 2 31 3 *", 31_534_200)),
        ("15 2,14 */2 3 0", "Europe/Berlin", calendar("*-3-1..31/2 2,14:15\nSun *-3-* 2,14:15", 0, "15 2,14 1-31/2 3 0", 40_500)),
        (
            "5 2 * 3,10-12 1-5,0",
            "Europe/Berlin",
            calendar("Mon..Fri,Sun *-3,10..12-* 02:05", 3600, "5 2 * 3,10-12 0-5", 15_894_300),
        ),
        ("30 1 * * *", "America/New_York", ServerSchedule(schedule="30 1 * * *", extra_grace=3600)),
        # After a midnight from which a shift of half an hour is counted on, Kubernetes' library leaves out a Sunday.
        ("0 0 1 4 0", "Australia/Lord_Howe", ServerSchedule(schedule="0 0 1 4 0", extra_grace=7 * 86400)),
        ("0 0 31 2 *", "UTC", None),
    ],
)
def test_a_schedule_in_the_servers_words(expression: str, timezone: str, expected: ServerSchedule | None) -> None:
    assert server_schedule(expression, timezone, TODAY) == expected


def test_a_schedule_that_is_too_long_is_its_longest_pause() -> None:
    minutes = "0,2,5,7,11,13,16,19,23,28,31,34,38,41,43,47,50,53,56,58"
    days = "1,3,4,6,9,11,12,14,17,19,22,23,25,28"
    expression = f"{minutes} 1,2,4,7,8,11,13,14,17,19,22 {days} 1,2,4,7,8,11 *"
    schedule = server_schedule(expression, "UTC", TODAY)
    assert schedule is not None and schedule.schedule is None
    fires = [at for at, _ in zip(instants(parse(expression), zone("UTC"), TODAY * DAY), range(40_000), strict=False)]
    assert schedule.timeout == max(later - earlier for earlier, later in zip(fires, fires[1:], strict=False))


def _values(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    single = numbers.map(str)
    ranges = st.tuples(numbers, numbers, st.integers(1, 7)).map(
        lambda t: f"{min(t[:2])}-{max(t[:2])}" + (f"/{t[2]}" if t[2] > 1 else "")
    )
    stars = st.sampled_from(["*", "?", "*/2", "*/5", "*/7"])
    return st.one_of(single, single, stars, st.lists(st.one_of(single, ranges), min_size=1, max_size=3).map(",".join))


SCHEDULES = st.tuples(
    _values(0, 59), st.one_of(_values(0, 3), _values(0, 23)), _values(1, 28), _values(1, 12), _values(0, 6)
).map(" ".join)


@given(SCHEDULES, st.sampled_from(ZONES), st.booleans(), st.data())
def test_the_server_expects_no_run_before_it_is_due(expression: str, timezone: str, is_older: bool, data: st.DataObject) -> None:
    schedule = server_schedule(expression, timezone, TODAY)
    schedule = schedule.before_3_1 or schedule if schedule is not None and is_older else schedule
    assume(schedule is not None and schedule.schedule is not None and schedule.extra_grace < MOST_SECONDS)
    assert schedule is not None and schedule.schedule is not None and len(schedule.schedule) <= LONGEST_SCHEDULE
    assert is_cron(schedule.schedule) == (schedule.before_3_1 is None)
    area = zone(timezone)
    shifts = [at for at, _, _ in area.shifts(TODAY * DAY, (TODAY + 5 * 365) * DAY)] or [(TODAY + 100) * DAY]
    shift = data.draw(st.sampled_from(shifts))
    fires = []
    for at in instants(parse(expression), area, shift - 3 * DAY):
        fires.append(at)
        if (at > shift + 3 * DAY and len(fires) > 1) or len(fires) > 5000:
            break
    near = [at for at in fires if abs(at - shift) < 2 * DAY] or fires[:1]
    fire = data.draw(st.sampled_from(near))
    # A run's success, at once or hours later: until the next that is due after it, the server may expect none.
    ping = fire + data.draw(st.sampled_from([0, 60, 1500, 3600, 7200, 25_200]))
    later = bisect_right(fires, ping)
    assume(later < len(fires))
    expected = next_expected(schedule.schedule, timezone, ping)
    assert expected is not None and expected + schedule.extra_grace >= fires[later]


def lacks_a_midnight(area: Zone) -> bool:
    """Whether clocks that are set forward leave out the beginning of a day."""
    shifts = area.shifts(TODAY * DAY, (TODAY + 3650) * DAY)
    gaps = (((at + before) % DAY, since - before) for at, before, since in shifts if since > before)
    return any(begin == 0 or begin + length > DAY for begin, length in gaps)


@given(SCHEDULES, st.sampled_from(ZONES), st.data())
def test_a_run_that_does_not_come_is_noticed_as_late_as_clocks_are_set_back_at_most(
    expression: str, timezone: str, data: st.DataObject
) -> None:
    """After the success of one run the server waits for the next, or for the one after it where clocks show its time twice."""
    schedule = server_schedule(expression, timezone, TODAY)
    assume(schedule is not None and schedule.schedule is not None)
    assert schedule is not None and schedule.schedule is not None
    area = zone(timezone)
    begin = (TODAY + data.draw(st.integers(0, 5 * 365))) * DAY
    fires = [at for at, _ in zip(instants(parse(expression), area, begin), range(3), strict=False)]
    assume(len(fires) == 3)
    expected = next_expected(schedule.schedule, timezone, fires[0])
    back = max((before - since for _, before, since in area.shifts(TODAY * DAY, (TODAY + 3650) * DAY)), default=0)
    is_twice = area.offset(fires[1]) < area.offset(fires[0]) and fires[1] - fires[0] <= DAY
    assert expected is not None and expected <= (fires[2] if is_twice else fires[1])
    # On a day whose midnight does not exist, and where clocks are set by half an hour, Kubernetes' library may fire at no hour.
    if timezone != "Australia/Lord_Howe" and not lacks_a_midnight(area):
        assert schedule.extra_grace <= max(back, 0)


@given(SCHEDULES, st.integers(0, 364))
def test_in_a_zone_without_shifts_both_name_the_same_times(expression: str, day: int) -> None:
    schedule = server_schedule(expression, "UTC", TODAY)
    assume(schedule is not None and schedule.schedule is not None)
    assert schedule is not None and schedule.schedule is not None and not schedule.extra_grace
    begin = (TODAY + day) * DAY
    fires = instants(parse(expression), zone("UTC"), begin)
    before: float | None = begin
    for at, _ in zip(fires, range(20), strict=False):
        assert before is not None
        before = next_expected(schedule.schedule, "UTC", before)
        assert before == at


@given(SCHEDULES, st.sampled_from(ZONES), st.integers(0, 2000))
def test_oncalendar_says_the_same_as_cron(expression: str, timezone: str, day: int) -> None:
    """Every schedule as OnCalendar, also those of which cron needs no longer grace: far from a shift both name the same times."""
    lines = _calendar_lines(parse(expression))
    area, begin = zone(timezone), (TODAY + day) * DAY
    for at, _ in zip(instants(parse(expression), area, begin), range(10), strict=False):
        if not list(area.shifts(begin - 3 * DAY, at + 3 * DAY)):
            assert next_expected(lines, timezone, begin) == at
        begin = at
