"""The lines of a live display: they fit the terminal, whatever it is, and say how far each task is."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobs.contract import RunId, Status
from jobs.store import Run
from scheduler.console.live_rows import Row, format_elapsed, lines, total_line
from scheduler.console.run_display import LiveDisplay, PlainDisplay
from scheduler.console.text_width import cells


def training(title: str = "train-tensorflow", epoch: int = 3) -> Row:
    row = Row(title, 0.0, "train tensorflow (try 2 of 3)")
    row.add_epoch({"epoch": epoch, "epochs": 8, "seconds": 10.0, "val_loss": 0.0512, "val_accuracy": 0.9812}, 40.0)
    return row


def test_a_row_by_the_terminals_width() -> None:
    text = "train tensorflow (try 2 of 3), epoch 3/8, loss 0.0512, accuracy 0.9812, 45s left"
    assert lines([training()], 140, 24, 45.0) == [(f"train-tensorflow     0:45  ━━━━━━━╌╌╌╌╌╌╌╌╌  {text}", "")]
    assert [line for line, _ in lines([training()], 80, 24, 45.0)] == [
        "train-tensorflow     0:45  train tensorflow (try 2 of 3), epoch 3/8, loss",
        "                           0.0512, accuracy 0.9812, 45s left",
    ]
    assert [line for line, _ in lines([training()], 50, 24, 45.0)][:2] == [
        "train-tensorflow     0:45",
        "  train tensorflow (try 2 of 3), epoch 3/8, loss",
    ]


def test_the_bar_moves_within_an_epoch_and_never_beyond_it() -> None:
    row = training()
    assert [round(row.done(now) * 8, 2) for now in (40.0, 45.0, 49.0, 500.0)] == [3.0, 3.5, 3.9, 3.95]
    assert training(epoch=8).done(500.0) == 1.0
    row.restart()
    assert (row.done(50.0), row.text(50.0)) == (0.0, "")


def test_times_and_counts() -> None:
    assert [format_elapsed(seconds) for seconds in (0.9, 61, 3723)] == ["0:00", "1:01", "1:02:03"]
    assert total_line(4, 12, 600) == "4 of 12 ended, 10:00, about 20m left"
    assert total_line(0, 12, 5) == "0 of 12 ended, 0:05" and total_line(12, 12, 60) == "12 of 12 ended, 1:00"


def test_what_has_no_line_is_counted() -> None:
    rows = [Row(f"train-{n}", 0.0, stage) for n, stage in enumerate(["train a", "waiting", "waiting", "prepare"])]
    found = [line for line, _ in lines(rows, 80, 2, 1.0)]
    assert len(found) == 2 and found[1] == "and 3 more: 2 waiting, 1 prepare"


TITLES = st.lists(st.text("abc-界 ", min_size=1, max_size=60), min_size=1, max_size=6, unique=True)


@given(TITLES, st.integers(20, 160), st.integers(2, 30), st.booleans())
def test_lines_fit_whatever_the_terminal(titles: list[str], room: int, height: int, is_ended: bool) -> None:
    rows = [training(title) for title in titles]
    for row in rows:
        row.ended = 50.0 if is_ended else None
    found = lines(rows, room, height, 60.0)
    assert len(found) <= height and all(cells(line) <= room for line, _ in found)


def ended(task: str, folder: Path) -> Run:
    return Run(RunId(29926320, 1, "e", task), folder, Status.SUCCEEDED, record={"accuracy": 0.9})


def test_runs_of_several_slots_are_numbered(tmp_path: Path) -> None:
    plain, live = StringIO(), StringIO()
    terminal = Console(file=live, force_terminal=True, width=80, height=10)
    for display in (PlainDisplay(plain), LiveDisplay(terminal)):
        with display:
            display.expect(12)
            for n in range(1, 12):
                label = f"train-a 2026-11-{n:02}T01:00Z"
                display.stage(label, "train a")
                if n < 11:
                    display.done(label, ended("train-a", tmp_path))
    assert plain.getvalue().splitlines()[6:8] == [
        "4 of 12 train-a 2026-11-04T01:00Z: train a",
        "4 of 12 train-a 2026-11-04T01:00Z: succeeded, accuracy 0.9000",
    ]
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", live.getvalue())
    assert "4 of 12 train-a 2026-11-04T01:00Z     0:00  succeeded, accuracy 0.9000" in shown
    assert "11 of 12 train-a 2026-11-11T01:00Z     0:00  " in shown and "10 of 12 ended, 0:00" in shown
