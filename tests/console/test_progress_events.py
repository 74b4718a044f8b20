"""What the user's code may write into a progress file, and what is read of it."""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobs.contract import PROGRESS
from scheduler.console.progress_events import parse_event
from scheduler.console.run_display import LiveDisplay, LogTail, PlainDisplay
from stores import Builder

EPOCH = {"event": "epoch", "epoch": 1, "epochs": 2, "seconds": 0.5, "val_loss": 0.25, "val_accuracy": 0.75}
ODD: list[Any] = ["[link=http://x]y[/", "\x1b[2J", None, [], {}, True, -1, 0, 1e308, 10**400, float("nan"), "1"]


@given(st.binary() | st.text().map(str.encode) | st.dictionaries(st.sampled_from([*EPOCH, "text"]), st.sampled_from(ODD)).map(
    lambda value: json.dumps({**EPOCH, **value}).encode()))  # fmt: skip
@pytest.mark.holds("code-progress")
def test_any_line_is_an_event_that_can_be_shown_or_none(line: bytes) -> None:
    event = parse_event(line)
    plain, live = StringIO(), StringIO()
    if event is not None:
        with PlainDisplay(plain) as lines, LiveDisplay(Console(file=live, force_terminal=True, width=200)) as display:
            lines.event("train-a", event)
            display.event("train-a", event)
        assert plain.getvalue().count("\n") == 1 and plain.getvalue().strip().isprintable()


def test_lines_of_ours_are_read(tmp_path: Path) -> None:
    path = tmp_path / PROGRESS
    path.write_bytes(b"x" * (1 << 20) + b"\n[1]\n" + json.dumps(EPOCH).encode() + b'\n{"event": "notice", "text": "t')
    tail = LogTail(path)
    events = [event for _ in range(3) for event in tail.read()]
    assert [event["val_loss"] for event in events] == [0.25]
    with path.open("ab") as file:
        file.write(b'"}\n')
    assert [event["text"] for event in tail.read()] == ["t"]


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
@pytest.mark.holds("code-progress")
def test_a_progress_file_that_is_none_holds_nothing_up(tmp_path: Path, kind: str) -> None:
    path = tmp_path / PROGRESS
    (tmp_path / "elsewhere").write_text(json.dumps(EPOCH) + "\n")
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case _:
            path.mkdir()
    assert LogTail(path).read() == []


@pytest.mark.holds("printed-markup")
def test_a_live_display_reads_neither_markup_nor_emoji(tmp_path: Path) -> None:
    out = StringIO()
    run = Builder(tmp_path).run("train-a", "2026-11-20T01:00", "failed", reason=":boom: [red]x[/blink]")
    with LiveDisplay(Console(file=out, force_terminal=True, width=200)) as display:
        display.say(":boom: [link=http://x]y[/link] [/]")
        display.done("train-a", Builder(tmp_path).store.read(run))
    assert ":boom: [link=http://x]y[/link] [/]" in out.getvalue() and ":boom: [red]x[/blink]" in out.getvalue()
