"""What a server of Healthchecks is told of a schedule: by cronsim, which it reads cron with, it expects no run too early."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given
from hypothesis import strategies as st

from jobs.fire_times.fires import instants
from jobs.fire_times.schedule import parse
from jobs.fire_times.zones import DAY, zone
from scheduler.heartbeat.server_schedule import LONGEST_CRON, MOST_SECONDS, ServerSchedule, server_schedule

TODAY = (date(2026, 1, 1) - date(1970, 1, 1)).days
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo", "Asia/Kolkata",
    "Pacific/Chatham", "Africa/Casablanca", "Asia/Beirut", "America/Havana", "Antarctica/Troll",
]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "timezone", "expected"),
    [
        ("0 1 * * *", "Europe/Berlin", ServerSchedule(cron="0 1 * * *")),
        ("@daily", "UTC", ServerSchedule(cron="0 0 * * *")),
        ("*/10 * * * *", "Europe/Berlin", ServerSchedule(cron="*/10 * * * *")),
        ("0 0 ? * MON-FRI", "UTC", ServerSchedule(cron="0 0 * * 1-5")),
        # By Kubernetes every other day or Monday, by Debian's rules every other day that is a Monday.
        ("0 6 */2 * 1", "UTC", ServerSchedule(cron="0 6 1-31/2 * 1")),
        ("0 6 1-31 * 1", "UTC", ServerSchedule(cron="0 6 1-31 * 1")),
        ("5,10,15,40 8-18/2 * jan,feb,mar *", "UTC", ServerSchedule(cron="5-15/5,40 8-18/2 * 1-3 *")),
        ("@every 90m", "Europe/Berlin", ServerSchedule(timeout=5400)),
        ("@every 1s", "UTC", ServerSchedule(timeout=60)),
        # At two in the morning of one Sunday in spring there is none: the star has the server follow the clock.
        ("0 2 * * *", "Europe/Berlin", ServerSchedule(cron="*/60 2 * * *")),
        ("30 0 * * *", "America/Santiago", ServerSchedule(cron="30 */24 * * *")),
        # What begins with no star is expected after the gap, and Kubernetes runs it a day later.
        ("30 2 * * *", "Europe/Berlin", ServerSchedule(cron="30 2 * * *", extra_grace=84600)),
        ("30 1 * * *", "America/New_York", ServerSchedule(cron="30 1 * * *", extra_grace=3600)),
        # After a midnight from which a shift of half an hour is counted on, Kubernetes' library leaves out a Sunday.
        ("0 0 1 4 0", "Australia/Lord_Howe", ServerSchedule(cron="0 0 1 4 0", extra_grace=7 * 86400)),
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
    assert schedule is not None and schedule.cron is None
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


@given(SCHEDULES, st.sampled_from(ZONES), st.data())
def test_the_server_expects_no_run_before_it_is_due(expression: str, timezone: str, data: st.DataObject) -> None:
    schedule = server_schedule(expression, timezone, TODAY)
    assume(schedule is not None and schedule.cron is not None and schedule.extra_grace < MOST_SECONDS)
    assert schedule is not None and schedule.cron is not None and len(schedule.cron) <= LONGEST_CRON
    area = zone(timezone)
    shifts = [at for at, _, _ in area.shifts(TODAY * DAY, (TODAY + 5 * 365) * DAY)] or [(TODAY + 100) * DAY]
    shift = data.draw(st.sampled_from(shifts))
    fires = []
    for at in instants(parse(expression), area, shift - 3 * DAY):
        fires.append(at)
        if at > shift + 3 * DAY or len(fires) > 5000:
            break
    near = [at for at in fires if abs(at - shift) < 2 * DAY] or fires[:1]
    fire = data.draw(st.sampled_from(near))
    # A run's success, at once or hours later: until the next that is due after it, the server may expect none.
    ping = fire + data.draw(st.sampled_from([0, 60, 1500, 3600, 7200, 25_200]))
    later = bisect_right(fires, ping)
    assume(later < len(fires))
    local = datetime.fromtimestamp(ping, UTC).astimezone(ZoneInfo(timezone))
    assert next(CronSim(schedule.cron, local)).timestamp() + schedule.extra_grace >= fires[later]


@given(SCHEDULES, st.integers(0, 364))
def test_in_a_zone_without_shifts_both_name_the_same_times(expression: str, day: int) -> None:
    schedule = server_schedule(expression, "UTC", TODAY)
    assume(schedule is not None and schedule.cron is not None)
    assert schedule is not None and schedule.cron is not None and not schedule.extra_grace
    begin = (TODAY + day) * DAY
    expected = CronSim(schedule.cron, datetime.fromtimestamp(begin, UTC))
    fires = instants(parse(expression), zone("UTC"), begin)
    for at, _ in zip(fires, range(20), strict=False):
        assert next(expected).timestamp() == at
