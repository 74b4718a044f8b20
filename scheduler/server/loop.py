"""The loop of `serve`: looks at the clock, has each experiment start what is due, and waits for what comes next."""

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
from scheduler.exit_status import ExitStatus
from scheduler.server.experiment import ServedExperiment
from scheduler.server.journal import Journal
from scheduler.server.metrics import Metrics
from scheduler.server.run_thread import RunEnded
from scheduler.signals import STOP_SIGNALS, install, leave_closed_terminal
from scheduler.times import check_clock

LONGEST_WAIT = 10.0
"""Seconds after which the clock is looked at again: while a machine sleeps, a wait does not count on."""
JUMP = 5.0
"""Seconds by which the wall clock may run apart from the monotonic one before it counts as set."""
STOP_REASONS: dict[int, str] = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "its terminal was closed (SIGHUP)",
}
"""What the journal says of a signal."""
SILENT = 120.0
"""Seconds without a look at the clock after which /healthz says so."""


@dataclass
class ServerClock:
    """The wall clock, and one that is never set."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic

    def wait(self, changed: threading.Condition, happened: Callable[[], bool], seconds: float) -> None:
        """Wait until something happened, or for so many seconds of the wall clock; the condition is held."""
        changed.wait_for(happened, seconds)


class ScheduleServer:
    """Serves experiments until it is stopped; ``is_stopping``: whether `stop` was called."""

    def __init__(
        self, experiments: Sequence[Experiment], cpus: int, journal: Journal, metrics: Metrics, clock: ServerClock
    ) -> None:
        self.journal, self.metrics, self.clock = journal, metrics, clock
        budget = CpuBudget(cpus)
        self.experiments = [ServedExperiment(experiment, budget, journal, metrics, self._report) for experiment in experiments]
        self._ended: deque[tuple[ServedExperiment, RunEnded]] = deque()
        self._changed = threading.Condition()
        self.is_stopping, self._stop_reason = False, ""
        self._last_look = _Look(clock.wall(), clock.steady())

    def begin(self, take_over: bool) -> None:
        """Take ownership of every experiment, and begin; raises CronsembleError if another owns one."""
        now = self.clock.wall()
        check_clock(now)
        for served in self.experiments:
            served.own(now, take_over)
        for served in self.experiments:
            served.begin(now)
        self._last_look = _Look(now, self.clock.steady())

    def run(self) -> None:
        """Serve until `stop` is called, or until every experiment was taken over and its last run here has ended."""
        while not self.is_stopping and any(served.owned or served.is_busy for served in self.experiments):
            self._wait(self.look())
        if self.is_stopping:
            self.journal.write("stopping", f"stopping: {self._stop_reason}")
        threads = [threading.Thread(target=served.stop, args=(self.clock.wall(),)) for served in self.experiments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self, reason: str = "asked to") -> None:
        """Have `run` return; a signal handler may call it, for it takes no lock that the loop holds."""
        if not self.is_stopping:
            self.is_stopping, self._stop_reason = True, reason
        threading.Thread(target=self._wake, daemon=True).start()

    def look(self) -> float:
        """Do what is due now; the instant, in seconds since 1970, at which something is due next."""
        look = _Look(self.clock.wall(), self.clock.steady())
        now, before = look.wall, self._last_look
        moved = (look.wall - before.wall) - (look.steady - before.steady)
        if abs(moved) > JUMP:
            cause = "the clock was set forward, or this machine slept:" if moved > 0 else "the clock was set back:"
            self.journal.write("clock", f"{cause} {abs(moved):.0f} s")
            for served in self.experiments:
                served.clock_moved(before.wall, now)
        self._last_look = look
        self.metrics.last_look.set(now)
        while self._ended:
            served, ended = self._ended.popleft()
            self._guarded(served, now, partial(served.ended, ended, now))
        # What is due comes first: a schedule that was edited in this minute counts from now on.
        next_due = self._step(now)
        if int(now // 60) != int(before.wall // 60):
            for served in self.experiments:
                self._guarded(served, now, partial(self._each_minute, served, now))
            next_due = self._step(now)
        return next_due

    def _step(self, now: float) -> float:
        instants = [self._guarded(served, now, partial(served.step, now)) for served in self.experiments if served.owned]
        return min((instant for instant in instants if instant is not None), default=now + LONGEST_WAIT)

    def _guarded(self, served: ServedExperiment, now: float, act: Callable[[], float | None]) -> float | None:
        """What goes wrong with one experiment, its store gone or a bug, is written to the journal and stops no other."""
        try:
            return act()
        except OSError as error:
            served.journal.write("trouble", f"{error.filename or served.store.root}: {error.strerror}")
        except Exception as error:
            served.journal.write(
                "trouble", f"{type(error).__name__}: {error} (a bug in cronsemble)", trace=traceback.format_exc()
            )
        return now + LONGEST_WAIT

    def _each_minute(self, served: ServedExperiment, now: float) -> None:
        if served.owned and served.check_owner():
            served.look_at_files(now)
            served.beat(now)
            served.watch.look(served.experiment, now)

    def _wait(self, until: float) -> None:
        with self._changed:
            self.clock.wait(self._changed, lambda: bool(self._ended) or self.is_stopping, self._seconds(until))

    def _seconds(self, until: float) -> float:
        now = self.clock.wall()
        minute = 60 - now % 60
        return max(0.0, min(until - now, minute, LONGEST_WAIT))

    def _report(self, served: ServedExperiment, ended: RunEnded) -> None:
        self._ended.append((served, ended))
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the loop looks at the clock, and what it serves."""
        age = self.clock.steady() - self._last_look.steady
        facts = {"loop_age_seconds": round(age, 1), "experiments": [served.name for served in self.experiments if served.owned]}
        return age < SILENT and not self.is_stopping, facts


@dataclass(frozen=True)
class _Look:
    wall: float
    steady: float


def serve(
    experiments: Sequence[Experiment],
    cpus: int,
    journal: Journal,
    listen: str | None,
    take_over: bool,
    allowed_hosts: Sequence[str] = (),
) -> ExitStatus:
    """Serve until a signal stops it; an error if every experiment was taken over. Raises CronsembleError."""
    from scheduler.server import http_endpoint
    from scheduler.server.live_report import live_reports
    from scheduler.server.store_metrics import StoreMetrics

    if not experiments:
        raise CronsembleError("nothing to serve: give -f FILE")
    metrics = Metrics()
    address = http_endpoint.parse_address(listen, allowed_hosts) if listen else None
    server = ScheduleServer(experiments, cpus, journal, metrics, ServerClock())

    def stop(number: int, _: FrameType | None) -> None:
        leave_closed_terminal()
        server.stop(STOP_REASONS[number])

    for number in STOP_SIGNALS:
        install(number, stop)
    reports = live_reports([(served.name, served.path, served.store) for served in server.experiments])
    stores = StoreMetrics(
        [served.path for served in server.experiments],
        lambda problem: journal.write("trouble", f"/metrics lacks what the stores say: {problem}"),
    )
    http = None
    if address:
        http = http_endpoint.listen(*address, metrics.registry, server.health, reports, allowed_hosts, stores.text)
        journal.write(
            "listens", f"listens at {http_endpoint.url(http)}: the report, /metrics and /healthz", port=http.server_port
        )
    server.begin(take_over)
    try:
        server.run()
    finally:
        if http is not None:
            stores.close()
            for report in reports.values():
                report.close()
            http.shutdown()
            http.server_close()
    return ExitStatus.DONE if server.is_stopping else ExitStatus.ERROR
