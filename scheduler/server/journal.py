"""The journal of `serve`: what happened, a line each, plain or as JSON, for people and for log collectors."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from jobs import strict_json
from jobs.store import Run
from jobs.text import one_line
from scheduler.console.run_display import RunObserver, describe_end
from scheduler.times import format_time


class Journal:
    """Writes lines to stdout; may be used by several threads. A reader that went away is no reason to stop."""

    def __init__(self, as_json: bool, out: TextIO = sys.stdout) -> None:
        self._as_json, self._out, self._lock = as_json, out, threading.Lock()

    def write(self, event: str, text: str, **facts: Any) -> None:
        """One line; ``facts`` are the experiment, the task and whatever else a program may want."""
        now = format_time(time.time(), milliseconds=True)
        text = one_line(text)
        if self._as_json:
            facts = {key: one_line(value) if isinstance(value, str) else value for key, value in facts.items()}
            line = strict_json.dumps({"time": now, "event": event, **facts, "text": text})
        else:
            subject = " ".join(str(facts[key]) for key in ("experiment", "task") if facts.get(key))
            line = f"{now} {one_line(subject) + ': ' if subject else ''}{text}"
        with self._lock, contextlib.suppress(OSError):
            print(line, file=self._out, flush=True)

    def of(self, experiment: str) -> ExperimentJournal:
        """The journal with that experiment in each of its lines."""
        return ExperimentJournal(self, experiment)


class ExperimentJournal(RunObserver):
    """The journal of one experiment, which observes the runs of its engine."""

    def __init__(self, journal: Journal, experiment: str) -> None:
        self._journal, self._experiment = journal, experiment

    def write(self, event: str, text: str, **facts: Any) -> None:
        """One line; ``facts`` as in :meth:`Journal.write`."""
        self._journal.write(event, text, experiment=self._experiment, **facts)

    def say(self, text: str) -> None:
        """A notice of the engine."""
        self.write("notice", text)

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """Nothing: of hundreds of tasks nobody wants each stage, and the progress files have them."""

    def retry(self, task: str, run: Run, text: str) -> None:
        """A try has failed, and another follows."""
        self.write("retry", f"{run.id}: {text}", task=run.id.task, run=str(run.id))

    def event(self, task: str, event: dict[str, Any]) -> None:
        """Nothing, as for stages."""

    def done(self, task: str, run: Run) -> None:
        """A run has ended."""
        facts: dict[str, Any] = {"run": str(run.id), "status": run.status, "reason": run.reason}
        facts |= {"degraded": run.degraded} if run.degraded else {}
        facts |= {"refused": run.refused} if run.refused else {}
        facts |= {"try_number": run.try_number, "max_tries": run.max_tries}
        self.write("ended", f"{run.id} {describe_end(run, run.degraded)}", task=run.id.task, **facts)
