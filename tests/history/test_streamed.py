"""The history of any number of rows: what is read month by month and written as it comes is what all rows at once would be."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jobs.compact_list
import scheduler.commands.history
import scheduler.history.columns
from jobs.compact_list import CompactList
from jobs.csv_text import csv_text
from jobs.store import LocalStore
from scheduler.commands.history import OutputFormat, print_history
from scheduler.console import json_output
from scheduler.console.tables import Table
from scheduler.history import calendar
from scheduler.history.columns import DEFAULT, RowSource, choose_columns, sort_rows
from scheduler.history.query import HistoryQuery, rows
from scheduler.history.slots import Row
from scheduler.stores.history_reader import HistoryReader
from stores import Builder, at, minute

NOW = at("2026-11-20T12:00").timestamp()
FIRST = minute("2026-06-01T00:00")
TASKS = ["train-a", "train-b", "ensemble"]
RUNS = st.lists(
    st.tuples(
        st.sampled_from(TASKS),
        st.integers(0, 172),  # days
        st.sampled_from([0, 60]),
        st.sampled_from(["succeeded", "succeeded", "failed", "running"]),
        st.sampled_from(["scheduled", "manual", "rerun"]),
    ),
    max_size=14,
)
QUERIES = st.builds(
    HistoryQuery,
    st.none() | st.just(minute("2026-08-15T00:00")),
    st.none() | st.just(minute("2026-10-31T23:59")),
    st.sets(st.sampled_from(TASKS), max_size=2),
    st.sets(st.sampled_from(["succeeded", "missed", "degraded", "not yet due"]), max_size=2),
    st.integers(0, 20),
)


def build(folder: Path, drawn: list[tuple[str, int, int, str, str]], is_revised: bool) -> LocalStore:
    builder = Builder(folder)
    if is_revised:
        builder.revise("2026-06-05T00:00", {task: {"schedule": "0 0 */9 * *"} for task in TASKS})
    attempts: dict[tuple[str, int], int] = {}
    trained: dict[str, str] = {}
    for number, (task, day, offset, status, kind) in enumerate(sorted(drawn, key=lambda each: each[1:3])):
        slot = FIRST + day * 1440 + offset
        attempts[task, slot] = attempts.get((task, slot), 0) + 1
        more: dict[str, Any] = {"hyperparameters": {"epochs": number}} if number % 3 else {}
        if task == "ensemble":
            members = [{"member": member, "run": run, "accuracy": 0.5} for member, run in trained.items()]
            combined = {member: {"weight": 0.5, "accuracy_here": number / 32, "loss": 0.25} for member in trained}
            more = {"members": members, "ensemble": {"members": combined, "loss": 0.5, "accuracy": 0.75}}
        run = builder.run(task, slot, status, attempt=attempts[task, slot], kind=kind, reason='é, "x"', **more)
        if status == "succeeded":
            trained[task.removeprefix("train-")] = str(run)
    return builder.store


def printed(reader: HistoryReader, query: HistoryQuery, output: OutputFormat, limit: int) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(out):
        print_history(reader, query, output, limit)
    out.flush()
    return bytes(out.buffer.getvalue()).decode()  # type: ignore[attr-defined]


def as_table(found: list[Row], reader: HistoryReader) -> str:
    names = [name for name in DEFAULT if name != "tries" or any((row.try_number or 1) > 1 for row in found)]
    columns = choose_columns(names, found, scheduler.commands.history._row_source(reader))
    table = Table([column.printed for column in columns], [[column.text(row) for column in columns] for row in found], None)
    return "".join(f"{line}\n" for line in table.lines())


@settings(max_examples=25, deadline=None)
@given(RUNS, st.booleans(), QUERIES)
def test_what_is_streamed_is_what_all_rows_are(
    drawn: list[tuple[str, int, int, str, str]], is_revised: bool, query: HistoryQuery
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        store = build(folder, drawn, is_revised)
        if not store.tasks("e"):
            return

        def reader() -> HistoryReader:
            return HistoryReader(store, "e", "Europe/Berlin", NOW)

        one = reader()
        facts = {(task, month): list(one._page((task, month))) for task, own in one.history.months.items() for month in own}
        expected = rows(one.history, query, facts)
        limit = query.limit
        assert list(reader().stream(query)) == reader().rows(query) == expected
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(scheduler.commands.history, "BLOCK", 3)
            patched.setattr(jobs.compact_list, "COMPRESSED", 2)
            lines = ",\n ".join(json_output.as_ascii(msgspec.json.encode(row).decode()) for row in expected)
            assert printed(reader(), query, OutputFormat(as_json=True), limit) == f"[{lines}]\n"
            csv = csv_text([Row.__struct_fields__, *(msgspec.structs.astuple(row) for row in expected)])
            assert printed(reader(), query, OutputFormat(as_csv=True), limit) == csv
            table = printed(reader(), query, OutputFormat(), limit)
            assert table == as_table(expected, reader()) if expected else table.count("\n") == 1
        bounded = calendar.calendar_query(query, "Europe/Berlin", NOW)
        days = calendar.calendar_days(iter(rows(one.history, bounded, facts)), bounded, "Europe/Berlin")
        assert printed(reader(), query, OutputFormat(as_json=True, calendar=True), limit) == (
            "[" + ",\n ".join(msgspec.json.encode(cell).decode() for cell in calendar.cells(days)) + "]\n"
        )
    finally:
        shutil.rmtree(folder)


def row_of(number: int, epochs: Any) -> Row:
    return Row("", "", "train-a", "succeeded", epochs, None, None, 1, None, None, "", "", "", number)


@given(
    st.lists(st.none() | st.just("") | st.integers(-5, 5) | st.floats(-2, 2) | st.sampled_from(["x", "10", "9"]), max_size=40),
    st.booleans(),
    st.integers(0, 6),
)
def test_the_first_of_a_sorted_history_are_those_of_all_sorted(values: list[Any], descending: bool, limit: int) -> None:
    found = [row_of(n, value) for n, value in enumerate(values)]
    (column,) = choose_columns(["accuracy"], (), RowSource("e", "UTC", (), lambda row: {}, lambda task, minute: 1))
    whole = sort_rows(found, column, descending)
    there = [row for row in found if row.accuracy not in (None, "")]
    are_numbers = all(isinstance(row.accuracy, int | float) for row in there)
    by_value = sorted(there, key=lambda row: row.accuracy if are_numbers else str(row.accuracy), reverse=descending)  # type: ignore
    assert whole == [*by_value, *(row for row in found if row.accuracy in (None, ""))]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scheduler.history.columns, "_BLOCK", 2)
        assert sort_rows(found, column, descending, limit) == whole[: limit or None]


@given(st.lists(st.lists(st.text() | st.integers() | st.none(), max_size=3), max_size=20), st.integers(1, 7))
def test_a_compact_list_is_a_list(values: list[list[Any]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jobs.compact_list, "COMPRESSED", block)
        compact: CompactList[list[Any]] = CompactList(list, list, values[:5])
        compact += values[5:]
        assert list(compact) == values == list(compact) and len(compact) == len(values)
        assert bool(compact) == bool(values) and compact == values and compact != [*values, [1]]


def test_a_million_like_rows_take_little_memory() -> None:
    compact: CompactList[list[str]] = CompactList(list, list)
    compact += ([str(n), "train-tensorflow", "succeeded", "2026-11-20T01:00+01:00"] for n in range(100_000))
    assert sum(map(sys.getsizeof, compact._blocks)) < 2_000_000


def test_an_object_with_a_long_list_is_printed_as_any(capsys: pytest.CaptureFixture[str]) -> None:
    for values in ([], [{"a": 1, "é": ["x", {"y": None}]}], [1, [], {}, "two\nlines"]):
        for others in ({"size": 3, "consequences": ["é"]}, {}):
            json_output.print_json_with_list("items", values, others)
            streamed = capsys.readouterr().out
            json_output.print_json({"items": values, **others})
            assert streamed == capsys.readouterr().out
