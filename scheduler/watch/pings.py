"""What a look tells a server of Healthchecks: that it began, and whether all of its duties were done."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping

from cronjobs.objects.labels import WATCH
from jobs.pings import Pings, Signal, body_of, check_slug, key_problem
from jobs.supervisor.heartbeat import PingAddress
from jobs.text import one_line
from scheduler.watch.look import Say


class LookPings:
    """The pings of one look; none without an address. ``complain`` is given a line for what did not arrive: it fails no look."""

    def __init__(
        self, experiment: str, address: PingAddress | None, complain: Say, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._slug = check_slug(experiment, WATCH)
        self._pings: Pings | None = None
        if address is None:
            return
        if problem := key_problem(address.key):
            complain(f"heartbeat: no pings are sent: {problem}")
            return
        # Each look is one of its own, also of two at once.
        look = f"{self._slug}-{uuid.uuid4()}"
        self._pings = Pings(address.url, address.key, self._slug, look, complain, environment)

    def began(self) -> None:
        """Say that the look has begun."""
        if self._pings is not None:
            self._pings.send(Signal.START)

    def ended(self, is_done: bool, lines: Iterable[str]) -> None:
        """Say how it ended, with what was said of it; waits for the pings for a while."""
        if self._pings is not None:
            text = f"{self._slug} {'succeeded' if is_done else 'failed: not all could be done'}"
            self._pings.send(Signal.SUCCESS if is_done else Signal.FAIL, body_of(text, map(one_line, lines)))
            self._pings.finish()
