"""The loop of a step that waits for runs: it looks at the store, says for whom it waits, and ends to make room for others.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

FIRST_INTERVAL, LONGEST_INTERVAL = 2.0, 15.0
"""Seconds between two readings of the store: at first, and after a while."""
YIELD_AFTER = 60.0
"""Seconds after which a waiting pod ends if an awaited run has not started: that run may need its node's CPUs and memory."""
FIRST_BACK_OFF, LONGEST_BACK_OFF = 10.0, 600.0
"""Seconds until the Job controller starts a pod again that has ended, at first and at most: they double each time (Kubernetes'
DefaultJobPodFailureBackOff and MaxJobPodFailureBackOff; up to 1.27 at most 360)."""


class Stop(Protocol):
    """Whether to stop waiting, as a threading.Event has it."""

    def is_set(self) -> bool:
        """Whether to stop now."""

    def wait(self, timeout: float) -> object:
        """Wait for so many seconds, or less: until it is set, or there may be something new in the store."""


@dataclass(frozen=True)
class Awaited:
    """Somebody who has not ended: how that is said, and whether it has not started and may need the room of who waits."""

    text: str
    needs_room: bool


def say(text: str) -> None:
    """Print a line of a pod's log."""
    print(f"cronsemble: {text}", flush=True)


def back_off(yields: int) -> float:
    """Seconds until a pod that has ended that often before to make room is there again, at most."""
    return min(FIRST_BACK_OFF * (1 << min(yields, 16)), LONGEST_BACK_OFF)


def wait_while(
    look: Callable[[], Sequence[Awaited]],
    stopped: Stop,
    until: float,
    can_yield: Callable[[], bool] = lambda: True,
    say: Callable[[str], None] = say,
) -> bool:
    """Wait until ``look`` finds nobody, or ``until`` (seconds since 1970).

    False if ``stopped`` is set, or the process should end now and be started again later: somebody needs its room, and it
    ``can_yield``.
    """
    began, interval = now(), FIRST_INTERVAL
    announced: set[str] = set()
    while not stopped.is_set():
        unfinished = look()
        if not unfinished or now() >= until:
            return True
        for awaited in unfinished:
            if awaited.text not in announced:
                say(f"waiting for {awaited.text}")
                announced.add(awaited.text)
        not_started = [awaited for awaited in unfinished if awaited.needs_room]
        if not_started and now() - began > YIELD_AFTER and can_yield():
            say(f"{not_started[0].text} has not started: this pod ends to make room for it, and is started again later")
            return False
        stopped.wait(min(interval, max(0.0, until - now())))
        interval = min(interval * 1.25, LONGEST_INTERVAL)
    return False


def now() -> float:
    """Seconds since 1970."""
    return datetime.now(timezone.utc).timestamp()
