"""Which process does something, and whether it is still alive. Standard library alone, Python 3.9."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from jobs.text import one_line


def host_name() -> str:
    """This machine's name as it is recorded and printed: without what is no text."""
    return one_line(socket.gethostname())


def process_identity() -> dict[str, Any]:
    """This process: ``host``, ``boot`` (the boot's id), ``pid`` and ``start`` (clock ticks after boot, as in proc(5)).

    A pid alone may have been another process's, before a reboot or later.
    """
    return {"host": host_name(), "boot": _boot_id(), "pid": os.getpid(), "start": _start_time(os.getpid())}


def is_alive(identity: dict[str, Any]) -> bool | None:
    """Whether that process is alive; None where this machine cannot know (another host)."""
    if identity.get("host") != host_name():
        return None
    if identity.get("boot") != _boot_id():
        return False
    start = _start_time(int(identity.get("pid") or 0))
    return start is not None and start == identity.get("start")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start_time(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
