"""What the report computes, against numbers computed here from the archived CSVs, and by hand."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import RunKind, Status
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import Row
from scheduler.report.calendar import fine_dates
from scheduler.report.calibration import reliability
from scheduler.report.change_points import last_change
from scheduler.report.class_names import display_names
from scheduler.report.confusion import MOST_CLASSES, confusion
from scheduler.report.findings import accuracy_of
from scheduler.report.line_chart import LineChart, Mark, Series, place
from scheduler.report.pictures import read_sprite
from scheduler.report.report import Report, read_report
from scheduler.report.slot_groups import group_rows
from scheduler.stores.history_reader import HistoryReader
from stores import at
from year_store import CLASSES, ITEMS, Nights, build

DAYS = 60


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    yield build(tmp_path_factory.mktemp("nights") / "store", DAYS)


@pytest.fixture(scope="module")
def reader(nights: Nights) -> HistoryReader:
    return HistoryReader(nights.builder.store, "e", "UTC", at(f"{nights.date(DAYS - 1)}T12:00").timestamp())


@pytest.fixture(scope="module")
def report(reader: HistoryReader) -> Report:
    return read_report(reader)


def table(path: Path) -> np.ndarray:
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))[1:]
    return np.array([row[3:] for row in rows], dtype="float64")


def test_the_trend_has_the_accuracies_that_the_csvs_give(nights: Nights, report: Report) -> None:
    archive = nights.builder.store.archive_folder("e")
    labels = next(point.result.labels for point in report.trend.points)
    assert len(report.trend.points) == sum(1 for path in archive.glob("*.csv")) > 50
    for point in report.trend.points[::7]:
        slot = archive / f"{point.row.local[:10]}T0600Z"
        assert accuracy_of(point, "ensemble") == (table(slot.with_suffix(".csv")).argmax(axis=1) == labels).mean()
        for member in point.result.combined_members:
            of_member = table(slot.with_suffix(".members") / f"{member.member}.csv")
            assert accuracy_of(point, member.member) == (of_member.argmax(axis=1) == labels).mean()


def test_the_bad_member_is_named_with_the_night_since_which_it_is(nights: Nights, report: Report) -> None:
    worst = report.findings.level_changes[0]
    assert (worst.name, worst.is_worse) == ("c", True)
    assert worst.since.row.local[:10] == nights.date(DAYS * 9 // 10)
    assert worst.changes == () or list(worst.changes) == []
    assert {change.name for change in report.findings.level_changes if change.is_worse} <= {"c", "ensemble"}
    # Both sides can be looked at.
    shown = {date.row.minute for date in report.dates}
    assert {worst.last_before.row.minute, report.trend.points[-1].row.minute} <= shown


def test_what_changed_is_told_in_words_with_its_time(nights: Nights, report: Report) -> None:
    told = {change.local[:16]: change.lines for change in report.changes}
    assert told[f"{nights.date(nights.renamed)}T00:00"] == ("train-b: gone", "train-b2: new")
    edited = told[f"{nights.date(nights.edited)}T00:30"]
    assert "all tasks: code: models.py: 1 line added, 1 removed" in edited
    assert "train-a, train-b2, train-c, train-d: epochs 4 → 8" in edited
    versions = [line for change in report.changes for line in change.lines if "keras 3.12.0 → 3.13.0" in line]
    assert versions and all(name in versions[0] for name in ("train-a", "train-c", "train-d"))


def test_a_task_that_has_problems_says_since_when(nights: Nights) -> None:
    later = at(f"{nights.date(DAYS + 2)}T12:00").timestamp()
    report = read_report(HistoryReader(nights.builder.store, "e", "UTC", later))
    states = {state.task: state for state in report.states}
    ensemble = states["ensemble"]
    assert (ensemble.status, ensemble.slots) == (Status.MISSED, 3)
    assert ensemble.since is not None and ensemble.since.local[:10] == nights.date(DAYS)
    assert ensemble.model_age == later - at(f"{nights.date(DAYS - 1)}T06:00").timestamp()
    assert ensemble.upcoming is not None and ensemble.upcoming.local[:10] == nights.date(DAYS + 3)
    assert states["train-b"].is_former and not states["train-b"].is_problem


def test_the_calendar_has_a_cell_for_every_slot_of_the_history(reader: HistoryReader, report: Report) -> None:
    rows = [row for row in reader.rows(HistoryQuery()) if row.status != Status.NOT_YET_DUE]
    cells = {
        (task, cell.date): cell for month in report.months for task, own in month.rows.items() for cell in own if cell is not None
    }
    assert set(cells) == {(row.task, row.local[:10]) for row in rows}
    for row in rows:
        expected = "succeeded, degraded" if row.degraded else row.status
        assert cells[row.task, row.local[:10]].status == expected


def row(task: str, slot: str, status: str, kind: str | None = RunKind.SCHEDULED, attempt: int = 1, reason: str = "") -> Row:
    minute = int(at(slot).timestamp() // 60)
    run = f"e-{task}-{minute}"
    return Row(slot, f"{slot}+00:00", task, status, None, None, None, attempt, kind, run, "", reason, "recorded", minute)


def test_a_manual_run_does_not_count_and_of_attempts_the_best_does() -> None:
    rows = [
        row("t", "2026-01-02T03:00", Status.FAILED, RunKind.MANUAL),
        row("t", "2026-01-02T01:00", Status.SUCCEEDED, RunKind.RERUN, 2),
        row("t", "2026-01-02T01:00", Status.FAILED),
        row("t", "2026-01-01T23:00", Status.FAILED, RunKind.MANUAL),
    ]
    from scheduler.report.calendar import calendar_months

    groups = group_rows(rows)
    (month,) = calendar_months(groups, ["t"])
    first, second = month.rows["t"]
    assert first is not None and second is not None
    assert (first.status, first.manual) == ("by hand alone", 1)
    assert (second.status, second.slots, second.manual) == (Status.SUCCEEDED, 1, 1)
    assert fine_dates(groups, ["t"]) == []


def test_many_rows_are_folded_by_date_without_losing_one() -> None:
    rows = [row("t", f"2026-01-{day:02}T{hour:02}:00", Status.FAILED if hour == 3 else Status.SUCCEEDED, reason="x" * (hour == 3))
            for day in range(20, 0, -1) for hour in range(23, -1, -1)]  # fmt: skip
    groups = group_rows(rows, most=100)
    assert groups.shown_from == "2026-01-16"
    assert sorted(groups.full["t"]) == ["2026-01-17", "2026-01-18", "2026-01-19", "2026-01-20"]
    folded = groups.folded["t"]
    assert len(folded) == 16 and all(each.counts == {Status.SUCCEEDED: 23, Status.FAILED: 1} for each in folded.values())
    assert all(each.reasons == {Status.FAILED: "x"} for each in folded.values())
    assert [len(slots) for _, slots in fine_dates(groups, ["t"])] == [24] * 4


def test_a_date_has_its_items_the_wrong_ones_first(nights: Nights, report: Report) -> None:
    date = report.dates[0]
    result = date.result
    assert result.probabilities is not None
    given_labels = result.probabilities.argmax(axis=1)
    assert date.item_count == len(date.items) == ITEMS
    assert date.wrong == int((given_labels != result.labels).sum())
    assert [item.is_wrong for item in date.items] == [True] * date.wrong + [False] * (ITEMS - date.wrong)
    for item in date.items:
        assert item.item == f"item {item.number}" and item.ensemble.number == given_labels[item.number]
        for name, label in zip(date.member_names, item.members, strict=True):
            own = result.member_probabilities[name][item.number]
            assert label is not None and (label.number, label.probability) == (own.argmax(), float(own.max()))
    assert date.confusion is not None and date.reliability is not None
    assert sum(map(sum, date.confusion.counts)) == ITEMS
    assert sum(each.items for each in date.reliability.bins) == ITEMS
    assert list(date.classes) == ["bridge", "</script><b>", "=cmd()", "rot"]


def test_pictures_are_the_items_own(nights: Nights, report: Report) -> None:
    pinned = report.dates[0].result.run.record["data"]
    sprite = read_sprite(nights.builder.store, pinned, [5, 2])
    assert sprite is not None and (sprite.width, sprite.height, sprite.positions) == (8, 8, {5: 0, 2: 1})
    import base64

    data = base64.b64decode(sprite.data_uri.partition(",")[2])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    size = int.from_bytes(data[33:37], "big")
    lines = np.frombuffer(zlib.decompress(data[41 : 41 + size]), "uint8").reshape(8, 1 + sprite.sheet_width)[:, 1:]
    with np.load(nights.builder.store.dataset_path(pinned["fingerprint"])) as arrays:
        pictures = arrays["x_predict"][[5, 2], ..., 0]
    scaled = (pictures - pictures.min()) / (pictures.max() - pictures.min()) * 255
    assert np.abs(lines[:, :8] - scaled[0]).max() <= 0.5 and np.abs(lines[:, 8:16] - scaled[1]).max() <= 0.5


def test_the_calibration_error_is_the_mean_distance_of_the_bins() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [0.35, 0.65]], "float32")
    found = reliability(probabilities, np.array([0, 1, 1, 1]))
    assert [(each.items, each.accuracy) for each in found.bins] == [(2, 1.0), (2, 0.5)]
    assert found.error == pytest.approx((2 * abs(1 - 0.625) + 2 * abs(0.5 - 0.95)) / 4, abs=1e-6)


def test_of_many_classes_those_with_errors_are_shown() -> None:
    labels = np.arange(50)
    given_labels = labels.copy()
    given_labels[[40, 41]] = [41, 40]
    found = confusion(given_labels, labels, 50)
    assert len(found.classes) == MOST_CLASSES and {40, 41} <= set(found.classes) and found.left_out == 50 - MOST_CLASSES
    at_40, at_41 = list(found.classes).index(40), list(found.classes).index(41)
    assert found.counts[at_40][at_41] == 1 and found.counts[at_40][at_40] == 0


def test_no_two_classes_look_alike() -> None:
    assert display_names(CLASSES) == ["bridge", "</script><b>", "=cmd()", "rot"]
    assert display_names(["a", "a\x1b[31m", "\x07"]) == ["a (class 0)", "a (class 1)", "(class 2)"]


def test_a_change_of_level_is_found_where_it_is() -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(0.9, 0.01, 40), random.normal(0.6, 0.01, 20)])
    change = last_change(values.tolist(), 0.02)
    assert change is not None and change.position == 40
    assert change.before == pytest.approx(0.9, abs=0.01) and change.after == pytest.approx(0.6, abs=0.01)
    assert last_change(random.normal(0.9, 0.01, 300).tolist(), 0.02) is None
    assert last_change([0.9] * 5, 0.02) is None


@given(st.lists(st.floats(0, 1), max_size=60))
def test_any_series_is_looked_at(values: list[float]) -> None:
    change = last_change(values, 0.02)
    assert change is None or 0 < change.position < len(values)


@given(
    st.lists(st.tuples(st.integers(0, 10_000_000), st.none() | st.floats(0, 1e6)), max_size=40, unique_by=lambda pair: pair[0])
)
def test_every_line_lies_within_its_chart(pairs: list[tuple[int, float | None]]) -> None:
    pairs.sort()
    minutes = [minute for minute, _ in pairs]
    series = Series("a", [value for _, value in pairs], 0)
    placed = place(LineChart("k", "t", "u", minutes, [series], [Mark(5, "1"), Mark(5_000_000, "2")]), 360, 250)
    if all(value is None for _, value in pairs):
        assert placed is None
        return
    assert placed is not None
    (line,) = placed.lines
    points = [tuple(map(float, point.split(","))) for part in line.path.split("M")[1:] for point in part.split(" ")]
    points += line.points
    assert len(points) == sum(value is not None for value in series.values)
    assert all(placed.left <= x <= placed.right and placed.top - 0.1 <= y <= placed.bottom + 0.1 for x, y in points)
    assert all(placed.top - 0.1 <= tick.position <= placed.bottom + 0.1 for tick in placed.y_ticks)
    assert all(placed.left <= tick.position <= placed.right for tick in (*placed.x_ticks, *placed.marks))
