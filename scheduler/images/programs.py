"""The programs that building an image needs (podman, docker, debootstrap, tar, pip), and the error where one fails."""

from __future__ import annotations

import subprocess

from scheduler import long_process
from scheduler.errors import CronsembleError
from scheduler.long_process import Stage


def succeeds(*command: str) -> bool:
    """Whether a program that takes no time ends with exit status 0; what it prints is discarded."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def output(*command: str) -> str | None:
    """What a program that takes no time prints, or None if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def require(stage: Stage, *command: str, doing: str) -> None:
    """Run a program to its end; raises CronsembleError with the last of what it printed."""
    stage.set(doing)
    ended = long_process.run(command, stage)
    if ended.status:
        raise failure(doing, command[0], ended.output)


def failure(doing: str, program: str, printed: str) -> CronsembleError:
    """The error of a program that failed, with the last lines that it printed."""
    last = "\n".join(f"  {line}" for line in printed.strip().splitlines()[-12:])
    return CronsembleError(f"images: {doing}: {program} failed" + (f"; it printed last:\n{last}" if last else ""))
