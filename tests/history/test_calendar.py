"""The calendar's lines: every month's name stands above its first day, whatever the dates and the width."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.history.calendar import CalendarDays, cells, lines


def printed(first: date, number: int, width: int, task: str = "train-a") -> list[str]:
    days = [first + timedelta(days=n) for n in range(number)]
    statuses = {task: {day.isoformat(): Counter({"succeeded": 1}) for day in days}}
    return list(lines(CalendarDays(days, statuses), width, lambda text, colour: text))


def test_a_few_days_of_one_month_and_many_of_the_next() -> None:
    assert [line.rstrip() for line in printed(date(2026, 11, 28), 12, 80)] == [
        "         Nov 2026-12",
        "         22 3",
        "         89 0123456 789",
        "train-a  ## ####### ###",
        "",
        "# succeeded",
    ]


def test_a_manual_test_spoils_no_day() -> None:
    days = [date(2026, 11, 23) + timedelta(days=n) for n in range(3)]
    slots = {"train-a": {"2026-11-23": Counter({"succeeded": 1})}}
    manual = {"train-a": {"2026-11-23": Counter({"failed": 2, "succeeded": 1}), "2026-11-25": Counter({"failed": 1})}}
    calendar = CalendarDays(days, slots, manual)
    *_, signs, _, legend = lines(calendar, 80, lambda text, colour: text)
    assert (signs, legend) == ("train-a  # o", "# succeeded  o manual runs alone")
    assert [(cell.date, cell.status, cell.slots, cell.counts, cell.manual) for cell in cells(calendar)] == [
        ("2026-11-25", "no slot", 0, "", "1 failed"),
        ("2026-11-23", "succeeded", 1, "1 succeeded", "2 failed, 1 succeeded"),
    ]


def test_long_names_stay_apart() -> None:
    names = ["train-one-network-of-many-layers-with-dropout", "train-one-network-of-few-layers-with-dropout"]
    slots = {name: {"2026-11-23": Counter({"succeeded": 1})} for name in names}
    found = list(lines(CalendarDays([date(2026, 11, 23)], slots), 40, lambda text, colour: text))
    assert all(len(line) <= 40 for line in found) and len({line for line in found if line.startswith("t")}) == 2


@given(st.dates(date(1999, 12, 1), date(2030, 1, 1)), st.integers(1, 90), st.integers(24, 120))
def test_every_month_is_named_above_its_first_day(first: date, number: int, width: int) -> None:
    named: dict[str, date] = {}
    seen = 0
    block: list[str] = []
    for line in printed(first, number, width)[:-1]:
        assert len(line) <= width
        if line:
            block.append(line)
            continue
        *labels, tens, ones, signs = block
        columns = [n for n, sign in enumerate(signs) if n >= len("train-a  ") and sign == "#"]
        days = {column: first + timedelta(days=seen + n) for n, column in enumerate(columns)}
        seen += len(columns)
        for column, day in days.items():
            assert (tens.ljust(column + 1)[column] + ones[column]).strip() == str(day.day)
        for label in labels:
            for name in label.split():
                day = days[label.index(name)]
                assert name in (day.isoformat()[:7], f"{day:%b}")
                named.setdefault(day.isoformat()[:7], day)
        block = []
    expected = [first + timedelta(days=n) for n in range(number)]
    assert seen == number and named == {day.isoformat()[:7]: day for day in reversed(expected)}
