"""The progress of runs: a live line for each task on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from jobs.contract import PROGRESS, RESULT, Status
from jobs.store import Run
from jobs.store.regular_files import open_regular
from jobs.store.tries import describe_try, is_permanent
from jobs.text import one_line
from scheduler.console.colours import outcome_colour
from scheduler.console.live_rows import Row, lines, total_line
from scheduler.console.progress_events import parse_event
from scheduler.console.streams import drawing_console
from scheduler.console.tables import number
from scheduler.times import format_duration

if TYPE_CHECKING:
    from rich.console import Console

_INTERVAL = 0.25
"""Seconds between two looks at the progress files."""

_LONGEST_SILENCE = 9.0
"""Seconds after which a line says what runs still do, where nothing draws."""
_MANY = 1000
"""Lines that what is printed above the tasks may take."""
_MOST = 1 << 20
"""Bytes of a progress file that are read at a look."""


class RunObserver(Protocol):
    """What receives the progress of runs; its methods are called from several threads."""

    def say(self, text: str) -> None:
        """Something that is worth a line."""

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """A task has come to a stage; its progress file is in ``folder``."""

    def retry(self, task: str, run: Run, text: str) -> None:
        """A try of a task's run has failed, and another follows; ``text`` says which of how many, why, and when."""

    def event(self, task: str, event: dict[str, Any]) -> None:
        """A line of a task's progress file, where nobody can read that: an epoch, or a notice."""

    def done(self, task: str, run: Run) -> None:
        """A task's run has ended."""


class RunDisplay(RunObserver):
    """Follows the progress files of running tasks and shows what happens; used as a context manager."""

    def __init__(self) -> None:
        self.degraded: Callable[[Run], str] = lambda run: run.degraded
        """What a run lacks although it succeeded; a command that knows the schedules knows more."""
        self._lock = threading.RLock()
        self._tails: dict[str, LogTail] = {}
        self._notices: set[str] = set()
        self._total = 0
        self._numbers: dict[str, int] = {}
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def expect(self, total: int) -> None:
        """So many runs will be made, of several slots: each is shown with its number."""
        with self._lock:
            self._total = total

    def title(self, task: str) -> str:
        """A task's name for people; of the runs of several slots with its number (``4 of 12``), by their beginning."""
        with self._lock:
            if not self._total:
                return task
            return f"{self._numbers.setdefault(task, len(self._numbers) + 1)} of {self._total} {task}"

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def say(self, text: str) -> None:
        """Print a line."""
        raise NotImplementedError

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """A task has come to a stage; its progress file is in ``folder``."""
        with self._lock:
            if folder is not None and (task not in self._tails or self._tails[task].path != folder / PROGRESS):
                self._tails[task] = LogTail(folder / PROGRESS)

    def done(self, task: str, run: Run) -> None:
        """A task's run has ended; what its progress file says last is shown first."""
        with self._lock:
            if task in self._tails:
                self._tails[task].move(run.folder / RESULT / PROGRESS)
            self._drain(task)
            self._tails.pop(task, None)

    def retry(self, task: str, run: Run, text: str) -> None:
        """Print that a try has failed and another follows; what its progress file says last is shown first."""
        with self._lock:
            self._drain(task)
        self.say(f"{self.title(task)}: {text}")

    def event(self, task: str, event: dict[str, Any]) -> None:
        """A line of a task's progress file: an epoch, or a notice; one of what tasks share is shown once."""
        if event["event"] == "notice" and event.get("shared"):
            if event["text"] in self._notices:
                return
            self._notices.add(event["text"])
        self.say(f"{self.title(task)}: {describe_event(event)}")

    def _follow(self) -> None:
        while not self._stop.wait(_INTERVAL):
            with self._lock:
                self._look()

    def _look(self) -> None:
        """Show what is new in the progress files."""
        for task in list(self._tails):
            self._drain(task)

    def _drain(self, task: str) -> None:
        while events := self._tails[task].read() if task in self._tails else []:
            for event in events:
                self.event(task, event)


class PlainDisplay(RunDisplay):
    """A line for every stage, epoch and end, for pipes and logs; and one where nothing else was printed for a while."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._stages: dict[str, tuple[str, float]] = {}  # by task the stage and since when, by the monotonic clock
        self._begun: dict[str, float] = {}  # by task since when, likewise
        self._printed = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            print(one_line(text), file=self._out, flush=True)
            self._printed = time.monotonic()

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """Print that a task has come to a stage."""
        super().stage(task, stage, folder)
        with self._lock:
            self._stages[task] = stage, time.monotonic()
            self._begun.setdefault(task, time.monotonic())
        self.say(f"{self.title(task)}: {stage}")

    def event(self, task: str, event: dict[str, Any]) -> None:
        """Print an epoch or a notice; its stage is now the epochs that follow."""
        super().event(task, event)
        if event["event"] == "epoch":
            self._stages[task] = f"epoch {event['epoch']}/{event['epochs']} is done", time.monotonic()

    def done(self, task: str, run: Run) -> None:
        """Print how a task's run has ended."""
        super().done(task, run)
        with self._lock:
            self._stages.pop(task, None)
            seconds = time.monotonic() - self._begun.pop(task, time.monotonic())
        took = f" ({format_duration(seconds)})" if seconds >= 1 else ""
        self.say(f"{self.title(task)}: {describe_end(run, self.degraded(run))}{took}")

    def _look(self) -> None:
        super()._look()
        now = time.monotonic()
        if self._stages and now - self._printed >= _LONGEST_SILENCE:
            self.say(describe_stages({self.title(task): stage for task, stage in self._stages.items()}, now))


class LiveDisplay(RunDisplay):
    """A line for each task, kept up to date: time elapsed, epochs as a bar, loss, accuracy, time left, stage.

    Of the runs of several slots (`expect`), and where there are more than the terminal has lines, those that have ended are
    printed above and leave the lines to the others.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.live import Live

        super().__init__()
        self._console = console or drawing_console(sys.stdout)
        self._rows: dict[str, Row] = {}
        # Drawing takes this lock alone: who prints a line, and waits for what draws, may hold the other.
        self._rows_lock = threading.Lock()
        self._ended = 0
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._live.stop()

    def _render(self) -> Any:
        from rich.text import Text

        now, width, height = time.monotonic(), self._console.width, max(self._console.height - 1, 2)
        total = [] if not self._total else [(total_line(self._ended, self._total, now - self._began), "")]
        with self._rows_lock:
            rows = list(self._rows.values())
        rows_lines = lines(rows, width, height - len(total), now)
        text = Text("\n", no_wrap=True).join(Text(line, style=colour) for line, colour in [*rows_lines, *total])
        text.overflow = "ignore"
        return text

    def say(self, text: str) -> None:
        """Print a line above the tasks."""
        self._print(one_line(text))

    def _print(self, text: str, colour: str = "") -> None:
        from rich.text import Text

        self._console.print(Text(text, style=colour))

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """Show a task's stage in its line."""
        super().stage(task, stage, folder)
        self._row(task).stage = one_line(stage)

    def retry(self, task: str, run: Run, text: str) -> None:
        """Print that a try has failed; its task's line begins again."""
        super().retry(task, run, text)
        self._row(task).restart()

    def event(self, task: str, event: dict[str, Any]) -> None:
        """Show an epoch in its task's line; print any other event."""
        if event["event"] != "epoch":
            super().event(task, event)
            return
        self._row(task).add_epoch(event, time.monotonic())

    def done(self, task: str, run: Run) -> None:
        """Show in its line how a task's run has ended."""
        super().done(task, run)
        row = self._row(task)
        degraded = self.degraded(run)
        row.ended, row.stage = time.monotonic(), one_line(describe_end(run, degraded))
        status = Status.REFUSED if run.refused else run.status
        row.colour, row.is_success = outcome_colour(status, degraded) or "", run.status == Status.SUCCEEDED
        with self._rows_lock:
            self._ended += 1
            is_printed = bool(self._total) or len(self._rows) > self._console.height - 2
            if is_printed:
                del self._rows[task]
        for line, colour in lines([row], self._console.width, _MANY, row.ended) if is_printed else ():
            self._print(line, colour)

    def _row(self, task: str) -> Row:
        row = Row(one_line(self.title(task)), time.monotonic())
        with self._rows_lock:
            return self._rows.setdefault(task, row)


class LogTail:
    """Reads the lines that a file of JSON lines has grown by since the last look."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0

    def move(self, path: Path) -> None:
        """Go on in the file at ``path``, unless it is still where it was."""
        if not self.path.exists():
            self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The new whole lines; none where the file cannot be read."""
        try:
            with open(open_regular(self.path), "rb") as file:
                file.seek(self._offset)
                data = file.read(_MOST)
        except OSError:
            return []
        # What is longer without an end is no line of ours.
        whole = data if len(data) == _MOST and b"\n" not in data else data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [event for event in map(parse_event, whole.split(b"\n")) if event is not None]


def describe_stages(stages: Mapping[str, tuple[str, float]], now: float) -> str:
    """What each task does and for how long; ``stages``: by task its stage and since when, on the clock of ``now``."""
    return "; ".join(f"{task}: {stage}, {format_duration(now - since)}" for task, (stage, since) in stages.items())


def describe_event(event: dict[str, Any]) -> str:
    """A line of a progress file for people."""
    if event["event"] == "notice":
        return str(event["text"])
    text = f"epoch {event.get('epoch')}/{event.get('epochs')}, loss {number(event.get('val_loss'))}"
    return f"{text}, accuracy {number(event.get('val_accuracy'))}, {number(event.get('seconds'), 1)} s"


def describe_end(run: Run, degraded: str = "") -> str:
    """How a run has ended, for people, and at which try if there were several; ``degraded``: what it lacks if it succeeded."""
    number, most = run.try_number or 1, run.max_tries
    if run.status == Status.SUCCEEDED:
        accuracy = run.accuracy
        tries = f" at try {describe_try(number, most)}" if number > 1 else ""
        word = Status.REFUSED if run.refused else "succeeded, degraded" if degraded else "succeeded"
        outcome = word + tries + ("" if accuracy is None else f", accuracy {accuracy:.4f}")
        reasons = "; ".join(filter(None, (run.refused, degraded)))
        return outcome + (f": {reasons}" if reasons else "")
    tries = f" after {number} tries" if number > 1 else ""
    has_tries_left = run.status == Status.FAILED and most is not None and number < most
    is_final = has_tries_left and bool(run.tries) and is_permanent(run.tries[-1])
    final = "; not tried again, for another try would fail in the same way" if is_final else ""
    return f"{run.status}{tries}: {run.reason}{final}"


def describe_retry(run: Run, reason: str, seconds: float) -> str:
    """That the last try of a run has failed, for people, and in how many seconds the next one follows."""
    following = f"the next one begins in {format_duration(seconds)}" if seconds >= 1 else "the next one begins"
    return f"try {describe_try(run.try_number or 1, run.max_tries)} failed: {reason}; {following}"


def step_title(step: str, number: int, most: int | None) -> str:
    """A step of a run's n-th try, for people; the first one is not numbered."""
    return f"{step} (try {describe_try(number, most)})" if number > 1 else step


def run_display(on_stderr: bool = False) -> RunDisplay:
    """A live display on a terminal that can draw, else lines; ``on_stderr`` keeps stdout free for what a program reads."""
    if on_stderr:
        return PlainDisplay(sys.stderr)
    can_draw = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return LiveDisplay() if can_draw else PlainDisplay(sys.stdout)
