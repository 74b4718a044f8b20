"""The terminal: tables, charts, the live display of a run, and plain lines where there is no terminal."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any, Self, TextIO

from jobs.contract import PROGRESS, RESULT, Status
from jobs.store import Run

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {"succeeded": "green", "failed": "red", "interrupted": "yellow", "running": "cyan", "died": "red"}


def number(value: Any, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def chart(values: list[float]) -> str:
    """Values as a line of bars, the lowest to the highest."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)


def print_columns(columns: list[str], rows: list[list[str]]) -> None:
    """Plain cells as a table; never cut where the output is no terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 400).print(table)


class RunDisplay:
    """Follows the progress files of tasks at work and tells of what happens; used as a context manager."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tails: dict[str, LogTail] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def say(self, text: str) -> None:
        raise NotImplementedError

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """A task is at a stage; its progress lies in ``folder``."""
        with self._lock:
            if folder is not None and (task not in self._tails or self._tails[task].path != folder / PROGRESS):
                self._tails[task] = LogTail(folder / PROGRESS)

    def done(self, task: str, run: Run) -> None:
        """A task's run ended; what its progress file says last is told first."""
        with self._lock:
            if task in self._tails:
                self._tails[task].moved(run.folder / RESULT / PROGRESS)
            self._drain(task)
            self._tails.pop(task, None)

    def event(self, task: str, event: dict[str, Any]) -> None:
        self.say(f"{task}: {describe(event)}")

    def _follow(self) -> None:
        while not self._stop.wait(0.25):
            with self._lock:
                for task in list(self._tails):
                    self._drain(task)

    def _drain(self, task: str) -> None:
        for event in self._tails[task].read() if task in self._tails else []:
            self.event(task, event)


class PlainDisplay(RunDisplay):
    """A line for every stage, epoch and end, for pipes and logs."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out

    def say(self, text: str) -> None:
        with self._lock:
            print(text, file=self._out, flush=True)

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        super().stage(task, stage, folder)
        self.say(f"{task}: {stage}")

    def done(self, task: str, run: Run) -> None:
        super().done(task, run)
        self.say(f"{task}: {ended(run)}")


class LiveDisplay(RunDisplay):
    """A line per task, kept up to date: stage, epoch, loss, accuracy, time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        super().__init__()
        self._rows: dict[str, dict[str, Any]] = {}
        self._console = Console()
        self._live = RichLive(console=self._console, get_renderable=self._table, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        super().stage(task, stage, folder)
        self._rows = {**self._rows, task: {"event": {}, **self._rows.get(task, {}), "stage": stage}}

    def event(self, task: str, event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            self._rows[task]["event"] = event
        else:
            super().event(task, event)

    def done(self, task: str, run: Run) -> None:
        super().done(task, run)
        self._rows[task].update(stage=ended(run), style=_STYLES.get(run.status, ""), over=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("task", "epoch", "loss", "accuracy", "left", "stage"):
            table.add_column(name, no_wrap=True)
        # Called by rich's own thread under its lock: it must not wait for ours.
        for task, known in self._rows.items():
            event = known["event"]
            left = "" if known.get("over") else _left(event)
            epoch = f"{event['epoch']}/{event['epochs']}" if event else ""
            cells = [number(event.get("val_loss")), number(event.get("val_accuracy")), left]
            table.add_row(task, epoch, *cells, known["stage"], style=known.get("style"))
        return table


class LogTail:
    """Reads the lines that a file has grown by since the last look."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, 0

    def moved(self, path: Path) -> None:
        """The file is found there now, if it is not where it was."""
        if not self.path.exists():
            self.path = path

    def read(self) -> list[dict[str, Any]]:
        try:
            with open(self.path, "rb") as file:
                file.seek(self._at)
                whole = file.read().rpartition(b"\n")[0]
        except OSError:
            return []
        self._at += len(whole) + 1 if whole else 0
        return [json.loads(line) for line in whole.splitlines() if line]


def describe(event: dict[str, Any]) -> str:
    if event["event"] == "notice":
        return str(event["text"])
    text = f"epoch {event.get('epoch')}/{event.get('epochs')}, loss {number(event.get('val_loss'))}"
    return f"{text}, accuracy {number(event.get('val_accuracy'))}, {number(event.get('seconds'), 1)} s"


def ended(run: Run) -> str:
    if run.status != Status.SUCCEEDED:
        return f"{run.status}: {run.reason}"
    accuracy = run.record.get("accuracy")
    return "succeeded" + ("" if accuracy is None else f", accuracy {accuracy:.4f}")


def _left(event: dict[str, Any]) -> str:
    if not event:
        return ""
    return f"{(event['epochs'] - event['epoch']) * event['seconds']:.0f} s"


def run_display(apart: bool = False) -> RunDisplay:
    """A live display on a terminal, else lines; ``apart`` keeps stdout free for what a program reads."""
    if apart:
        return PlainDisplay(sys.stderr)
    return LiveDisplay() if sys.stdout.isatty() else PlainDisplay(sys.stdout)
