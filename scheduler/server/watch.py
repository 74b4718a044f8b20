"""The watch of a served experiment: at the times of `watch:` a process of its own looks after it, as a pod does on a cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from cronjobs.experiment import Experiment, Watch
from jobs import contract as c
from jobs.fire_times import fires, schedule
from jobs.pings import key_problem
from scheduler.server.background_command import BackgroundCommand, CommandResult
from scheduler.server.journal import ExperimentJournal


class ServedWatch:
    """The looks at one experiment, one at a time. `look` is called by the loop's thread, every minute."""

    def __init__(self, journal: ExperimentJournal, root: Path) -> None:
        self._journal, self._root = journal, root
        self._settings: Watch | None = None
        self._next, self._asked_at = inf, -inf
        self._said: Sequence[str] = ()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._command: BackgroundCommand | None = None

    def look(self, experiment: Experiment, now: float) -> None:
        """Have the experiment looked after if a time of its watch has come since the last call; returns at once."""
        watch = experiment.watch
        # A clock that was set back would have it wait for what lies far ahead.
        if watch != self._settings or now < self._asked_at:
            self._settings, self._next = watch, _next_fire(watch, now)
        self._asked_at = now
        if now < self._next or self._is_closed:
            return
        self._next = _next_fire(watch, now)
        if watch is None or (self._thread is not None and self._thread.is_alive()):
            return
        self._command = BackgroundCommand(float(watch.deadline))
        self._thread = threading.Thread(target=self._run, args=(self._command, experiment), name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the look that is under way: it leaves nothing half."""
        self._is_closed = True
        if self._command is not None:
            self._command.close()

    def _run(self, command: BackgroundCommand, experiment: Experiment) -> None:
        # Late: an experiment without a watch needs none of it.
        import msgspec

        from cronjobs.objects.watch import watch_settings
        from scheduler import VERSION

        # `serve` itself tells what is new, and at once.
        settings = {key: value for key, value in watch_settings(experiment, VERSION).items() if key != "notify"}
        arguments = ["watch", "--store", str(self._root), "--settings", "-"]
        try:
            result = command.run(arguments, msgspec.json.encode(settings), experiment.folder, _ping_variables(experiment))
        except OSError as error:  # no process
            result = str(error.strerror)
        lines = result.errors.splitlines() if isinstance(result, CommandResult) else [result]
        if command.is_closed:
            return
        for line in lines:
            if line not in self._said:
                self._journal.write("watch", line)
        self._said = lines


def _ping_variables(experiment: Experiment) -> dict[str, str]:
    """Where the look's pings go, and their key; without a key `serve` says so of all pings."""
    heartbeat = experiment.heartbeat
    key = "" if heartbeat is None else os.environ.get(heartbeat.ping_variable, "").strip()
    return {c.ENV_PING_URL: heartbeat.ping_url, c.ENV_PING_KEY: key} if heartbeat is not None and not key_problem(key) else {}


def _next_fire(watch: Watch | None, now: float) -> float:
    if watch is None or watch.suspend:
        return inf
    after = datetime.fromtimestamp(now, UTC)
    return next((time.timestamp() for time in fires.fires(schedule.parse(watch.schedule), watch.timezone, after)), inf)
