"""The processes of a run on this machine: found by their parent and the run in their environment, and asked to stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.contract import ENV_RUN, RunId
from jobs.store.process_identity import is_alive

PATIENCE = 10.0
"""Seconds within which what was asked to stop has stopped: a supervisor gives its child two."""


def processes_of_run(run: RunId, owner: Mapping[str, Any]) -> list[int]:
    """The pids of a run's steps: the children of ``owner``, the process that makes it; supervisors or container clients."""
    if is_alive(dict(owner)) is not True:
        return []
    variable = f"\0{ENV_RUN}={run}\0".encode()
    return [pid for pid in _children(int(owner["pid"])) if variable in _environment_and_arguments(pid)]


def stop_processes(run: RunId, owner: Mapping[str, Any]) -> bool:
    """Ask the steps of a run to stop, and wait for that; False if one has not stopped in time."""
    asked: set[int] = set()
    deadline = time.monotonic() + PATIENCE
    while pids := processes_of_run(run, owner):
        for pid in pids:
            if pid not in asked:
                asked.add(pid)
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    continue
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _children(parent: int) -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] not in "ZX":
                yield int(entry)


def _environment_and_arguments(pid: int) -> bytes:
    """Each between zero bytes: a container's client has the environment that it passes on among its arguments."""
    data = b"\0"
    for name in ("environ", "cmdline"):
        try:
            data += Path(f"/proc/{pid}/{name}").read_bytes() + b"\0"
        except OSError:
            continue
    return data
