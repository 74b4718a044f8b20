"""What users type for times and periods, and how times, durations and sizes are printed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import CronsembleError
from scheduler.times import (
    Period,
    check_clock,
    dates,
    format_bytes,
    format_duration,
    format_local,
    format_time,
    is_date,
    is_time,
    parse_duration,
    parse_last_time,
    parse_period,
    parse_slots,
    parse_time,
)
from stores import at, minute

NOW = at("2024-11-24T12:00").timestamp()
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"])


@pytest.mark.parametrize(
    ("text", "zone", "first", "last"),
    [
        ("2024-11-20", "UTC", "2024-11-20T00:00", "2024-11-20T23:59"),
        ("2024-11-20", "Europe/Berlin", "2024-11-19T23:00", "2024-11-20T22:59"),
        ("2024-03-31", "Europe/Berlin", "2024-03-30T23:00", "2024-03-31T21:59"),  # 23 hours
        ("2024-09-08", "America/Santiago", "2024-09-08T04:00", "2024-09-09T02:59"),  # no midnight
        ("2024-11-20T01:00", "Europe/Berlin", "2024-11-20T00:00", "2024-11-20T00:00"),
        ("2024-11-20 01:00", "Europe/Berlin", "2024-11-20T00:00", "2024-11-20T00:00"),
        ("2024-11-20T01:00Z", "Europe/Berlin", "2024-11-20T01:00", "2024-11-20T01:00"),
        ("2024-11-20T01:00z", "Europe/Berlin", "2024-11-20T01:00", "2024-11-20T01:00"),
        ("2024-11-20T01:00:59Z", "Europe/Berlin", "2024-11-20T01:00", "2024-11-20T01:00"),
        ("2024-11-20T0100Z", "Europe/Berlin", "2024-11-20T01:00", "2024-11-20T01:00"),
        ("2024-11-20T01:00-03:30", "Europe/Berlin", "2024-11-20T04:30", "2024-11-20T04:30"),
        ("2024-11-20T01:00+01", "UTC", "2024-11-20T00:00", "2024-11-20T00:00"),
        ("2024-10-27T02:30", "Europe/Berlin", "2024-10-27T00:30", "2024-10-27T01:30"),  # shown twice
        ("2024-11-20 01:00+01:00", "UTC", "2024-11-20T00:00", "2024-11-20T00:00"),
        ("2024-11-20T01:00:05.123Z", "Europe/Berlin", "2024-11-20T01:00", "2024-11-20T01:00"),
        ("Wed 2024-11-20 01:00 +01:00", "UTC", "2024-11-20T00:00", "2024-11-20T00:00"),
        ("today", "Europe/Berlin", "2024-11-23T23:00", "2024-11-24T22:59"),
        ("today", "Pacific/Kiritimati", "2024-11-24T10:00", "2024-11-25T09:59"),
        ("Yesterday", "Pacific/Pago_Pago", "2024-11-23T11:00", "2024-11-24T10:59"),
        ("yesterday..tomorrow", "UTC", "2024-11-23T00:00", "2024-11-25T23:59"),
        ("36h", "Europe/Berlin", "2024-11-23T00:00", "2024-11-23T00:00"),
        ("1w", "Europe/Berlin", "2024-11-17T12:00", "2024-11-17T12:00"),
        ("2024-11-01..2024-11-20", "Europe/Berlin", "2024-10-31T23:00", "2024-11-20T22:59"),
        ("2024-11-20T01:00..2024-11-20T06:00Z", "Europe/Berlin", "2024-11-20T00:00", "2024-11-20T06:00"),
        ("7d..2024-11-20", "UTC", "2024-11-17T12:00", "2024-11-20T23:59"),
    ],
)
def test_what_a_period_means(text: str, zone: str, first: str, last: str) -> None:
    assert parse_period(text, zone, NOW, "--since") == (minute(first), minute(last))
    assert is_time(text) == (text not in ("36h", "1w"))


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("2024-11-20", "Europe/Berlin", "2024-11-19T23:00:00Z"),
        ("2024-11-20T01:00:30", "Europe/Berlin", "2024-11-20T00:00:30Z"),
        ("2024-10-27T02:30", "Europe/Berlin", "2024-10-27T00:30:00Z"),  # shown twice
        ("yesterday", "Asia/Kathmandu", "2024-11-22T18:15:00Z"),
        ("90s", "UTC", "2024-11-24T11:58:30Z"),
        ("1912-06-01", "UTC", "1912-06-01T00:00:00Z"),
    ],
)
def test_what_a_time_means(text: str, zone: str, instant: str) -> None:
    assert format_time(parse_time(text, zone, NOW, "--from")) == instant


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("monday", "--since monday: no date or time: type a date (2026-11-20, today, yesterday), a time"),
        ("Mon 2024-11-20 01:00", "--since Mon 2024-11-20 01:00: 2024-11-20 is a Wednesday"),
        (
            "2024-03-31T02:30",
            "--since 2024-03-31T02:30: clocks in Europe/Berlin are set forward over this time: "
            "type 2024-03-31T01:30+01:00 or 2024-03-31T03:30+02:00",
        ),
        ("2024-03-31..2024-03-31T02:00", "--since 2024-03-31T02:00: clocks in Europe/Berlin are set forward"),
        ("7", "--since 7: no date or time"),
        ("0d", "--since 0d: no date or time"),
        ("", "--since: no date or time"),
        ("2024-11", "no date or time"),
        ("20241120", "no date or time"),
        ("2024-11-20T", "no date or time"),
        ("2024-11-20T1", "no date or time"),
        ("٢٠٢٤-11-20", "no date or time"),
        ("2024-02-30", "--since 2024-02-30: there is no such date or time: type a date"),
        ("2024-11-20T25:00", "there is no such date or time"),
        ("2024-11-20T01:00+25:00", "there is no such date or time"),
        ("0001-01-01T00:00+01:00", "--since 0001-01-01T00:00+01:00: type a year from 1900 to 9000"),
        ("0004-06-01T00:00Z", "type a year from 1900 to 9000"),
        ("9999-12-31", "type a year from 1900 to 9000"),
        ("9999-12-31T23:59-12:00", "type a year from 1900 to 9000"),
        ("99999999999w", "type a year from 1900 to 9000"),
        ("2024-11-20..", "--since 2024-11-20..: type the first and the last day, e.g. 2026-11-01..2026-11-20"),
        ("2024-11-20..2024-11-19", "it ends before it begins: type 2024-11-19..2024-11-20"),
        ("2024-11-20..2024-11-31", "--since 2024-11-31: there is no such date or time"),
    ],
)
def test_what_is_no_period_is_refused(text: str, problem: str) -> None:
    with pytest.raises(CronsembleError) as error:
        parse_period(text, "Europe/Berlin", NOW, "--since")
    assert problem in str(error.value)


def test_a_date_that_a_zone_left_out_is_refused() -> None:
    with pytest.raises(CronsembleError, match="2011-12-30: there is no such date"):
        parse_period("2011-12-30", "Pacific/Apia", NOW, "--since")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("2024-10-27T02:30", ["2024-10-27T00:30", "2024-10-27T01:30"]),
        ("2024-10-27T02:30+01:00", ["2024-10-27T01:30"]),
        ("2024-10-27T03:00", ["2024-10-27T02:00"]),
    ],
)
def test_a_slot_that_clocks_show_twice_means_these_two_minutes(text: str, minutes: list[str]) -> None:
    assert parse_slots(text, "Europe/Berlin", NOW, "") == tuple(Period(minute(start), minute(start)) for start in minutes)
    assert format_time(parse_last_time(text, "Europe/Berlin", NOW, "")) == f"{minutes[-1]}:00Z"


def test_a_date_and_a_period_are_one_period_of_slots() -> None:
    for text in ("2024-10-27", "today", "2024-10-27T02:30..2024-10-27T02:30"):
        assert parse_slots(text, "Europe/Berlin", NOW, "") == (parse_period(text, "Europe/Berlin", NOW, ""),)


@given(st.text() | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:?[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9:]*)?)?"), ZONES)
def test_every_text_is_a_period_or_refused_in_a_line(text: str, zone: str) -> None:
    try:
        period = parse_period(text, zone, NOW, "--since")
    except CronsembleError:
        return
    assert period.first <= period.last


@given(st.datetimes(datetime(1900, 1, 2), datetime(8999, 12, 30)), ZONES)
def test_a_printed_time_is_read_as_itself(time: datetime, zone: str) -> None:
    text = format_time(time.replace(tzinfo=UTC))
    assert parse_time(text, zone, NOW, "") == time.replace(tzinfo=UTC, microsecond=0)
    shown = time.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    period = parse_period(f"{shown:%Y-%m-%dT%H:%M:%S}", zone, NOW, "")
    assert period.first <= minute(text[:16]) <= period.last


@given(st.integers(0, 4_000_000_000 // 60), ZONES)
def test_a_time_as_it_is_printed_is_read_as_that_instant(instant: int, zone: str) -> None:
    local = datetime.fromtimestamp(instant * 60, ZoneInfo(zone)).isoformat(timespec="minutes")
    text = format_local(local, zone)
    assert parse_slots(text, zone, NOW, "") == (Period(instant, instant),) and len(text) in (16, 22)


def test_a_time_that_is_shown_twice_is_printed_with_its_offset() -> None:
    times = ["2024-10-27T01:59+02:00", "2024-10-27T02:30+02:00", "2024-10-27T02:30+01:00", "2024-10-27T03:00+01:00"]
    printed = ["2024-10-27 01:59", "2024-10-27 02:30+02:00", "2024-10-27 02:30+01:00", "2024-10-27 03:00"]
    assert [format_local(time, "Europe/Berlin") for time in times] == printed


@given(st.dates(date(1972, 1, 1), date(2100, 1, 1)).filter(lambda day: day != date(2011, 12, 30)), ZONES)
def test_dates_lie_side_by_side(day: date, zone: str) -> None:
    period = parse_period(str(day), zone, NOW, "")
    for moment, expected in ((period.first, day), (period.last, day), (period.first - 1, day - timedelta(days=1))):
        shown = datetime.fromtimestamp(moment * 60, ZoneInfo(zone)).date()
        assert shown == expected or expected == date(2011, 12, 30)
    assert is_date(str(day)) and dates(*period, zone) == [day]
    assert parse_period(f"{day}..{day}", zone, NOW, "") == period == Period(*period)


def test_the_dates_of_a_period() -> None:
    found = [day.isoformat() for day in dates(minute("2024-11-19T23:30"), minute("2024-11-20T23:30"), "Europe/Berlin")]
    assert found == ["2024-11-20", "2024-11-21"]


@given(st.integers(0, 10**7))
def test_a_printed_duration_can_be_typed(seconds: int) -> None:
    parts = [parse_duration(part) for part in format_duration(seconds).split()] if seconds else [0]
    # The two largest units are shown, so at most one unit of the second of them is lost.
    assert sum(parts) <= seconds < sum(parts) + (3600 if seconds >= 86400 else 60 if seconds >= 3600 else 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.4, "0s"), (59.6, "1m"), (90, "1m 30s"), (3600, "1h"), (86400, "1d"), (8 * 86400 + 3 * 3600 + 59, "8d 3h")],
)
def test_a_duration_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert format_duration(-seconds) == ("-" if text != "0s" else "") + text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (999.6, "1.0 kB"),
        (1500, "1.5 kB"),
        (999_960, "1.0 MB"),
        (2.5e9, "2.5 GB"),
        (1.2e15, "1200.0 TB"),
    ],
)
def test_a_size_for_people(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_a_clock_that_was_never_set_is_named() -> None:
    check_clock(NOW)
    for now in (-86400.0, 30.0, at("2019-12-31T23:59").timestamp()):
        with pytest.raises(CronsembleError, match="this machine's clock says .*: set it"):
            check_clock(now)


def test_a_time_for_programs() -> None:
    assert format_time(1.5) == "1970-01-01T00:00:01Z"
    assert format_time(1.5, milliseconds=True) == "1970-01-01T00:00:01.500Z"
    assert format_time(at("2024-11-20T01:00").astimezone(ZoneInfo("Europe/Berlin"))) == "2024-11-20T01:00:00Z"
