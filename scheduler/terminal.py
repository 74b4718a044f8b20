"""The terminal: tables, charts, the live display of a run, and plain lines where there is no terminal."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jobs.contract import PROGRESS
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


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The history as a table that fits the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("slot", "task", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("accuracy", "loss", "seconds", "attempt"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reason", overflow="ellipsis", no_wrap=True)
    for each in rows:
        status = Text(each["status"], style=_STYLES.get(each["status"], ""))
        cells = [
            number(each["accuracy"]),
            number(each["loss"]),
            number(each["duration"], 1),
            str(each["attempt"]),
        ]
        table.add_row(each["slot"], each["task"], status, *cells, Text(each["reason"]))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


class Plain:
    """A line for every stage, epoch and end, for pipes and logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tails: dict[str, Tail] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Plain:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def say(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        if folder is not None:
            self._tails[task] = Tail(folder / PROGRESS)
        self.say(f"{task}: {stage}")

    def done(self, task: str, run: Run) -> None:
        self._drain(task)
        self.say(f"{task}: {ended(run)}")

    def _follow(self) -> None:
        while not self._stop.wait(0.5):
            for task in list(self._tails):
                self._drain(task)

    def _drain(self, task: str) -> None:
        tail = self._tails.get(task)
        for event in tail.read() if tail else []:
            self.say(f"{task}: {describe(event)}")


class Live:
    """A line per task, kept up to date: stage, epoch, loss, accuracy, time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._rows: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._console = Console()
        self._live = RichLive(console=self._console, get_renderable=self._table, refresh_per_second=4)

    def __enter__(self) -> Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        with self._lock:
            known = self._rows.setdefault(task, {"began": time.monotonic(), "event": {}})
            known.update(stage=stage, tail=Tail(folder / PROGRESS) if folder else None)

    def done(self, task: str, run: Run) -> None:
        with self._lock:
            self._rows[task].update(stage=ended(run), style=_STYLES.get(run.status, ""), over=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("task", "epoch", "loss", "accuracy", "left", "stage"):
            table.add_column(name, no_wrap=True)
        with self._lock:
            for task, known in self._rows.items():
                for event in known["tail"].read() if known.get("tail") else []:
                    known["event"] = event
                event = known["event"]
                left = "" if known.get("over") else _left(event)
                epoch = f"{event['epoch']}/{event['epochs']}" if "epoch" in event else ""
                cells = [number(event.get("val_loss")), number(event.get("val_accuracy")), left]
                table.add_row(task, epoch, *cells, known["stage"], style=known.get("style"))
        return table


class Tail:
    """Reads the lines that a file has grown by since the last look."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def read(self) -> list[dict[str, Any]]:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._at)
                whole = file.read().rpartition(b"\n")[0]
        except OSError:
            return []
        self._at += len(whole) + 1 if whole else 0
        return [json.loads(line) for line in whole.splitlines() if line]


def describe(event: dict[str, Any]) -> str:
    text = f"epoch {event.get('epoch')}/{event.get('epochs')}, loss {number(event.get('val_loss'))}"
    return f"{text}, accuracy {number(event.get('val_accuracy'))}, {number(event.get('seconds'), 1)} s"


def ended(run: Run) -> str:
    if run.status != "succeeded":
        return f"{run.status}: {run.reason}"
    accuracy = run.record.get("accuracy")
    return "succeeded" + ("" if accuracy is None else f", accuracy {accuracy:.4f}")


def _left(event: dict[str, Any]) -> str:
    if "epoch" not in event or "seconds" not in event:
        return ""
    return f"{(event['epochs'] - event['epoch']) * event['seconds']:.0f} s"


def watcher() -> Plain | Live:
    return Live() if sys.stdout.isatty() else Plain()
