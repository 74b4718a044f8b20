"""A program under supervision: its output, report and deadline, and the end of all that it has started. Python 3.9."""

from __future__ import annotations

import os
import queue
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from jobs import contract as c
from jobs.store.log_files import BLOCK
from jobs.supervisor.log_writer import LogWriter
from jobs.supervisor.process_tree import (
    Process,
    adopt_orphans,
    command_line,
    descendants,
    end_all,
    end_with_parent,
    reap_orphans,
    signal_all,
)

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL of a step's processes; the whole stop must take less than 5 s."""
LINGER = 0.3
"""Seconds that helper processes may take to end by themselves once the program has: those of ``multiprocessing`` do."""
EXIT_TIME = 60.0
"""Seconds that a program may take to exit once it has reported that its work is done; then it is ended."""
_DRAIN_TIME = 0.5
"""Seconds that what is left of its output is copied for, once all its processes have ended."""
_LONGEST_WAIT = 1.0
"""Seconds after which the main thread goes on in any case."""
_MAX_REPORT = 1 << 17
"""Bytes that are kept of a report."""


@dataclass
class ChildEnd:
    """How a program ended: its exit status, negative for a signal, and whether it was ended here.

    ``is_late``: at its deadline; ``is_overdue``: because it did not exit after its work was done; ``memory``: the most bytes
    that one of its processes has used; ``report``: what it wrote to the file descriptor of ENV_REPORT; ``is_done``: it said
    there that its work was done; ``ended``: the processes that it left behind and that were ended, as their command lines,
    ``surviving``: those that were not.
    """

    code: int
    is_late: bool
    is_overdue: bool
    memory: int
    report: bytes = b""
    is_done: bool = False
    ended: list[str] = field(default_factory=list)
    surviving: list[str] = field(default_factory=list)


@dataclass
class StartedProgram:
    """A program that has been started as a child of this process: its id, and the ends for reading of its output and report.

    ``wait``: waits for its end; its exit status, negative for a signal, and the most bytes that one of its processes has used.
    ``server``: the process that has forked it, which stays, if one has.
    """

    pid: int
    output: int
    report: int
    wait: Callable[[], tuple[int, int]]
    server: int | None = None


def start_program(command: Sequence[str], env: Mapping[str, str]) -> StartedProgram:
    """Start a program in a session of its own, which is killed if this process ends in any way. Raises OSError."""
    adopt_orphans()
    parent = os.getpid()
    report, report_end = os.pipe()
    try:
        process = subprocess.Popen(
            command,
            env={**env, c.ENV_REPORT: str(report_end)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=(report_end,),
            # What a terminal or a shell sends to a process group is for the supervisor to pass on.
            start_new_session=True,
            preexec_fn=lambda: end_with_parent(signal.SIGKILL, parent),
        )
    except OSError:
        os.close(report)
        raise
    finally:
        os.close(report_end)
    assert process.stdout is not None
    output = os.dup(process.stdout.fileno())
    process.stdout.close()

    def wait() -> tuple[int, int]:
        return process.wait(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10

    return StartedProgram(process.pid, output, report, wait)


class ChildProcess:
    """Watches a program that was started; its output goes to ``log`` and to stdout."""

    def __init__(self, program: StartedProgram, log: LogWriter) -> None:
        self._program = program
        self._log = log
        self._events: queue.SimpleQueue[str | OSError] = queue.SimpleQueue()
        self._report = bytearray()
        self._is_done = False
        self._is_stopping = False
        self._finish, self._finish_end = os.pipe()
        self._copier = threading.Thread(target=self._copy, daemon=True)
        self._copier.start()
        threading.Thread(target=self._await_exit, daemon=True).start()

    def stop(self) -> None:
        """Have it end, with all its processes; returns at once. A signal handler or another thread may call it."""
        self._events.put("stop")

    def wait(self, timeout: float | None) -> ChildEnd:
        """Wait until it has ended, and end what it has left behind; it may take ``timeout`` seconds.

        Raises OSError where its log cannot be written; it has been ended then.
        """
        error: OSError | None = None
        is_late = is_overdue = False
        stop_at = float("inf") if timeout is None else time.monotonic() + timeout
        kill_at = exit_at = float("inf")
        while True:
            event = self._next_event(min(stop_at, kill_at, exit_at))
            now = time.monotonic()
            if event == "exit":
                break
            if event == "done":
                exit_at = now + EXIT_TIME
            if isinstance(event, OSError):
                error = event
            must_stop = event == "stop" or error is not None or now >= min(stop_at, exit_at)
            if must_stop and not self._is_stopping:
                is_late = now >= stop_at
                is_overdue = self._is_done and (is_late or now >= exit_at)
                self._is_stopping = True
                kill_at = now + GRACE
                signal_all(self._processes(), signal.SIGTERM)
                stop_at = exit_at = float("inf")
            if now >= kill_at:
                signal_all(self._processes(), signal.SIGKILL)
                kill_at = now + 0.1
        code, memory = self._program.wait()
        end = ChildEnd(code, is_late, is_overdue, memory)
        self._end_left_behind(end, kill_at)
        self._finish_copying()
        end.report, end.is_done = bytes(self._report), self._is_done
        if error is not None:
            raise error
        return end

    def _processes(self) -> list[Process]:
        """The program and all that it has started."""
        return [process for process in descendants(os.getpid()) if process.pid != self._program.server]

    def _next_event(self, until: float) -> str | OSError | None:
        # A signal may be delivered to another thread: Python's handler runs only once this one goes on.
        try:
            return self._events.get(timeout=max(0.0, min(_LONGEST_WAIT, until - time.monotonic())))
        except queue.Empty:
            return None

    def _await_exit(self) -> None:
        """Report when the program has ended, which it stays visible as; orphans that have ended before are forgotten."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None or ended.si_pid == self._program.pid:
                break
            with suppress(ChildProcessError):
                os.waitpid(ended.si_pid, 0)
        self._events.put("exit")

    def _end_left_behind(self, end: ChildEnd, kill_at: float) -> None:
        """End the processes that the program has left behind, and say in ``end`` which they were."""

        def remaining() -> list[Process]:
            reap_orphans()
            return self._processes()

        grace = GRACE
        if self._is_stopping:
            grace = max(0.0, kill_at - time.monotonic())
        else:
            linger_until = time.monotonic() + LINGER
            while remaining() and time.monotonic() < linger_until:
                time.sleep(0.01)
            end.ended = [command_line(process) for process in remaining()]
        end.surviving = [f"{command_line(process)} (process {process.pid})" for process in end_all(remaining, grace)]

    # -- its output

    def _copy(self) -> None:
        """Copy the output until it ends, or until its rest after `_finish_copying`; collect the report."""
        output, report = self._program.output, self._program.report
        sources = {output, report}
        until = float("inf")
        try:
            while sources and time.monotonic() < until:
                # Somebody who is no descendant may have them open still: then their end is not waited for.
                is_finishing = until < float("inf")
                ready = select.select([*sources, *([] if is_finishing else [self._finish])], [], [], 0 if is_finishing else None)[
                    0
                ]
                if is_finishing and not ready:
                    break
                if self._finish in ready:
                    until = time.monotonic() + _DRAIN_TIME
                for source in sources.intersection(ready):
                    data = os.read(source, BLOCK)
                    if not data:
                        sources.discard(source)
                    elif source == output:
                        self._write(data)
                    else:
                        self._read_report(data)
        except OSError as error:
            self._events.put(error)
        finally:
            os.close(report)

    def _write(self, data: bytes) -> None:
        kept = self._log.write(data)
        # Whoever started the supervisor may no longer read what it prints.
        with suppress(OSError, ValueError):
            sys.stdout.buffer.write(kept)
            sys.stdout.buffer.flush()

    def _read_report(self, data: bytes) -> None:
        self._report += data[: _MAX_REPORT - len(self._report)]
        if not self._is_done and c.REPORT_DONE in self._report:
            self._is_done = True
            self._events.put("done")

    def _finish_copying(self) -> None:
        os.write(self._finish_end, b"\n")
        self._copier.join(2 * _DRAIN_TIME)
        if self._copier.is_alive():
            # It waits for whoever reads what is printed here, or for the store: it ends with this process.
            return
        os.close(self._program.output)
        os.close(self._finish)
        os.close(self._finish_end)
