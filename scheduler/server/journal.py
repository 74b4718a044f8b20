"""The journal of `serve`: what happened, a line each, plain or as JSON, for people and for log collectors."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from jobs.store import Run
from scheduler.times import format_time


class Journal:
    """Writes lines to stdout; may be used by several threads. A reader that went away is no reason to stop."""

    def __init__(self, as_json: bool, out: TextIO = sys.stdout) -> None:
        self._as_json, self._out, self._lock = as_json, out, threading.Lock()

    def write(self, event: str, text: str, **facts: Any) -> None:
        """One line; ``facts`` are the experiment, the task and whatever else a program may want."""
        now = format_time(time.time(), milliseconds=True)
        if self._as_json:
            line = json.dumps({"time": now, "event": event, **facts, "text": text}, ensure_ascii=False)
        else:
            where = " ".join(str(facts[key]) for key in ("experiment", "task") if facts.get(key))
            line = f"{now} {where + ': ' if where else ''}{text}"
        with self._lock, contextlib.suppress(OSError):
            print(line, file=self._out, flush=True)

    def of(self, experiment: str) -> ExperimentJournal:
        return ExperimentJournal(self, experiment)


class ExperimentJournal:
    """The journal of one experiment; a watcher of its engine."""

    def __init__(self, journal: Journal, experiment: str) -> None:
        self._journal, self._experiment = journal, experiment

    def write(self, event: str, text: str, **facts: Any) -> None:
        self._journal.write(event, text, experiment=self._experiment, **facts)

    def say(self, text: str) -> None:
        self.write("notice", text)

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """Stages are in the progress files: of hundreds of tasks nobody wants each."""

    def event(self, task: str, event: dict[str, Any]) -> None:
        """As for stages."""

    def done(self, task: str, run: Run) -> None:
        reason = f": {run.reason}" if run.reason else ""
        facts = {"run": str(run.id), "status": run.status, "reason": run.reason}
        self.write("ended", f"{run.id} {run.status}{reason}", task=run.id.task, **facts)
