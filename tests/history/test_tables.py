"""Tables fit the terminal, whatever is in them; dates mean what the experiment's clocks show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.console.tables import Column, cells, clean, cut, lines
from scheduler.errors import CronsembleError
from scheduler.times import dates, is_time, parse_period
from stores import at, minute

COLUMNS = [
    Column("slot"),
    Column("task"),
    Column("status"),
    Column("accuracy", True, 1),
    Column("loss", True, 2),
    Column("reason"),
]


@given(st.lists(st.lists(st.text(max_size=30), min_size=6, max_size=6), max_size=5), st.integers(1, 200))
def test_no_line_is_longer_than_the_terminal_is_wide(rows: list[list[str]], room: int) -> None:
    found = list(lines(COLUMNS, rows, room))
    assert len(found) == len(rows) + 1
    assert all(cells(line) <= room and line.isprintable() for line in found)


@given(st.text(), st.integers(0, 50))
def test_a_cut_text_fits(text: str, room: int) -> None:
    assert cells(cut(clean(text), room)) <= room


def test_what_gives_way_in_a_narrow_terminal() -> None:
    row = [
        "2024-11-20 01:00",
        "train-tensorflow",
        "succeeded",
        "0.9812",
        "0.0731",
        "43 min late; and more to be said than there is room",
    ]
    assert "0.0731" in list(lines(COLUMNS, [row], 100))[1]
    (_, line) = lines(COLUMNS, [row], 82)
    assert "0.0731" not in line and "0.9812" in line and line.endswith("…")
    (_, line) = lines(COLUMNS, [row], 72)
    assert "0.9812" not in line and "43 min late" in line


NOW = at("2024-11-24T12:00").timestamp()


@pytest.mark.parametrize(
    ("text", "zone", "first", "last"),
    [
        ("2024-11-20", "UTC", "2024-11-20T00:00", "2024-11-20T23:59"),
        ("2024-11-20", "Europe/Berlin", "2024-11-19T23:00", "2024-11-20T22:59"),
        ("2024-03-31", "Europe/Berlin", "2024-03-30T23:00", "2024-03-31T21:59"),  # 23 hours
        ("2024-09-08", "America/Santiago", "2024-09-08T04:00", "2024-09-09T02:59"),  # no midnight
        ("2024-11-20T01:00", "Europe/Berlin", "2024-11-20T00:00", "2024-11-20T00:00"),
        ("2024-11-20T01:00Z", "Europe/Berlin", "2024-11-20T01:00", "2024-11-20T01:00"),
        ("2024-11-20T0100Z", "Europe/Berlin", "2024-11-20T01:00", "2024-11-20T01:00"),
        ("2024-10-27T02:30", "Europe/Berlin", "2024-10-27T00:30", "2024-10-27T01:30"),  # shown twice
        ("36h", "Europe/Berlin", "2024-11-23T00:00", "2024-11-23T00:00"),
    ],
)
def test_what_a_time_means(text: str, zone: str, first: str, last: str) -> None:
    assert parse_period(text, zone, NOW, "--since") == (minute(first), minute(last))
    assert is_time(text) == (not text.endswith("h"))


@pytest.mark.parametrize("text", ["yesterday", "2024-02-30", "2024-11-20T25:00", "7", "", "2024-11", "20241120"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(CronsembleError, match="--since .*: no time: type a date"):
        parse_period(text, "UTC", NOW, "--since")


def test_the_dates_of_a_span() -> None:
    found = [day.isoformat() for day in dates(minute("2024-11-19T23:30"), minute("2024-11-20T23:30"), "Europe/Berlin")]
    assert found == ["2024-11-20", "2024-11-21"]
