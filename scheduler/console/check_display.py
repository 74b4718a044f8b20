"""The progress of `check --functions`: one line that is kept up to date on a terminal; what should be known, as lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.store import Run
from scheduler.console.progress import Progress
from scheduler.console.run_display import RunDisplay, describe_event


class CheckDisplay(RunDisplay):
    """What is tried now and for how long, on stderr; of the tries' own progress only notices are shown."""

    def __init__(self, place: str, tries: int) -> None:
        super().__init__()
        self._place = place
        self._progress = Progress(total=tries)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._progress.clear()

    def say(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            self._progress.print_above(f"{self._place}: {text}")

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """Show what is tried."""
        super().stage(task, stage, folder)
        with self._lock:
            self._progress.say(f"{self._place}: {task}: {stage}")

    def event(self, task: str, event: dict[str, Any]) -> None:
        """Print a notice; an epoch is none."""
        if event["event"] == "notice" and event["text"] not in self._notices:
            self._notices.add(event["text"])
            self.say(f"warning: {describe_event(event)}")

    def done(self, task: str, run: Run) -> None:
        """Count a try that has ended."""
        super().done(task, run)
        with self._lock:
            self._progress.advance()
