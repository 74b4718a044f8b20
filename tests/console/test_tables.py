"""Tables fit the terminal, whatever is in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.text import one_line
from scheduler.console.tables import Column, cells, chart, cut, lines

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
    assert cells(cut(one_line(text), room)) <= room


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


def test_a_chart_of_losses() -> None:
    assert chart([0.0, 1.0, 0.5, float("nan"), float("inf")]) == "▁█▅××"
    assert chart([float("nan")]) == "×" and chart([2.0, 2.0]) == "▁▁"


@given(st.lists(st.floats()))
def test_a_chart_has_a_bar_for_each_value(values: list[float]) -> None:
    assert len(chart(values)) == len(values)
