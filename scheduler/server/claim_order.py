"""The order of what is due at once: all of it is claimed before any of it begins, so that no claim waits for processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 4
"""Claims that are made at the same time: each waits for the disk twice, and a disk syncs several at once as fast as one."""
LONGEST = 5.0
"""Seconds that a claimed run waits for the claims of others, one of which may take long where the store is another machine's."""


class ClaimOrder:
    """Lets the threads of an experiment's runs claim first, and begin then."""

    def __init__(self) -> None:
        self._pending = self._active = 0
        self._is_collecting = False
        self._change = threading.Condition()
        self._all_claimed = threading.Condition()

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Within the block claims are announced and threads started; they go on when it ends.

        Starting a thread takes long where others are busy.
        """
        self._is_collecting = True
        try:
            yield
        finally:
            with self._change:
                self._is_collecting = False
                self._change.notify(AT_ONCE)

    def announce(self) -> None:
        """A thread is about to be started that will claim."""
        with self._all_claimed:
            self._pending += 1

    def withdraw(self) -> None:
        """It will not claim, or has."""
        with self._all_claimed:
            self._pending -= 1
            if not self._pending:
                self._all_claimed.notify_all()

    @contextmanager
    def claim(self) -> Iterator[None]:
        """The block claims what was announced; few do so at the same time."""
        with self._change:
            self._change.wait_for(lambda: not self._is_collecting and self._active < AT_ONCE)
            self._active += 1
        try:
            yield
        finally:
            with self._change:
                self._active -= 1
                self._change.notify()
            self.withdraw()

    def wait_for_others(self) -> bool:
        """Wait until all that was announced is claimed, or could not be; False if that takes too long."""
        with self._all_claimed:
            return self._all_claimed.wait_for(lambda: not self._pending, LONGEST)
