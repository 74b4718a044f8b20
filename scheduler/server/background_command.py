"""A command of this tool in a process of its own, at low priority: what takes a second of a processor holds up no claim."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CommandResult:
    """How a command ended: with which exit status, and what it wrote."""

    status: int
    output: bytes
    errors: str


class BackgroundCommand:
    """Runs commands for one who asks for something, at most ``longest`` seconds each; ``close`` ends the one that runs."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether it was told to end."""
        return self._is_closed

    def run(
        self,
        arguments: Sequence[str],
        given: bytes | None = None,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> CommandResult | str:
        """What the command gave, or why it gave nothing.

        ``given``: its standard input; ``folder``: where it runs; ``variables`` it has beside those of this process.
        """
        command = [sys.executable, "-c", "from scheduler.cli import main; main()", *arguments]
        with self._lock:
            if self._is_closed:
                return "serve is stopping"
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**os.environ, **(variables or {})},
                    cwd=folder,
                )
            except OSError as error:
                return f"no process could be started: {error.strerror}"
            self._process = process
        with suppress(OSError):  # it may have ended
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)
        try:
            output, errors = process.communicate(given, timeout=self._longest)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"it was not made within {self._longest:.0f} s"
        return CommandResult(process.returncode, output, errors.decode(errors="replace").strip())

    def close(self) -> None:
        """End what runs; nothing more is begun."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
