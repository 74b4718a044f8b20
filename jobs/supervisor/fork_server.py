"""A backend that is imported once for several predictions: starts `jobs.portable.fork_server` and its forks. Python 3.9."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event

from jobs.supervisor.child_process import StartedProgram
from jobs.supervisor.process_tree import adopt_orphans, end_with_parent

FORK_TIME = 20.0
"""Seconds in which a fork answers; else the prediction gets a process of its own."""
_POLL_INTERVAL = 0.1
"""Seconds after which it is looked whether the step is to stop."""
_OF_EACH_PROCESS = ("KERAS_HOME",)
"""Variables whose values differ and make no difference: each process has its own folder of that kind."""


class ForkServer:
    """Starts predictions as forks of one process that has imported their backend; a context manager, which ends that process.

    ``most``: how many predictions there will be at most. The process is started when the first begins, and only predictions with
    the same environment are its forks.
    """

    def __init__(self, most: int, stopped: Event) -> None:
        self._left, self._stopped = most, stopped
        self._pipes: list[tuple[int, int, int, int]] = []  # of each further prediction output and report, reading and writing end
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._answers = -1
        self._has_failed = False
        self.output = b""
        """What the import has printed."""

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(
        self, command: Sequence[str], arguments: Sequence[str], env: Mapping[str, str], timeout: float
    ) -> StartedProgram | None:
        """Start a prediction with these arguments; None where it has to have a process of its own.

        ``command``: how the fork server is started; ``timeout``: seconds that the backend's import may take.
        """
        self._left -= 1
        shared = {name: value for name, value in env.items() if name not in _OF_EACH_PROCESS}
        if self._has_failed or (self._process is None and not self._left):
            return None
        if self._process is None:
            self._environment = shared
            self._has_failed = not self._serve(command, env, timeout)
        if self._has_failed or shared != self._environment:
            return None
        started = self._fork(arguments)
        if started is None:
            self._has_failed = True
        if started is None or not self._left:
            self.close()
        return started

    def close(self) -> None:
        """End the process that has imported the backend; what it has forked goes on."""
        if self._process is not None and self._answers >= 0:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            with suppress(OSError):
                self._process.stdin.close()
            for descriptor in (self._answers, *(end for ends in self._pipes for end in ends)):
                os.close(descriptor)
            self._pipes, self._answers = [], -1

    def _serve(self, command: Sequence[str], env: Mapping[str, str], timeout: float) -> bool:
        """Start the process; whether it has imported the backend and can fork."""
        adopt_orphans()
        parent = os.getpid()
        # All of them now: it gets no other descriptors later.
        self._pipes = [(*os.pipe(), *os.pipe()) for _ in range(self._left + 1)]
        self._answers, answers = os.pipe()
        with tempfile.TemporaryFile() as output:
            try:
                self._process = subprocess.Popen(
                    [*command, "--answers", str(answers)],
                    env=dict(env),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    bufsize=0,
                    pass_fds=[answers, *(end for ends in self._pipes for end in (ends[1], ends[3]))],
                    start_new_session=True,
                    preexec_fn=lambda: end_with_parent(signal.SIGKILL, parent),
                )
            except OSError:
                for descriptor in (self._answers, *(end for ends in self._pipes for end in ends)):
                    os.close(descriptor)
                self._pipes, self._answers = [], -1
                return False
            finally:
                os.close(answers)
            is_ready = self._answer(timeout) == "ready"
            if is_ready:
                output.seek(0)
                self.output = output.read()
        if not is_ready:
            self.close()
        return is_ready

    def _fork(self, arguments: Sequence[str]) -> StartedProgram | None:
        assert self._process is not None and self._process.stdin is not None
        output, output_end, report, report_end = self._pipes.pop()
        others = [end for ends in self._pipes for end in (ends[1], ends[3])]
        request = {"arguments": list(arguments), "output": output_end, "report": report_end, "close": others}
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        for descriptor in (output_end, report_end):
            os.close(descriptor)
        answer = self._answer(FORK_TIME)
        if not answer.isdigit():
            os.close(output)
            os.close(report)
            return None
        pid = int(answer)

        def wait() -> tuple[int, int]:
            _, status, usage = os.wait4(pid, 0)
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss << 10

        return StartedProgram(pid, output, report, wait, self._process.pid)

    def _answer(self, timeout: float) -> str:
        """The next line of its answers; empty if none comes in time, it has ended, or the step is to stop."""
        give_up_at, line = time.monotonic() + timeout, b""
        while not line.endswith(b"\n"):
            wait_for = min(_POLL_INTERVAL, give_up_at - time.monotonic())
            if self._stopped.is_set() or wait_for <= 0:
                return ""
            if select.select([self._answers], [], [], wait_for)[0]:
                data = os.read(self._answers, 1)
                if not data:
                    return ""
                line += data
        return line.decode().strip()
