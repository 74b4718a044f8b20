"""Which process does something, and whether it still lives. Standard library alone, Python 3.9."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any


def process_identity() -> dict[str, Any]:
    """Who this process is, so that a reader on the same machine can tell whether it still lives."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "start": _started(os.getpid())}


def is_alive(identity: dict[str, Any]) -> bool | None:
    """Whether that process lives; None where this machine cannot know (another host)."""
    if identity.get("host") != socket.gethostname():
        return None
    if identity.get("boot") != _boot():
        return False
    started = _started(int(identity.get("pid", 0)))
    return started is not None and started == identity.get("start")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
