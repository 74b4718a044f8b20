"""An ensemble's wait for its members on this machine: its run is claimed, and takes no CPUs and no time of its deadline."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Protocol

from jobs.contract import RunId
from jobs.store.waits import waited, waited_text
from jobs.supervisor.poll_runs import wait_while
from jobs.supervisor.wait_for_members import MemberWait, waits
from scheduler.engines.local import LocalEngine

CANCEL_INTERVAL = 2.0
"""Seconds between two looks whether a run was cancelled, which another process writes into the store."""


class Events(Protocol):
    """Where it is said for whom a run waits: the journal of `serve`."""

    def write(self, event: str, text: str, **facts: Any) -> None:
        """One line."""


class _Stop:
    """Whether a run's wait is to stop: it was stopped, or its engine, or it was cancelled."""

    def __init__(self, engine: LocalEngine, run: RunId) -> None:
        self._engine, self._run = engine, run

    def is_set(self) -> bool:
        if self._engine.is_stopped(self._run):
            return True
        with suppress(OSError):
            return self._engine.store.cancelled(self._run) is not None
        return False

    def wait(self, timeout: float) -> None:
        """Until it is set, or a run of this engine has ended: it may be one that is waited for."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if self._engine.pause(self._run, min(left, CANCEL_INTERVAL)) or self.is_set():
                return


def wait_for_members(engine: LocalEngine, run: RunId, task: dict[str, Any], kind: str, events: Events) -> None:
    """Wait until the members of an ensemble's run have ended, or its time for that is over; any other run does not wait.

    ``task`` is its resolved configuration. It returns at once when the run or the engine is stopped.
    """
    if not waits(task, kind):
        return

    def say(text: str) -> None:
        events.write("waits", f"{run}: {text}", task=run.task, run=str(run))

    wait = MemberWait(engine.store, run, task, say=say)
    if wait.is_over or not wait_while(wait.look, _Stop(engine, run), wait.until, lambda: False, say):
        return
    wait.finish()
    if text := waited_text(waited(wait.mark)):
        events.write("waited", f"{run}: {text}", task=run.task, run=str(run))
