"""Progress and questions: on a terminal, and where there is none."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from jobs.contract import PROGRESS, RunId, Status
from jobs.store import Run
from scheduler.console import progress, run_display
from scheduler.console.progress import Progress
from scheduler.console.prompts import confirm
from scheduler.console.run_display import LiveDisplay, PlainDisplay, RunDisplay
from scheduler.errors import CronsembleError

EPOCH = '{"event": "epoch", "epoch": 2, "epochs": 10, "val_loss": 0.5, "val_accuracy": 0.75, "seconds": 15}\n'


def on_terminal(code: str, answer: str = "") -> tuple[int, str]:
    """The exit status of a Python program on a terminal, and what it shows there."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb+", buffering=0) as terminal:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
        process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        terminal.write(answer.encode())
        shown = b""
        while True:
            try:
                more = terminal.read(65536)
            except OSError:
                break
            if not more:
                break
            shown += more
        return process.wait(60), shown.decode()


ASK = """
import sys
from scheduler.console.prompts import confirm
from scheduler.errors import CronsembleError
try:
    confirm("This removes 3 CronJobs.", False)
    print("went on")
except CronsembleError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("answer", ["n\n", "\n", "no\n"])
def test_a_no_changes_nothing(answer: str) -> None:
    code, shown = on_terminal(ASK, answer)
    assert code == 1 and "This removes 3 CronJobs. Continue? [y/N]" in shown and "nothing was changed" in shown


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_a_yes_goes_on(answer: str) -> None:
    code, shown = on_terminal(ASK, answer)
    assert code == 0 and "went on" in shown


def test_without_a_terminal_a_question_needs_yes(capsys: pytest.CaptureFixture[str]) -> None:
    confirm("This removes 3 CronJobs.", yes=True)
    with pytest.raises(CronsembleError) as error:
        confirm("This removes 3 CronJobs.", yes=False)
    assert str(error.value) == "This removes 3 CronJobs. There is no terminal to ask on: --yes goes on without a question"
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_with_the_time_elapsed() -> None:
    code, shown = on_terminal(
        """
from scheduler.console.progress import Progress
with Progress("data/x.npz", 5_000_000, in_bytes=True) as progress:
    progress.update(2_500_000)
with Progress("[apply]", 30) as progress:
    for _ in range(30):
        progress.advance()
with Progress() as progress:
    progress.say("the reader pod waits")
"""
    )
    assert code == 0
    for part in ("data/x.npz", "2.5/5.0 MB", "[apply]", "30/30", "the reader pod waits", "0:00:00"):
        assert part in shown


def test_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("data/x.npz", 5_000_000, in_bytes=True) as shown:
        shown.update(1)
        assert capsys.readouterr() == ("", "")
        monkeypatch.setattr(progress, "INTERVAL", 0.0)
        shown.update(2_500_000)
    with Progress("apply", 30) as shown:
        shown.advance()
    with Progress() as shown:
        shown.say("the reader pod waits")
    assert capsys.readouterr() == ("", "data/x.npz: 2.5 MB of 5.0 MB\napply: 1 of 30\nthe reader pod waits\n")


def show(display: RunDisplay, folder: Path) -> None:
    run = RunId(int(datetime(2026, 11, 20, tzinfo=UTC).timestamp() // 60), 1, "e", "train-jax")
    with display:
        display.stage("train-jax", "prepare")
        display.stage("train-jax", "train [jax]", folder)
        (folder / PROGRESS).write_text(EPOCH)
        display.done("train-jax", Run(run, folder, Status.FAILED, "out of memory"))


def test_a_run_in_plain_lines(tmp_path: Path) -> None:
    out = io.StringIO()
    show(PlainDisplay(out), tmp_path)
    assert out.getvalue().splitlines() == [
        "train-jax: prepare",
        "train-jax: train [jax]",
        "train-jax: epoch 2/10, loss 0.5000, accuracy 0.7500, 15.0 s",
        "train-jax: failed: out of memory",
    ]


def test_a_run_on_a_terminal(tmp_path: Path) -> None:
    out = io.StringIO()
    show(LiveDisplay(Console(file=out, force_terminal=True, width=200)), tmp_path)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    last = [line for line in shown.splitlines() if "train-jax" in line][-1]
    for part in ("epoch 2/10, loss 0.5000, accuracy 0.7500", "  0:00  ", "failed: out of memory"):
        assert part in last
    assert "left" not in last


def test_a_notice_of_what_tasks_share_is_shown_once() -> None:
    out = io.StringIO()
    display = PlainDisplay(out)
    for task in ("train-a", "train-b"):
        display.event(task, {"event": "notice", "text": "d.npz has changed", "shared": True})
        display.event(task, {"event": "notice", "text": "degraded"})
    assert out.getvalue() == "train-a: d.npz has changed\ntrain-a: degraded\ntrain-b: degraded\n"


def test_a_run_in_a_pipe_is_never_silent_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_display, "_INTERVAL", 0.001)
    monkeypatch.setattr(run_display, "_LONGEST_SILENCE", 0.01)
    out = io.StringIO()
    with run_display.PlainDisplay(out) as display:
        display.stage("train-a", "prepare")
        display.event("train-b", {"event": "epoch", "epoch": 2, "epochs": 8, "val_loss": 1, "val_accuracy": 1, "seconds": 1})
        while "epoch 2/8 is done, 0s" not in out.getvalue():
            pass
    assert "train-a: prepare, 0s; train-b: epoch 2/8 is done, 0s\n" in out.getvalue()
    assert run_display.describe_stages({"t": ("train", 3.0)}, 75.0) == "t: train, 1m 12s"
