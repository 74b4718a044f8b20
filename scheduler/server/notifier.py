"""Tells what is wrong in a served experiment, in a thread of its own: no run waits for a receiver, and no receiver for a run."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING

from cronjobs.experiment import Experiment
from cronjobs.notify import Notify
from jobs.store import LocalStore
from jobs.text import one_line
from scheduler.server.journal import ExperimentJournal

if TYPE_CHECKING:
    # Late where it is used: `serve` is to start its runs before it loads what it may have to tell.
    from scheduler.notifications.tell import Teller

GATHERS = 5.0
"""Seconds between something that happened and a look: what one cause does to several tasks is one message."""
LOOKS = 300.0
"""Seconds between two looks where nothing happened here: runs of other machines die, too."""
PATIENCE = 5.0
"""Seconds for which a stop waits for a message that is being sent."""
STORE, CONFIGURATION = "store", "configuration"
"""What can be wrong beside the slots: kinds of problems, as `scheduler.notifications.incidents` calls them."""


class Notifier:
    """The notifications of one experiment. Its methods return at once; ``is_ours``: whether this process still runs it."""

    def __init__(self, store: LocalStore, journal: ExperimentJournal, is_ours: Callable[[], bool]) -> None:
        self._store, self._journal, self._is_ours = store, journal, is_ours
        self._changed = threading.Condition()
        self._experiment: Experiment | None = None
        self._teller: Teller | None = None
        self._told_to: tuple[Notify, str] | None = None
        self._problems: dict[str, tuple[int, str]] = {}
        """By kind since when it is wrong (minutes since 1970), and why."""
        self._look_at = inf
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def use(self, experiment: Experiment) -> None:
        """Tell whom this configuration names, from now on; a look follows."""
        with self._changed:
            self._experiment = experiment
            self._happened()

    def happened(self) -> None:
        """A run has ended, or a slot was lost: look soon."""
        with self._changed:
            self._happened()

    def configuration(self, problem: str) -> None:
        """What is wrong with the configuration as it was last read; empty if nothing is."""
        self._set(CONFIGURATION, problem)

    def store(self, problem: str) -> None:
        """What the store has just answered; empty if it took what was written."""
        self._set(STORE, problem)

    def stop(self) -> None:
        """Begin nothing more, and wait a little for what is being sent."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def _set(self, kind: str, problem: str) -> None:
        with self._changed:
            since, known = self._problems.get(kind, (int(time.time() // 60), ""))
            if problem == known:
                return
            if problem:
                self._problems[kind] = (since, problem)
            else:
                del self._problems[kind]
            self._happened()

    def _happened(self) -> None:
        if self._experiment is None or self._is_stopping or (self._experiment.notify is None and self._thread is None):
            return
        self._look_at = min(self._look_at, time.monotonic() + GATHERS)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads: the next thing that happens tries again
                self._thread = None
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_stopping and self._look_at > time.monotonic():
                    self._changed.wait(min(self._look_at - time.monotonic(), LOOKS))
                if self._is_stopping:
                    return
                self._look_at = inf
                experiment, problems = self._experiment, dict(self._problems)
            again = LOOKS
            if experiment is not None and experiment.notify is not None and self._is_ours():
                try:
                    again = self._tell(experiment, problems)
                except Exception as error:  # a bug of ours: it must not end what is told
                    text = f"nothing could be told: {type(error).__name__}: {error} (a bug in cronsemble)"
                    self._journal.write("trouble", text)
            with self._changed:
                self._look_at = min(self._look_at, time.monotonic() + again)

    def _tell(self, experiment: Experiment, problems: Mapping[str, tuple[int, str]]) -> float:
        """Look and tell; the seconds after which there is more to do. Without the lock: others must not wait for it."""
        from scheduler.notifications.channels.secrets import missing
        from scheduler.notifications.incidents import GONE, Fact, ProblemKind, cause_in_store, cause_of
        from scheduler.notifications.tell import Teller
        from scheduler.notifications.unwritten import memory_file

        assert experiment.notify is not None
        settings = (experiment.notify, experiment.timezone)
        if self._teller is None or self._told_to != settings:
            self._told_to = settings
            self._teller = Teller(
                self._store,
                experiment.name,
                experiment.timezone,
                experiment.notify,
                os.environ,
                self._journal.write,
                experiment.folder,
                f"-f {shlex.quote(str(experiment.path.resolve()))}",
                memory_file(self._store.root, experiment.name),
            )
            for channel in experiment.notify.channels:
                if why := missing(channel, os.environ):
                    self._journal.write("not sent", f"{channel.name}: {why}")
        facts = []
        for kind, (since, problem) in problems.items():
            cause = cause_of(problem) if kind == CONFIGURATION else cause_in_store(problem) or GONE
            facts.append(Fact(ProblemKind(kind), cause, since, one_line(problem, 500)))
        now = time.time()
        told = self._teller.tell(now, facts, (ProblemKind(STORE), ProblemKind(CONFIGURATION)))
        return min(LOOKS, max(1.0, told.again - now))
