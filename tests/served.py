"""Starts `serve` on a small experiment, reads its journal, and shows what its store holds."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from commands import CLI
from jobs.store import LocalStore
from scheduler.config import load
from scheduler.engines import local_revisions
from scheduler.engines.manual_run import store_context
from scheduler.history.query import HistoryQuery
from scheduler.server.journal import Journal
from scheduler.server.loop import ScheduleServer, ServerClock
from scheduler.server.metrics import Metrics
from scheduler.stores.history_reader import HistoryReader

CONFIG = """
experiment: e
runtimes: {{keras3: {{python: {keras3}}}}}
data: {{dataset: "{dataset}"}}
model: mlp
hyperparameters: {{epochs: 1}}
defaults: {{retries: 0, deadline: 1h}}
backends: {{{backends}}}
"""


def write(folder: Path, keras3: Path, backends: str, dataset: str = "absent-{date}.npz") -> Path:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(keras3=keras3, backends=backends, dataset=dataset))
    return path


def make_server(path: Path, journal: Journal, clock: ServerClock | None = None) -> ScheduleServer:
    return ScheduleServer([load(path)], 2, journal, Metrics(), clock or ServerClock())


def served_since(path: Path, minutes: int) -> None:
    """As if the configuration had been served for so long: its latest time has passed, and is due."""
    experiment = load(path)
    engine = make_server(path, Journal(False, StringIO())).experiments[0].engine
    context = store_context(engine, experiment)
    assert local_revisions.record_revision(engine.store, context, "serve", datetime.now(UTC) - timedelta(minutes=minutes))


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], dict[str, Any]]]]:
    """A `serve` process, and a reader of its journal up to the next event of a name."""
    command = [*CLI, "serve", "--log-format", "json", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None

    def until(event: str) -> dict[str, Any]:
        assert process.stdout is not None
        texts = []
        for line in process.stdout:
            event_line: dict[str, Any] = json.loads(line)
            texts.append(event_line["text"])
            if event_line["event"] == event:
                return event_line
        raise AssertionError((texts, process.stderr.read() if process.stderr else ""))

    try:
        yield process, until
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def rows(folder: Path, now: float | None = None) -> list[Any]:
    history = HistoryReader(LocalStore(folder / "store"), "e", "UTC", now or time.time())
    return [row for row in history.rows(HistoryQuery()) if row.status not in ("not yet due",)]
