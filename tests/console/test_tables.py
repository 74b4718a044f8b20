"""Tables fit the terminal, whatever is in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.text import one_line
from scheduler.console.tables import Column, Table, chart
from scheduler.console.text_width import cells, fold, shorten_distinct

COLUMNS = [
    Column("slot"),
    Column("task", is_name=True),
    Column("status", coloured=True),
    Column("accuracy", True, 1),
    Column("loss", True, 2),
    Column("reason"),
]


TEXTS = st.one_of(st.text(max_size=30), st.text("ab-", min_size=25, max_size=40), st.text("ab 界", max_size=120))
ROWS = st.lists(st.lists(TEXTS, min_size=6, max_size=6), max_size=5)


@given(ROWS, st.integers(2, 200))
def test_no_line_is_longer_than_the_terminal_is_wide(rows: list[list[str]], room: int) -> None:
    for line in Table(COLUMNS, rows, room).lines():
        assert cells(line) <= room and line.isprintable()


@given(ROWS, st.integers(2, 200))
def test_nothing_is_lost_but_the_columns_that_are_named(rows: list[list[str]], room: int) -> None:
    table = Table(COLUMNS, rows, room)
    text = "".join(table.lines()).replace(" ", "")
    assert set(table.left_out) <= {"accuracy", "loss"}
    for row in rows:
        for column, cell in zip(COLUMNS, row, strict=True):
            # Two others may be shortened in their middle.
            if column.name not in (*table.left_out, "slot", "task"):
                assert one_line(cell).replace(" ", "") in text


@given(ROWS)
def test_where_there_is_no_terminal_every_text_is_whole(rows: list[list[str]]) -> None:
    table = Table(COLUMNS, rows, None)
    found = list(table.lines())
    assert len(found) == len(rows) + 1 and not table.left_out
    for row, line in zip(rows, found[1:], strict=True):
        assert all(one_line(cell).rstrip() in line for cell in row)


@given(st.sets(st.text("ab-c", min_size=1, max_size=60), max_size=8), st.integers(1, 60))
def test_no_two_shortened_texts_become_the_same(texts: set[str], room: int) -> None:
    shortened = shorten_distinct(texts, room)
    assert len(set(shortened.values())) == len(texts)
    assert all(cells(text) <= max(room, cells(whole)) for whole, text in shortened.items())


@given(st.text("ab 界e\u0301", max_size=200), st.integers(2, 80))
def test_a_folded_text_fits_and_loses_nothing(text: str, room: int) -> None:
    lines = fold(one_line(text), room)
    assert all(cells(line) <= room for line in lines)
    assert "".join(lines).replace(" ", "") == one_line(text).replace(" ", "")


ROW = [
    "2024-11-20 01:00",
    "train-tensorflow",
    "succeeded",
    "0.9812",
    "0.0731",
    "43 min late; and more to be said than there is room",
]


def test_what_gives_way_in_a_narrow_terminal() -> None:
    assert "0.0731" in list(Table(COLUMNS, [ROW], 100).lines())[1]
    table = Table(COLUMNS, [ROW], 82)
    _, first, *others = table.lines()
    assert table.left_out == ["loss"] and "0.9812" in first
    assert [line[: -len(line.lstrip())] for line in others] == [" " * first.index("43 min")] * len(others)
    table = Table(COLUMNS, [ROW], 72)
    assert table.left_out == ["accuracy", "loss"] and "43 min late" in list(table.lines())[1]
    # Narrower than that, the reason is below its row.
    assert list(Table(COLUMNS, [ROW], 50).lines()) == [
        "slot              task         status     accuracy",
        "    reason",
        "2024-11-20 01:00  train…rflow  succeeded    0.9812",
        "    43 min late; and more to be said than there is",
        "    room",
    ]
    # And below that every row is a block, with all its columns.
    table = Table(COLUMNS, [ROW], 20)
    assert not table.left_out and list(table.lines())[:4] == ["slot: 2024-11-20", "01:00", "task:", "train-tensorflow"]


def test_a_header_is_folded_before_a_column_is_left_out() -> None:
    columns = [Column("slot (America/Argentina/Buenos_Aires)"), Column("loss", True, 1), Column("reason")]
    table = Table(columns, [["2024-11-20 01:00", "0.1", "late"]], 50)
    assert list(table.lines())[:2] == [f"{'slot':<34}loss  reason", "(America/Argentina/Buenos_Aires)"] and not table.left_out


def test_members_with_long_names_stay_apart() -> None:
    names = [f"train-convolutional-network-with-{kind}-dropout-and-augmentation" for kind in ("high", "low", "no")]
    rows = [["2024-11-20 01:00", name, "succeeded", "", "", ""] for name in names]
    found = list(Table(COLUMNS, rows, 80).lines())[1:]
    assert len({line[18:60] for line in found}) == 3 and all("…" in line and cells(line) <= 80 for line in found)


def test_a_chart_of_losses() -> None:
    assert chart([0.0, 1.0, 0.5, float("nan"), float("inf")]) == "▁█▅××"
    assert chart([float("nan")]) == "×" and chart([2.0, 2.0]) == "▁▁"


@given(st.lists(st.floats()))
def test_a_chart_has_a_bar_for_each_value(values: list[float]) -> None:
    assert len(chart(values)) == len(values)
