"""The processes that descend from one, found and ended together. Linux, standard library alone, Python 3.9."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_LIBC = ctypes.CDLL(None)
_POLL_SECONDS = 0.02
"""Between two looks at processes that are not our own children: the kernel reports the end of those alone."""


@dataclass(frozen=True)
class Process:
    """A process that has not ended; ``command`` is its program's name, as the kernel keeps it."""

    pid: int
    parent: int
    command: str


def adopt_orphans() -> None:
    """From now on, a descendant whose parent ends becomes a child of this process, not of init: none gets out of reach."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hide_memory() -> None:
    """Keep this user's other processes from reading what this one holds, the variables that it began with too; root may."""
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_with_parent(number: int, parent: int) -> None:
    """In a new child of ``parent``: have the kernel send it signal ``number`` when its parent ends in any way."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), number)


def all_processes() -> list[Process]:
    """The processes of this machine, or of this container, that have not ended."""
    processes = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                head, _, rest = Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")
            except OSError:
                continue
            state, parent = rest.split()[:2]
            if state not in "ZX":
                processes.append(Process(int(entry), int(parent), head.partition("(")[2]))
    return processes


def descendants(pid: int) -> list[Process]:
    """The processes that a process has started, those that these have started, and so on."""
    children: dict[int, list[Process]] = {}
    for process in all_processes():
        children.setdefault(process.parent, []).append(process)
    found, parents = [], [pid]
    while parents:
        for process in children.get(parents.pop(), ()):
            found.append(process)
            parents.append(process.pid)
    return found


def command_line(process: Process) -> str:
    """What a process was started as, for people; its program's name where that cannot be read."""
    try:
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        arguments = ""
    return " ".join(arguments.split("\0")).strip() or process.command


def signal_all(processes: list[Process], number: int) -> None:
    """Send a signal to each; one that has ended, or is another user's, is passed over."""
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def end_all(find: Callable[[], list[Process]], grace: float) -> list[Process]:
    """Have the processes that ``find`` returns end: SIGTERM, and SIGKILL after ``grace`` seconds; those that still have not."""
    asked: set[int] = set()
    kill_at = time.monotonic() + grace
    give_up_at = kill_at + 1.0
    while remaining := find():
        now = time.monotonic()
        if now >= give_up_at:
            return remaining
        if now >= kill_at:
            signal_all(remaining, signal.SIGKILL)
        else:
            signal_all([process for process in remaining if process.pid not in asked], signal.SIGTERM)
            asked |= {process.pid for process in remaining}
        time.sleep(_POLL_SECONDS)
    return []


def reap_orphans() -> None:
    """Have the kernel forget the children of this process that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
