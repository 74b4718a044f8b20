"""The metrics of the stores as `serve` answers them: computed by a process of their own, when somebody asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scheduler.exit_status import ExitStatus
from scheduler.server.background_command import BackgroundCommand

FRESH = 10.0
"""Seconds for which a text counts for all who ask."""
PATIENCE = 5.0
"""Seconds that somebody who asks waits for a newer text, before the one before is answered: Prometheus waits for 10."""
LONGEST = 120.0
"""Seconds after which the process that computes is ended."""


class StoreMetrics:
    """The text of all experiments that are served. A newer one is made when somebody asks, one at a time.

    ``report_problem`` is called with why one is missing or incomplete, once for each reason. ``compute``: the text, which is
    empty if there is none, and the problem.
    """

    def __init__(
        self,
        files: Sequence[Path],
        report_problem: Callable[[str], None],
        compute: Callable[[], tuple[bytes, str]] | None = None,
    ) -> None:
        self._files, self._report_problem = files, report_problem
        self._compute = compute or self._compute_in_process
        self._changed = threading.Condition()
        self._text, self._problem = b"", ""
        self._made: float | None = None
        self._is_making = self._is_closed = False
        self._command = BackgroundCommand(LONGEST)

    def text(self) -> bytes:
        """The newest metrics; those from before, or nothing, if newer ones take longer than PATIENCE."""
        with self._changed:
            if self._is_fresh() or self._is_closed:
                return self._text
            if not self._is_making:
                self._is_making = True
                threading.Thread(target=self._make, name="store metrics", daemon=True).start()
            self._changed.wait_for(lambda: self._is_fresh() or self._is_closed, PATIENCE)
            return self._text

    def close(self) -> None:
        """End what is being computed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._command.close()

    def _is_fresh(self) -> bool:
        return self._made is not None and time.monotonic() - self._made < FRESH

    def _make(self) -> None:
        text, problem = self._compute()
        with self._changed:
            # Without a new one the old one stays: it says how old it is.
            self._text = text or self._text
            self._made, self._is_making = time.monotonic(), False
            is_new = problem != self._problem and not self._is_closed
            self._problem = problem
            self._changed.notify_all()
        if problem and is_new:
            self._report_problem(problem)

    def _compute_in_process(self) -> tuple[bytes, str]:
        result = self._command.run(["metrics", *(f"--file={file}" for file in self._files)])
        if isinstance(result, str):
            return b"", result
        is_whole = result.status == ExitStatus.DONE
        return result.output, "" if is_whole else (result.errors or f"it ended with {result.status}")
