"""The exit statuses of the commands."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """What a command's exit status says."""

    DONE = 0
    """All is done, or there was nothing to do."""
    ERROR = 1
    """An error, or a run that did not succeed."""
    DIFFERS = 2
    """`plan --detailed-exitcode`: there are changes; `compare --detailed-exitcode`: other predictions; `rerun`: a result came out
    changed; `next --dialect`: other fire times."""
    USAGE = 64
    """Wrong usage: EX_USAGE of sysexits.h."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C: 128 + SIGINT."""
