"""The heartbeat of a served experiment: its checks are kept as its configuration has them, and its runs send pings.

All of it is done by threads of its own: a server that is slow or gone holds no run, and the checks are tried again later.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cronjobs.experiment import Experiment, HeartbeatSettings
from jobs import contract as c
from jobs.contract import Status
from jobs.pings import PATIENCE, Pings, Signal, body_of, check_slug, key_problem
from jobs.store import Run
from jobs.store.log_files import last_lines
from jobs.text import one_line
from scheduler.console.run_display import RunObserver, describe_end
from scheduler.server.journal import ExperimentJournal

RETRY_AFTER = 300.0
"""Seconds until checks that could not be updated are tried again."""
_LINES, _WIDTH = 200, 500
_FAILED = (Status.FAILED, Status.NO_QUORUM, Status.DIED)


class ServedHeartbeat:
    """The heartbeat of one experiment. `look` is called by the loop's thread, the rest by those of runs."""

    def __init__(self, journal: ExperimentJournal, env: Mapping[str, str] | None = None) -> None:
        self._journal, self._env = journal, os.environ if env is None else env
        self._settings: HeartbeatSettings | None = None
        self._done: Experiment | None = None
        self._retry_at = 0.0
        self._said = ""
        self._thread: threading.Thread | None = None
        self._failed = threading.Event()

    def look(self, experiment: Experiment, now: float) -> None:
        """Have the checks updated where the configuration is another than before, or where that failed; returns at once."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._failed.is_set():
            self._failed.clear()
            self._done, self._retry_at = None, now + RETRY_AFTER
        if self._done is experiment or (now < self._retry_at and self._settings == experiment.heartbeat):
            return
        before, self._settings, self._done = self._settings, experiment.heartbeat, experiment
        gone = before if before is not None and before != experiment.heartbeat else None
        if gone is None and self._settings is None:
            return
        self._thread = threading.Thread(target=self._update, args=(experiment, gone, now), name="heartbeat", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for an update that has begun, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _update(self, experiment: Experiment, gone: HeartbeatSettings | None, now: float) -> None:
        # Late: an experiment without a heartbeat needs none of it.
        from scheduler.heartbeat.client import API_KEY, HeartbeatError
        from scheduler.heartbeat.update import carry_out, open_api, plan_update
        from scheduler.heartbeat.watched_task import tasks_of_experiment

        is_said = False
        try:
            for settings, tasks in ((gone, []), (experiment.heartbeat, tasks_of_experiment(experiment))):
                if settings is None:
                    continue
                problem = key_problem(self._ping_key(settings))
                api = open_api(settings, self._env)
                if api is None or problem:
                    is_said = True
                    missing = f"{API_KEY} is not set" if api is None else f"{settings.ping_variable}: {problem}"
                    self._say(f"heartbeat: {missing}: checks at {settings.server} are neither made nor updated")
                    continue
                plan = plan_update(api, experiment.name, tasks, now)
                for note in plan.notes:
                    is_said = True
                    self._say(f"heartbeat: {note}")
                carry_out(api, experiment.name, plan, lambda line: self._journal.write("heartbeat", f"heartbeat: {line}"))
            self._said = self._said if is_said else ""
        except HeartbeatError as error:
            self._failed.set()
            self._say(f"heartbeat: {error}: it is tried again")
        except Exception as error:  # a bug: no run is held for it
            self._failed.set()
            self._say(f"heartbeat: {type(error).__name__} (a bug in cronsemble)")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._journal.write("heartbeat", text)

    def _ping_key(self, settings: HeartbeatSettings) -> str:
        return self._env.get(settings.ping_variable, "").strip()

    # -- runs

    def pings(self, experiment: Experiment, run: c.RunId, env: Mapping[str, Any]) -> RunPings | None:
        """The pings of a run that a schedule started; None without a server or a key. ``env``: that of its task."""
        settings = experiment.heartbeat
        if settings is None:
            return None
        key = self._ping_key(settings)
        if problem := key_problem(key):
            self._say(f"heartbeat: {settings.ping_variable}: {problem}: runs send no pings")
            return None
        proxies = {**self._env, **{name: value for name, value in env.items() if isinstance(value, str)}}
        slug = check_slug(run.experiment, run.task)

        def say(text: str) -> None:
            self._journal.write("heartbeat", f"{run}: {text}", task=run.task, run=str(run))

        # The check may be made in this moment.
        return RunPings(Pings(settings.ping_url, key, slug, run, say, proxies, lambda: self.wait(PATIENCE)))


class RunPings:
    """What one run tells its server."""

    def __init__(self, pings: Pings) -> None:
        self._pings = pings

    def began(self) -> None:
        """The run has begun."""
        self._pings.send(Signal.START)

    def retries(self, run: Run, text: str) -> None:
        """A try has failed, and another follows: the check stays as it is."""
        self._pings.send(Signal.LOG, body_of(one_line(f"{run.id}: {text}"), _log(run)))

    def ended(self, run: Run | None) -> None:
        """The run has ended, or goes on elsewhere or later; waits for the pings for a while, and says which did not arrive."""
        if run is not None:
            self._send_end(run)
        self._pings.finish()

    def _send_end(self, run: Run) -> None:
        """Nothing is sent of a run that goes on later, as those that were stopped with `serve`."""
        signal = Signal.SUCCESS if run.status == Status.SUCCEEDED else Signal.FAIL if run.status in _FAILED else Signal.LOG
        if signal == Signal.SUCCESS or not run.has_tries_left():
            self._pings.send(signal, body_of(one_line(f"{run.id} {describe_end(run, run.degraded)}"), _log(run)))


class PingingObserver(RunObserver):
    """Hands on what an engine says to the journal, and that a try has failed to the run's pings too."""

    def __init__(self, journal: ExperimentJournal) -> None:
        self._journal = journal
        self.pings: dict[c.RunId, RunPings] = {}
        """Those of the runs under way."""

    def say(self, text: str) -> None:
        """A notice of the engine."""
        self._journal.say(text)

    def stage(self, task: str, stage: str, folder: Path | None = None) -> None:
        """A run's next stage."""
        self._journal.stage(task, stage, folder)

    def retry(self, task: str, run: Run, text: str) -> None:
        """A try has failed, and another follows."""
        self._journal.retry(task, run, text)
        if pings := self.pings.get(run.id):
            pings.retries(run, text)

    def event(self, task: str, event: dict[str, Any]) -> None:
        """An event of a step."""
        self._journal.event(task, event)

    def done(self, task: str, run: Run) -> None:
        """A run has ended."""
        self._journal.done(task, run)


def _log(run: Run) -> list[str]:
    """The last lines of the log of a run's result, or of its last try; none where they cannot be read."""
    folder = run.folder / c.RESULT
    if not run.record and run.tries:
        folder = run.folder / f"{c.TRY_PREFIX}{run.tries[-1]['name']}"
    try:
        return [one_line(line) for line in last_lines(folder, _LINES, _WIDTH)]
    except OSError:
        return []
