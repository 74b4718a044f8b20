"""The processes of a run on this machine: found by their parent or by the variables of their environment, and ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.contract import ENV_RUN, ENV_STEP, ENV_TRY, RunId
from jobs.store.process_identity import is_alive
from jobs.supervisor.process_tree import Process, all_processes, end_all, signal_all

PATIENCE = 10.0
"""Seconds within which what was asked to stop has stopped, else it is killed: a supervisor gives its processes two."""
_KILL_TIME = 2.0
"""Seconds within which what was killed has ended."""


def processes_of_run(run: RunId, owner: Mapping[str, Any]) -> list[Process]:
    """A run's steps: the children of ``owner``, the process that makes it; supervisors or container clients."""
    if is_alive(dict(owner)) is not True:
        return []
    children = [process for process in all_processes() if process.parent == int(owner["pid"])]
    return [process for process in children if _has_variable(process, ENV_RUN, str(run))]


def stop_processes(run: RunId, owner: Mapping[str, Any]) -> bool:
    """Ask the steps of a run to stop, kill those that do not, and wait for that; False if one has not ended in time."""
    asked: set[int] = set()
    kill_at = time.monotonic() + PATIENCE
    while processes := processes_of_run(run, owner):
        now = time.monotonic()
        if now > kill_at + _KILL_TIME:
            return False
        if now > kill_at:
            signal_all(processes, signal.SIGKILL)
        else:
            signal_all([process for process in processes if process.pid not in asked], signal.SIGTERM)
            asked |= {process.pid for process in processes}
        time.sleep(0.05)
    return True


def end_processes_of_try(name: str, step_id: str = "", grace: float = _KILL_TIME) -> list[Process]:
    """End what is left of a try whose supervisor was killed: whatever still has the try's name in its environment.

    ``step_id``: that of one of its steps, if only that one's processes are to be ended; ``grace``: seconds until what does not
    end is killed. Returns those that have not ended.
    """
    variable, value = (ENV_STEP, step_id) if step_id else (ENV_TRY, name)
    return end_all(lambda: [process for process in all_processes() if _has_variable(process, variable, value)], grace)


def has_own_processes(name: str, step_id: str = "") -> bool:
    """Whether this machine shows a process of a try, or of a step of it, in a container or not; a container's client is none."""
    variable, value = (ENV_STEP, step_id) if step_id else (ENV_TRY, name)
    return any(_has_variable(process, variable, value, ("environ",)) for process in all_processes())


def _has_variable(process: Process, name: str, value: str, files: Sequence[str] = ("environ", "cmdline")) -> bool:
    """Whether it was started with that variable; a container's client has those that it passes on among its arguments."""
    data = b"\0"
    for file in files:
        try:
            data += Path(f"/proc/{process.pid}/{file}").read_bytes() + b"\0"
        except OSError:
            continue
    return f"\0{name}={value}\0".encode() in data
