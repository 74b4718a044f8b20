"""Fire times by value: the documented cases, and the properties."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobs.fire_times.calendar import date_of, day_of
from jobs.fire_times.durations import DurationError, nanoseconds
from jobs.fire_times.fires import fires, instants, seconds
from jobs.fire_times.schedule import ScheduleError, parse
from jobs.fire_times.surprises import surprises
from jobs.fire_times.zones import zone


def local(expression: str, timezone: str, after: str, number: int) -> list[str]:
    """The next fire times as the zone's clocks show them, after a local time."""
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(timezone))
    found = islice(fires(parse(expression), timezone, start), number)
    return [f"{each.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M}" for each in found]


@pytest.mark.parametrize(
    ("expression", "timezone", "after", "expected"),
    [
        # A gap is skipped, an overlap fires twice.
        ("0 2 * * *", "America/New_York", "2012-03-09T12:00", ["2012-03-10 02:00", "2012-03-12 02:00"]),
        ("30 1 * * *", "America/New_York", "2012-11-03T12:00", ["2012-11-04 01:30", "2012-11-04 01:30", "2012-11-05 01:30"]),
        # Midnights that do not exist: daily ones are skipped, and Saturdays last until Sunday.
        ("0 0 * * *", "America/Santiago", "2025-09-06T12:00", ["2025-09-08 00:00"]),
        ("0 9 * * 6", "America/Santiago", "2025-09-01T00:00", ["2025-09-06 09:00", "2025-09-07 09:00", "2025-09-13 09:00"]),
        ("0 9 24 4 *", "Africa/Cairo", "2025-04-01T00:00", ["2025-04-24 09:00", "2025-04-25 09:00"]),
        # Half an hour.
        ("0 3 * * *", "Australia/Lord_Howe", "2025-10-04T12:00", ["2025-10-06 03:00"]),
        ("0 4 * * *", "Australia/Lord_Howe", "2025-10-04T12:00", ["2025-10-06 04:00"]),
        # The star bit: or, unless a star stands in one of the two.
        ("0 0 */2 * 1", "UTC", "2026-11-01T12:00", ["2026-11-02 00:00", "2026-11-03 00:00", "2026-11-05 00:00"]),
        ("0 0 1-31 * 1", "UTC", "2026-11-02T12:00", ["2026-11-03 00:00"]),
        ("0 0 * * 1", "UTC", "2026-11-02T12:00", ["2026-11-09 00:00"]),
        ("0 0 */1 * 1", "UTC", "2026-11-02T12:00", ["2026-11-09 00:00"]),
        ("0 0 13 * ?", "UTC", "2026-11-02T12:00", ["2026-11-13 00:00"]),
        # Leap days, and five years without one.
        ("0 0 29 2 *", "UTC", "2088-03-01T00:00", ["2092-02-29 00:00", "2096-02-29 00:00"]),
        ("0 0 31 2 *", "UTC", "2026-01-01T00:00", []),
        (", * * * *", "UTC", "2026-01-01T00:00", []),
        ("@every 1h30m", "UTC", "2026-01-01T00:10:05", ["2026-01-01 01:40", "2026-01-01 03:10"]),
    ],
)
def test_documented_fire_times(expression: str, timezone: str, after: str, expected: list[str]) -> None:
    assert local(expression, timezone, after, max(len(expected), 1)) == expected


def test_eight_years_without_a_leap_day_are_not_waited_for() -> None:
    start = datetime(2096, 3, 1, tzinfo=UTC)
    assert list(fires(parse("0 0 29 2 *"), "UTC", start)) == []


def test_fire_times_end_with_the_calendar() -> None:
    last = list(fires(parse("0 0 1 1 *"), "Europe/Berlin", datetime(9900, 1, 1, tzinfo=UTC)))[-1]
    assert last.year > 9980


def test_after_is_strict_and_cut_to_seconds() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert next(fires(parse("0 12 * * *"), "UTC", noon)) == noon + timedelta(days=1)
    assert next(fires(parse("0 12 * * *"), "UTC", noon - timedelta(microseconds=1))) == noon
    assert next(fires(parse("@every 10s"), "UTC", noon + timedelta(microseconds=1))) == noon + timedelta(seconds=10)
    with pytest.raises(ValueError, match="needs a zone"):
        next(fires(parse("0 12 * * *"), "UTC", datetime(2026, 1, 1)))


SCHEDULES = st.sampled_from(
    ["* * * * *", "*/7 3-5 * * *", "0 9 * * 6", "0 0 1 */2 *", "30 2 * * *", "15 1,23 28-31 * 0", "@every 7m"]
)
ZONES = st.sampled_from(["UTC", "America/Santiago", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana"])
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))


@given(SCHEDULES, ZONES, MOMENTS, st.integers(0, 30))
def test_going_on_from_any_fire_time_finds_the_rest(expression: str, timezone: str, after: datetime, cut: int) -> None:
    schedule = parse(expression)
    whole = list(islice(fires(schedule, timezone, after), 40))
    assert whole == sorted(set(whole)) and all(each > after for each in whole)
    assume(len(whole) > cut)
    assert list(islice(fires(schedule, timezone, whole[cut]), 40 - cut - 1)) == whole[cut + 1 :]


@given(SCHEDULES, ZONES, MOMENTS, st.integers(0, 40), st.integers(0, 40))
def test_intervals_join_without_gap_or_overlap(expression: str, timezone: str, start: datetime, first: int, second: int) -> None:
    schedule = parse(expression)
    middle, end = start + timedelta(days=first), start + timedelta(days=first + second)

    def between(low: datetime, high: datetime) -> list[int]:
        times = instants(schedule, zone(timezone), seconds(low), seconds(start))
        return list(takewhile(lambda time: time <= seconds(high), times))

    assert between(start, middle) + between(middle, end) == between(start, end)


@given(st.integers(-400_000, 2_900_000))
def test_days_are_the_calendar_s(day: int) -> None:
    year, month, dom = date_of(day)
    assert day_of(year, month, dom) == day_of(year - 1, month + 12, dom) == day
    expected = datetime(1970, 1, 1) + timedelta(days=day)
    assert (year, month, dom) == (expected.year, expected.month, expected.day)


@given(ZONES, st.integers(-2_000_000_000, 6_000_000_000))
def test_offsets_are_the_zone_s(name: str, instant: int) -> None:
    away = datetime.fromtimestamp(instant, ZoneInfo(name)).utcoffset()
    assert away is not None and zone(name).offset(instant) == away.total_seconds()


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        (
            "0 1 * * 7",
            "day of week: 7 is outside 0-6: type 0 for Sunday (Kubernetes would say: end of range (7) above maximum (6): 7)",
        ),
        ("0 1 * * 1-7", "type 1-6,0"),
        ("0 1 L * *", "Kubernetes knows no last day"),
        ("0 1 15W * *", "type days, e.g. 15"),
        ("0 1 * * 5#2", "type 5, for every week"),
        ("0 1 * * fri-mon", "type fri-sat,sun-mon"),
        ("0 22-2 * * *", "type 22-23,0-2"),
        ("0 1 * * monday", "monday is not known: type mon"),
        ("*/0 1 * * *", "a step of 0: type 1 or more (Kubernetes would say: step of range should be a positive number: */0)"),
        ("0 0 1 * * *", 'leave out the seconds, e.g. "0 1 * * *"'),
        ("0 1 * *", 'one is missing, perhaps "0 1 * * *"'),
        ("@reboot", "type a time, e.g. @daily (Kubernetes would say: unrecognized descriptor: @reboot)"),
        ("@Daily", "type @daily"),
        (" @daily", "type @daily without spaces around it"),
        ("@every 1 h", "e.g. @every 1h30m"),
        ("TZ=UTC 0 1 * * *", "set timezone: instead"),
        ("", "type five fields"),
    ],
)
def test_a_refusal_says_what_to_type(expression: str, advice: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(expression)
    assert advice in str(caught.value)


@given(st.text())
def test_nothing_but_schedule_errors(text: str) -> None:
    for each in (text, f"@every {text}", f"0 1 {text} * *"):
        try:
            parse(each)
        except ScheduleError as error:
            assert str(error) and error.kubernetes


def test_durations() -> None:
    assert nanoseconds("1h30m") == 5400 * 10**9
    assert nanoseconds("-1.5s") == -1_500_000_000
    assert nanoseconds("1\u00b5s") == nanoseconds("1\u03bcs") == nanoseconds("1us") == 1000
    assert parse("@every 90.9s").every == 90
    assert parse("@every -5m").every == parse("@every 1ns").every == 1
    with pytest.raises(DurationError, match='time: missing unit in duration "1"'):
        nanoseconds("1")


NINE = datetime(2026, 11, 24, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "timezone", "expected"),
    [
        ("0 1 * * *", "Europe/Berlin", []),
        ("*/5 * * * *", "Europe/Berlin", []),
        (
            "30 2 * * *",
            "Europe/Berlin",
            [
                "Sunday 2027-03-28 02:30 is skipped: clocks go from 02:00 to 03:00 (Europe/Berlin)",
                "Sunday 2027-10-31 02:30 fires twice: clocks go from 03:00 to 02:00 (Europe/Berlin)",
            ],
        ),
        (
            "0 0 31 2 *",
            "UTC",
            ["never fires: in the five years from 2026-11-24 there is no such time; change the day or the month"],
        ),
    ],
)
def test_surprises(expression: str, timezone: str, expected: list[str]) -> None:
    assert surprises(parse(expression), timezone, NINE) == expected


def test_a_day_without_midnight_is_a_surprise() -> None:
    (line,) = surprises(parse("0 9 * * 6"), "America/Santiago", NINE)
    assert line.startswith("Sunday 2027-09-05 09:00 fires, though the schedule does not say so: the day has no midnight")


def test_more_than_one_a_minute_is_a_surprise() -> None:
    assert surprises(parse("@every 1m"), "UTC", NINE) == []
    (line,) = surprises(parse("@every 59s"), "UTC", NINE)
    assert "more than once a minute" in line
