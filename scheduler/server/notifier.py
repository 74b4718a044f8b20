"""Tells what is wrong in a served experiment, in a thread of its own: no run waits for a receiver, and no receiver for a run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from math import inf

from cronjobs.experiment import Experiment
from jobs.store import LocalStore
from jobs.text import one_line
from scheduler.notifications.incidents import GONE, Fact, ProblemKind, cause_in_store, cause_of
from scheduler.notifications.tell import Teller
from scheduler.server.journal import ExperimentJournal

GATHERS = 5.0
"""Seconds between something that happened and a look: what one cause does to several tasks is one message."""
LOOKS = 300.0
"""Seconds between two looks where nothing happened here: runs of other machines die, too."""
PATIENCE = 5.0
"""Seconds for which a stop waits for a message that is being sent."""
_JUDGED = (ProblemKind.STORE, ProblemKind.CONFIGURATION)


class Notifier:
    """The notifications of one experiment. Its methods return at once; ``is_ours``: whether this process still runs it."""

    def __init__(self, store: LocalStore, journal: ExperimentJournal, is_ours: Callable[[], bool]) -> None:
        self._store, self._journal, self._is_ours = store, journal, is_ours
        self._changed = threading.Condition()
        self._experiment: Experiment | None = None
        self._teller: Teller | None = None
        self._facts: dict[ProblemKind, Fact] = {}
        self._look_at = inf
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def use(self, experiment: Experiment) -> None:
        """Tell whom this configuration names, from now on; a look follows."""
        with self._changed:
            before = self._experiment
            self._experiment = experiment
            if before is None or (before.notify, before.timezone) != (experiment.notify, experiment.timezone):
                self._teller = None
            self._happened()

    def happened(self) -> None:
        """A run has ended, or a slot was lost: look soon."""
        with self._changed:
            self._happened()

    def configuration(self, problem: str) -> None:
        """What is wrong with the configuration as it was last read; empty if nothing is."""
        self._set(ProblemKind.CONFIGURATION, cause_of(problem), problem)

    def store(self, problem: str) -> None:
        """What the store has just answered; empty if it took what was written."""
        self._set(ProblemKind.STORE, cause_in_store(problem) or GONE, problem)

    def stop(self) -> None:
        """Begin nothing more, and wait a little for what is being sent."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def _set(self, kind: ProblemKind, cause: str, problem: str) -> None:
        with self._changed:
            known = self._facts.get(kind)
            if not problem:
                if known is not None:
                    del self._facts[kind]
                    self._happened()
            elif known is None or known.cause != cause:
                self._facts[kind] = Fact(kind, cause, int(time.time() // 60), one_line(problem, 500))
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
                teller, facts = self._current_teller(), list(self._facts.values())
            again = LOOKS
            if teller is not None and self._is_ours():
                now = time.time()
                try:
                    again = min(LOOKS, max(1.0, teller.tell(now, facts, _JUDGED).again - now))
                except Exception as error:  # a bug of ours: it must not end what is told
                    text = f"nothing could be told: {type(error).__name__}: {error} (a bug in cronsemble)"
                    self._journal.write("trouble", text)
            with self._changed:
                self._look_at = min(self._look_at, time.monotonic() + again)

    def _current_teller(self) -> Teller | None:
        experiment = self._experiment
        if experiment is None or experiment.notify is None:
            return None
        if self._teller is None:
            self._teller = Teller(
                self._store,
                experiment.name,
                experiment.timezone,
                experiment.notify,
                os.environ,
                self._journal.write,
                experiment.folder,
                f"-f {experiment.path.resolve()}",
            )
        return self._teller
