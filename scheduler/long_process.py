"""Another program that takes long: its output is collected, and every few seconds a line says what it does and how far it is."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jobs.text import one_line
from scheduler.times import format_duration

INTERVAL = 8.0
"""Seconds between two lines."""
_KEPT_LINES = 400

Say = Callable[[str], None]
"""Shows the user a line."""
DescribeLine = Callable[[str], str | None]
"""The stage that a line of a program's output begins; None for other lines."""


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status, and the last lines of what it printed, on stdout and stderr."""

    status: int
    output: str


class Stage:
    """What is being done now, and since when all of it is; ``usual`` are the seconds that all of it takes on two idle cores.

    Used as a context manager: within it a line is said at the beginning and every INTERVAL seconds.
    """

    def __init__(self, title: str, say: Say, usual: float) -> None:
        self._title, self._say, self._usual = title, say, usual
        self._stage = ""
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Stage:
        self._say(f"{self._title} (usually {format_duration(self._usual)})")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def set(self, stage: str) -> None:
        """What is done from now on; the next line says it."""
        self._stage = one_line(stage)

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def _repeat(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._say(describe(self._title, self._stage, self.elapsed(), self._usual))


def describe(title: str, stage: str, elapsed: float, usual: float) -> str:
    """A line of progress; times in seconds."""
    left = f"about {format_duration(usual - elapsed)} left" if elapsed < usual else "longer than usual"
    return f"{title}: {stage + ', ' if stage else ''}{format_duration(elapsed)}, {left}"


def run(
    command: Sequence[str],
    stage: Stage,
    describe_line: DescribeLine = lambda _: None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
) -> Ended:
    """Run a program to its end; ``describe_line`` gives the stage that a line of its output begins, or None.

    Raises OSError if it cannot be started.
    """
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    with subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=pass_fds,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                if (text := describe_line(line)) is not None:
                    stage.set(text)
        except BaseException:
            process.terminate()
            raise
    return Ended(process.returncode, "".join(lines))
