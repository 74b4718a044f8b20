"""Processes that a cluster is made of: each with a log, ended by the pid that was started, never outliving the tests."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path


class NotReady(Exception):
    """A process ended, or did not get ready in time; says so with the end of its log."""


class Process:
    """One program that runs until it is stopped; ``log`` grows over restarts."""

    def __init__(self, name: str, command: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name, self.command, self.log, self.env = name, command, log, env
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert not self.alive(), f"{self.name} already runs"
        # Where setpriv is (util-linux), the kernel ends the process with us, even when we are killed.
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with open(self.log, "ab") as log:
            self._running = subprocess.Popen(
                [*guard, *self.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self._running is not None, f"{self.name} was never started"
        return self._running.pid

    def alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def stop(self, seconds: float = 10) -> None:
        """SIGTERM, and SIGKILL for one that does not end in time."""
        if self._running is not None:
            self._running.terminate()
            try:
                self._running.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def tail(self, lines: int = 20) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], seconds: float, what: str = "ready") -> None:
        """Asks until it is; raises NotReady at once when the process ends, or at the deadline."""
        wait_until(ready, seconds, f"{self.name}: not {what}", self)


def wait_until(ready: Callable[[], bool], seconds: float, what: str, *needed: Process) -> None:
    """Asks every 50 ms; raises NotReady when a process that it needs ends, or at the deadline."""
    deadline = time.monotonic() + seconds
    while not ready():
        for process in needed:
            if not process.alive():
                raise NotReady(f"{process.name} ended; its last lines:\n{process.tail()}")
        if time.monotonic() > deadline:
            raise NotReady("\n".join([f"{what} after {seconds:.0f} s", *(process.tail() for process in needed)]))
        time.sleep(0.05)
