"""The loop of `serve`: looks at the clock, hands each experiment what is due, and waits for the next thing to happen."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

from cronjobs.experiment import Experiment
from scheduler.engines.local import CpuBudget
from scheduler.errors import CronsembleError
from scheduler.server.experiment import ServedExperiment
from scheduler.server.journal import Journal
from scheduler.server.metrics import Metrics
from scheduler.server.run_thread import RunEnded

LONGEST_WAIT = 10.0
"""Seconds after which the clock is looked at again: while a machine sleeps, a wait does not count on."""
JUMP = 5.0
"""Seconds by which the wall clock may run apart from the monotonic one before it counts as set."""
SILENT = 120.0
"""Seconds without a look at the clock after which /healthz says so."""


@dataclass
class Clock:
    """The wall clock, and one that is never set."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic

    def wait(self, changed: threading.Condition, happened: Callable[[], bool], seconds: float) -> None:
        """Wait until something happened, or for so many seconds of the wall clock; the condition is held."""
        changed.wait_for(happened, seconds)


class Server:
    """Serves experiments until it is told to stop."""

    def __init__(self, experiments: Sequence[Experiment], cpus: int, journal: Journal, metrics: Metrics, clock: Clock) -> None:
        self.journal, self.metrics, self.clock = journal, metrics, clock
        budget = CpuBudget(cpus)
        self.all = [ServedExperiment(each, budget, journal, metrics, self._told) for each in experiments]
        self._news: deque[tuple[ServedExperiment, RunEnded]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._last = _Look(clock.wall(), clock.steady())

    def begin(self, take_over: bool) -> None:
        """Own every experiment, all or none, and begin; raises CronsembleError."""
        now = self.clock.wall()
        for served in self.all:
            served.own(now, take_over)
        for served in self.all:
            served.begin(now)
        self._last = _Look(now, self.clock.steady())

    def run(self) -> None:
        """Until `stop` is called, or every experiment was taken over and its last run here has ended."""
        while not self._stopping and any(served.owned or served.is_busy for served in self.all):
            self._wait(self.look())
        ends = [threading.Thread(target=served.stop, args=(self.clock.wall(),)) for served in self.all]
        for each in ends:
            each.start()
        for each in ends:
            each.join()

    def stop(self, *_: Any) -> None:
        """May be called by a signal handler: it takes no lock that the loop holds."""
        self._stopping = True
        threading.Thread(target=self._wake, daemon=True).start()

    def look(self) -> float:
        """One look at the clock and at what happened; the instant of the next thing that is known to come."""
        look = _Look(self.clock.wall(), self.clock.steady())
        now, before = look.wall, self._last
        moved = (look.wall - before.wall) - (look.steady - before.steady)
        if abs(moved) > JUMP:
            how = "the clock was set forward, or this machine slept:" if moved > 0 else "the clock was set back:"
            self.journal.write("clock", f"{how} {abs(moved):.0f} s")
            for served in self.all:
                served.clock_moved(before.wall, now)
        self._last = look
        self.metrics.beat.set(now)
        while self._news:
            served, ended = self._news.popleft()
            self._guarded(served, now, partial(served.ended, ended, now))
        # What is due comes first: a schedule that was edited in this minute counts from now on.
        following = self._step(now)
        if int(now // 60) != int(before.wall // 60):
            for served in self.all:
                self._guarded(served, now, partial(self._each_minute, served, now))
            following = self._step(now)
        return following

    def _step(self, now: float) -> float:
        told = [self._guarded(served, now, partial(served.step, now)) for served in self.all if served.owned]
        return min((each for each in told if each is not None), default=now + LONGEST_WAIT)

    def _guarded(self, served: ServedExperiment, now: float, act: Callable[[], float | None]) -> float | None:
        """What goes wrong with one experiment, its store gone or a fault of ours, is said and stops no other."""
        try:
            return act()
        except OSError as error:
            served.journal.write("trouble", f"{error.filename or served.store.root}: {error.strerror}")
        except Exception as error:
            served.journal.write("trouble", f"{type(error).__name__}: {error} (a fault of ours)", trace=traceback.format_exc())
        return now + LONGEST_WAIT

    def _each_minute(self, served: ServedExperiment, now: float) -> None:
        if served.owned and served.is_still_ours():
            served.look_at_files(now)
            served.beat(now)

    def _wait(self, until: float) -> None:
        with self._changed:
            self.clock.wait(self._changed, lambda: bool(self._news) or self._stopping, self._seconds(until))

    def _seconds(self, until: float) -> float:
        now = self.clock.wall()
        minute = 60 - now % 60
        return max(0.0, min(until - now, minute, LONGEST_WAIT))

    def _told(self, served: ServedExperiment, ended: RunEnded) -> None:
        self._news.append((served, ended))
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the loop looks at the clock, and what it serves."""
        age = self.clock.steady() - self._last.steady
        told = {"loop_age_seconds": round(age, 1), "experiments": [served.name for served in self.all if served.owned]}
        return age < SILENT and not self._stopping, told


@dataclass(frozen=True)
class _Look:
    wall: float
    steady: float


def serve(experiments: Sequence[Experiment], cpus: int, journal: Journal, listen: str | None, take_over: bool) -> int:
    """Serve until SIGTERM or SIGINT; 0, or 1 if everything was taken over by another."""
    from scheduler.server import metrics as measured

    if not experiments:
        raise CronsembleError("nothing to serve: give -f FILE")
    metrics = Metrics()
    where = measured.address(listen) if listen else None
    server = Server(experiments, cpus, journal, metrics, Clock())

    def stop(_: int, __: FrameType | None) -> None:
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    http = measured.listen(*where, metrics, server.health) if where else None
    if http is not None:
        journal.write("listens", f"http://{listen}: /metrics and /healthz", port=http.server_port)
    server.begin(take_over)
    try:
        server.run()
    finally:
        if http is not None:
            http.shutdown()
            http.server_close()
    return 0 if server._stopping else 1
