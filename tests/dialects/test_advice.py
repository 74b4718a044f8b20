"""What is to be typed for an expression of crontab or Airflow: nothing is claimed that the fire times do not bear out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialect_clocks import airflow_fires, cron_fields, cron_fires
from jobs.contract import ExitCode, RunId
from jobs.fire_times.fires import fires
from jobs.fire_times.schedule import parse
from jobs.store import LocalStore
from scheduler.dialects import report
from scheduler.dialects.advice import Advice, advise, coming, read
from scheduler.dialects.hint import hint
from scheduler.dialects.reading import Dialect, DialectError
from scheduler.snapshots.program import build_program, deterministic_zip
from supervised import supervise

NOW = datetime(2026, 11, 26, 20, tzinfo=UTC)
FIVE_YEARS = timedelta(days=1827)
CRONTAB, AIRFLOW = Dialect.CRONTAB, Dialect.AIRFLOW


def advice(dialect: Dialect, expression: str, zone: str = "UTC") -> Advice:
    return advise(read(dialect, expression, zone), NOW)


@pytest.mark.parametrize(
    ("dialect", "expression", "zone", "typed"),
    [
        (CRONTAB, "0 9 * * 7", "Europe/Berlin", "0 9 * * 0"),
        (CRONTAB, "0 9 * * 7 /usr/bin/job --at 100%", "UTC", "0 9 * * 0"),
        (CRONTAB, "0 9 * * 7 root /usr/bin/job", "UTC", "0 9 * * 0"),
        (CRONTAB, "-*/5 * * * * root /bin/true", "UTC", "*/5 * * * *"),
        (CRONTAB, "0 9 * * Mon,SUN", "UTC", "0 9 * * Mon,SUN"),
        (CRONTAB, "@daily /usr/bin/job", "UTC", "@daily"),
        (CRONTAB, "@Daily", "UTC", "@daily"),
        (CRONTAB, "0 9 * * 0-7", "UTC", "0 9 * * *"),
        (CRONTAB, "0 9 * * 1-7/2", "UTC", "0 9 * * 0,1,3,5"),
        (CRONTAB, "0 9 * * 5-7", "UTC", "0 9 * * 5-6,0"),
        (CRONTAB, "0 0 * jan-jan *", "UTC", "0 0 * jan-jan *"),
        (CRONTAB, "0 0 */1 * 1", "UTC", "0 0 */1 * 1"),
        (CRONTAB, "0 0 1-31 * 1", "UTC", "0 0 1-31 * 1"),
        (CRONTAB, "MAILTO=me\n# nightly\nCRON_TZ=Europe/Berlin\n30 2 * * 7 job\n", "UTC", "30 2 * * 0"),
        (CRONTAB, "CRON_TZ=America/New_York 0 9 * * 7", "UTC", "0 9 * * 0"),
        (AIRFLOW, "0 9 * * fri-mon", "UTC", "0 9 * * fri-sat,sun-mon"),
        (AIRFLOW, "30 22-2 * * *", "UTC", "30 22-23,0-2 * * *"),
        (AIRFLOW, "0 23-1,5 * * *", "UTC", "0 23,0-1,5 * * *"),
        (AIRFLOW, "0 20-2/3 * * *", "UTC", "0 20,23 * * *"),
        (AIRFLOW, "0 0 * nov-feb *", "UTC", "0 0 * nov-dec,jan-feb *"),
        (AIRFLOW, "0 9 * * 1-7", "UTC", "0 9 * * *"),
        (AIRFLOW, "0 9 * * 7,7,sun", "UTC", "0 9 * * 0,sun"),
        (AIRFLOW, "0 0 * jan-jan *", "UTC", "0 0 * * *"),
        (AIRFLOW, "0 0 */1 * 1", "UTC", "0 0 * * *"),
        (AIRFLOW, "0 0 */2 * 1", "UTC", "0 0 */2 * 1"),
        (AIRFLOW, "59/15 6/1 * * *", "UTC", "59/15 6/1 * * *"),
        (AIRFLOW, "0 9 * * * 0", "UTC", "0 9 * * *"),
        (AIRFLOW, "0 9 * * * 0 *", "UTC", "0 9 * * *"),
        (AIRFLOW, "0 9 ? * MON", "UTC", "0 9 ? * MON"),
        (AIRFLOW, "0 0 L 4,6 *", "UTC", "0 0 30 4,6 *"),
        (AIRFLOW, "0 0 31 2 *", "UTC", "0 0 31 2 *"),
        (AIRFLOW, "@quarterly", "UTC", "0 0 1 */3 *"),
        (AIRFLOW, "* * * * 7", "Europe/Berlin", "* * * * 0"),
    ],
)
def test_the_same_fire_times(dialect: Dialect, expression: str, zone: str, typed: str) -> None:
    given_advice = advice(dialect, expression, zone)
    assert given_advice.same and given_advice.whole
    assert given_advice.expression == typed
    assert report.lines(given_advice)[0].startswith(f'type "{given_advice.expression}": ')


@pytest.mark.parametrize(
    ("dialect", "expression", "typed", "there", "here", "condition"),
    [
        (CRONTAB, "0 0 L * *", "0 0 28-31 * *", 60, 206, "(slot + timedelta(days=1)).day == 1"),
        (AIRFLOW, "0 0 L,15 * *", "0 0 15,28-31 * *", 120, 266, "slot.day == 15 or (slot + timedelta(days=1)).day == 1"),
        (AIRFLOW, "0 0 L 2 *", "0 0 28,29 2 *", 5, 6, "(slot + timedelta(days=1)).day == 1"),
        (AIRFLOW, "0 0 * * 5#2", "0 0 * * 5", 60, 261, "(slot.day - 1) // 7 == 1"),
        (AIRFLOW, "0 0 * * L5", "0 0 * * 5", 60, 261, "(slot + timedelta(days=7)).day <= 7"),
        (
            AIRFLOW,
            "0 0 15W * *",
            "0 0 14-16 * *",
            60,
            180,
            "slot.day == 15 and slot.weekday() < 5 or (slot.day, slot.weekday()) in ((14, 4), (16, 0))",
        ),
        (
            AIRFLOW,
            "0 0 1W * *",
            "0 0 1-3 * *",
            60,
            180,
            "slot.day == 1 and slot.weekday() < 5 or (slot.day, slot.weekday()) in ((2, 0), (3, 0))",
        ),
        (
            AIRFLOW,
            "0 0 * * 1#1,3#2",
            "0 0 * * 1,3",
            120,
            522,
            "slot.isoweekday() % 7 == 1 and (slot.day - 1) // 7 == 0 or slot.isoweekday() % 7 == 3 and (slot.day - 1) // 7 == 1",
        ),
        (AIRFLOW, "0 0 1 1 * 0 2028-2029", "0 0 1 1 *", 2, 5, "slot.year in (2028, 2029)"),
        (CRONTAB, "0 0 */10 * 1", "0 0 */10 * *", 32, 215, "slot.isoweekday() % 7 == 1"),
    ],
)
def test_the_nearest_and_a_guard(dialect: Dialect, expression: str, typed: str, there: int, here: int, condition: str) -> None:
    nearest = advice(dialect, expression)
    assert (nearest.expression, nearest.there, nearest.here) == (typed, there, here)
    assert (nearest.only_there, nearest.only_here, nearest.date_count) == (0, here - there, here - there)
    assert len(nearest.dates) == min(10, here - there) and not nearest.same and not nearest.shifts_alone
    assert nearest.guard is not None and nearest.guard.text == condition
    kept = [
        slot
        for slot in takewhile(lambda slot: slot <= nearest.until, fires(parse(typed), "UTC", NOW))
        if eval(nearest.guard.text, {"slot": slot, "timedelta": timedelta})
    ]
    assert kept == coming(nearest.reading, NOW, nearest.until, 1000) and len(kept) == there


@pytest.mark.parametrize(
    ("dialect", "gap", "again"),
    [(CRONTAB, "2027-03-28T01:00", "2027-10-31T01:30"), (AIRFLOW, "2027-03-28T01:30", "2027-10-31T00:30")],
)
def test_a_shift_of_the_clock_is_told_by_its_date(dialect: Dialect, gap: str, again: str) -> None:
    shifted = advice(dialect, "30 2 * * 7", "Europe/Berlin")
    assert (shifted.expression, shifted.shifts_alone, shifted.date_count) == ("30 2 * * 0", True, 10)
    assert [date.there for date in shifted.dates[:2]] == [(datetime.fromisoformat(gap + "Z"),), ()]
    assert [date.here for date in shifted.dates[:2]] == [(), (datetime.fromisoformat(again + "Z"),)]


@settings(max_examples=60)
@given(
    st.sampled_from(Dialect),
    st.sampled_from(["30 2 * * *", "*/20 2 * * *", "0 */2 * * *", "15 1,2 * * *", "*/30 * * * *", "0 0 * * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut"]),
    st.sampled_from(["2026-03-08", "2026-03-29", "2026-04-05", "2026-09-06", "2026-10-04", "2026-10-25", "2026-11-01"]),
    st.integers(-26 * 60, 26 * 60),
)
def test_where_one_begins_to_look_changes_no_fire_time(
    dialect: Dialect, expression: str, zone: str, day: str, minutes: int
) -> None:
    reading, at_shift = read(dialect, expression, zone), datetime.fromisoformat(day).replace(tzinfo=UTC)
    after, until = at_shift + timedelta(minutes=minutes), at_shift + timedelta(days=3)
    whole = coming(reading, at_shift - timedelta(days=5), until, 10_000)
    assert coming(reading, after, until, 10_000) == [time for time in whole if time > after]


def test_inside_a_doubled_hour_crontab_has_run_what_it_runs_once() -> None:
    # 02:30 came at 00:30Z; from within the second hour, which begins at 01:00Z, it does not come again.
    times = coming(read(Dialect.CRONTAB, "30 2 * * *", "Europe/Berlin"), datetime(2026, 10, 25, 1, 15, tzinfo=UTC), None, 1)
    assert times == [datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]


def test_seconds_are_counted_up_to_a_limit() -> None:
    often = advice(AIRFLOW, "* * * * * *")
    assert not often.whole and not often.same and often.expression == "* * * * *"
    assert often.there > 2_500_000 and often.only_there == often.there - often.here
    assert "only the first" in "\n".join(report.lines(often))
    late = advice(AIRFLOW, "0 9 * * * 30")
    assert (late.there, late.only_there, late.only_here, late.guard) == (1827, 1827, 1827, None)
    assert coming(often.reading, NOW, None, 2) == [NOW + timedelta(seconds=1), NOW + timedelta(seconds=2)]


@pytest.mark.parametrize(
    ("dialect", "expression", "said"),
    [
        (CRONTAB, "", "it is empty"),
        (CRONTAB, "TZ=Europe/Berlin 0 1 * * *", "it sets variables and has no schedule"),
        (AIRFLOW, "@Quarterly", "Airflow does not know @Quarterly"),
        (CRONTAB, "@reboot /usr/bin/job", "@reboot has no time"),
        (CRONTAB, "@fortnightly", "cron does not know @fortnightly"),
        (CRONTAB, "0 9 * *", "it has 4 fields, a crontab's schedule has five"),
        (CRONTAB, "0 0 1 * * *", "cron refuses a command that begins with *"),
        (CRONTAB, "0~30 9 * * *", "0~30: cron draws a number"),
        (CRONTAB, "H 9 * * *", "H: it stands for a number that a hash or chance chooses"),
        (CRONTAB, "0 9 * * 8", "neither cron nor croniter can read it"),
        (CRONTAB, "CRON_TZ=Europe/Berln\n0 9 * * *", "CRON_TZ=Europe/Berln is not a time zone"),
        (CRONTAB, "0 9 * * * a\n0 8 * * * b", "it has 2 schedules"),
        (AIRFLOW, "@once", "@once has no fire times"),
        (AIRFLOW, "@continuous", "@continuous has no fire times"),
        (AIRFLOW, "None", "None has no fire times"),
        (AIRFLOW, "@fortnightly", "Airflow does not know @fortnightly"),
        (AIRFLOW, "H 9 * * *", "H: Airflow gives it no id to hash"),
        (AIRFLOW, "R(0-10) 9 * * *", "R(0-10): chance draws it anew"),
        (AIRFLOW, "timedelta(hours=6, minutes=30)", "type @every 6h30m"),
        (AIRFLOW, "timedelta(0)", "is no distance between runs"),
        (AIRFLOW, "timedelta(hours=x)", "cannot be read"),
        (AIRFLOW, "0 9 * * * 0 2027 x", "it has 8 fields"),
        (AIRFLOW, "0 0 1 1 * 0 2020", "it does not fire in the 5 years from 2026-11-26"),
    ],
)
def test_what_has_no_fire_times_that_can_be_known(dialect: Dialect, expression: str, said: str) -> None:
    with pytest.raises(DialectError, match=re.escape(said)):
        advice(dialect, expression)


@pytest.mark.parametrize(
    ("expression", "note"),
    [
        ("0 9 * * 7 /usr/bin/job", "from the sixth word on it is the command: /usr/bin/job"),
        ("0 9 * * fri-mon", "cron itself refuses fri-mon"),
        ("0 0 L * *", "cron itself refuses L"),
        ("5/15 * * * *", "cron itself refuses 5/15"),
        ("0 12 1 1 ? 2027", "this is no crontab's line"),
        ("TZ=Europe/Berlin\n0 9 * * 7 job", "TZ= is for the command alone"),
        ("RANDOM_DELAY=30\n0 9 * * 7 job", "starts it later by chance"),
        ("CRON_TZ=Europe/Berlin\n0 9 * * 7 job", "type it as timezone: Europe/Berlin"),
    ],
)
def test_what_a_crontabs_line_has_besides_is_noted(expression: str, note: str) -> None:
    assert note in "\n".join(read(CRONTAB, expression, "UTC").notes)


SIMPLE = st.sampled_from(["*", "0", "7", "1-5", "*/2", "5-2", "3,3", "1/2", "0-0", "2-9/3", "?", "*/1"])
WEEKDAYS = st.sampled_from(["*", "7", "fri-mon", "1-7", "0-7", "5#2", "L3", "sun", "*/2", "1-7/2", "mon,7", "5-7", "6-1/2"])
DAYS = st.sampled_from(["*", "L", "15W", "1", "31", "*/2", "*/1", "1-31", "28-3", "10-20/3", "L,1", "30,31"])
MONTHS = st.sampled_from(["*", "*", "2", "nov-feb", "jan-jan", "*/3", "4,6,9,11"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Africa/Cairo", "America/New_York"])


@given(st.sampled_from(Dialect), st.sampled_from(["0", "30", "0,45"]), SIMPLE, DAYS, MONTHS, WEEKDAYS, ZONES)
@settings(max_examples=60)
def test_a_claim_holds_for_every_fire_time_recomputed(
    dialect: Dialect, minute: str, hour: str, day: str, month: str, weekday: str, zone: str
) -> None:
    """By the systems' own loops, minute by minute or run by run; of what fires often for the first months."""
    try:
        reading = read(dialect, f"{minute} {hour} {day} {month} {weekday}", zone)
        claim = advise(reading, NOW, 4000)
    except DialectError:
        return
    here = [moment for moment in takewhile(lambda moment: moment <= claim.until, fires(parse(claim.expression), zone, NOW))]
    if dialect is CRONTAB:
        strict = cron_fields(reading.schedule)
        assert reading.strict == (strict is not None)
        if strict is None:
            return
        there = cron_fires(reading.schedule, zone, NOW, claim.until)
    else:
        there = airflow_fires(reading.schedule, zone, NOW, claim.until)
    assert (claim.there, claim.here) == (len(there), len(here))
    assert claim.same == (there == here)
    assert (claim.only_there, claim.only_here) == (len(set(there) - set(here)), len(set(here) - set(there)))


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text("0123456789*/,-#?LWRHlwrh@ \t~%()=dailyonce", max_size=40),
    st.lists(st.one_of(SIMPLE, DAYS, WEEKDAYS, MONTHS, st.text("0123456789*/,-#?LWRH", max_size=6)), max_size=8).map(" ".join),
)


@given(st.sampled_from(Dialect), TEXTS, ZONES)
@settings(max_examples=300)
def test_any_text_is_read_or_refused_in_a_sentence(dialect: Dialect, text: str, zone: str) -> None:
    try:
        answer = advise(read(dialect, text, zone), NOW, 2000)
    except DialectError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert parse(answer.expression)
    assert report.lines(answer) and report.values(answer, [])["type"] == answer.expression


@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        ("0 9 * * 7", "UTC", '"0 9 * * 0" has crontab\'s fire times over 5 years in UTC'),
        ("0 9 * * fri-mon", "UTC", '"0 9 * * fri-sat,sun-mon" has airflow\'s fire times over 5 years in UTC'),
        ("0 9 * * 7 /usr/bin/job", "UTC", '"0 9 * * 0" has crontab\'s fire times over 5 years in UTC'),
        (
            "30 2 * * 7",
            "Europe/Berlin",
            '"30 2 * * 0" has crontab\'s fire times over 5 years in Europe/Berlin but on 10 dates when the clock is shifted',
        ),
        (
            "0 0 L * *",
            "UTC",
            'the nearest is "0 0 28-31 * *", with 146 more than airflow\'s 60 over 5 years in UTC: '
            "cronsemble next --dialect airflow '0 0 L * *' says how they differ",
        ),
        ("* 22-2 * * *", "UTC", '"* 22-23,0-2 * * *" has airflow\'s fire times until 2027-02-04 in UTC'),
        (
            "0 9 * * 7 0",
            "UTC",
            'read with the seconds last, as Airflow does, "0 9 * * 0" has airflow\'s fire times over 5 years in UTC',
        ),
        (
            "0 0 1 * * *",
            "UTC",
            "read with the seconds last, as Airflow does, cronsemble next --dialect airflow '0 0 1 * * *' says what to type",
        ),
        ("0 9 * * 8", "UTC", None),
        ("@reboot", "UTC", None),
        ("H 9 * * *", "UTC", None),
        ("TZ=Europe/Berlin 0 1 * * *", "UTC", None),
    ],
)
def test_a_hint_for_an_error(expression: str, zone: str, said: str | None) -> None:
    assert hint(expression, zone, NOW.date()) == said


@pytest.mark.parametrize(("date", "done"), [("2026-11-29", False), ("2026-11-30", True)])
def test_a_data_function_guards_the_date(tmp_path: Path, date: str, done: bool) -> None:
    """The printed lines in a data function, in the process that calls it."""
    last_day = advice(AIRFLOW, "0 0 L * *", "Europe/Berlin")
    assert last_day.guard is not None
    lines = "\n    ".join(last_day.guard.python("Europe/Berlin"))
    source = f"""
import os, re, sys, numpy
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo
def data(hyperparameters):
    {lines}
    return {{"x_train": numpy.zeros((600, 4)), "y_train": numpy.arange(600) % 3}}
"""
    program, store = tmp_path / "program.pyz", LocalStore(tmp_path / "store")
    program.write_bytes(build_program())
    code = store.put_snapshot("code", deterministic_zip([("guarded.py", source.encode())]))
    task = {
        "timezone": "Europe/Berlin",
        "snapshot": {"program": "", "code": code},
        "data": {"dataset": "guarded.py:data", "predict": "holdout", "key": "k"},
        "data_seed": 1,
        "model": "mlp",
    }
    midnight = datetime.fromisoformat(date).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    run = store.claim("e", "train-m", int(midnight.timestamp()) // 60)
    assert isinstance(run, RunId)
    process = supervise(program, store, run, "prepare", task)
    said, _ = process.communicate()
    assert process.returncode == (ExitCode.DONE if done else ExitCode.WRONG_INPUT), said
    if not done:
        assert store.read(run).reason.startswith("prepare: 2026-11-29 is no date of the schedule (sys.exit(3) (guarded.py:")
