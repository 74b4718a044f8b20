"""Where downloads are kept, outside every checkout, and the plain ways to run a command and to give up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn


def cache_folder() -> Path:
    """The same folder that the tool keeps its runtimes in."""
    base = os.environ.get("CRONSEMBLE_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cronsemble"


def say(text: str) -> None:
    print(text, flush=True)


def fail(text: str) -> NoReturn:
    sys.exit(f"images: {text}")


def run(*command: str, quiet: bool = False) -> int:
    """The exit status of a command; its messages go to the terminal unless it is quiet."""
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode


def answer(*command: str) -> str | None:
    """What a command prints, or None if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def need(*command: str, why: str) -> None:
    if run(*command):
        fail(f"{why}: `{' '.join(command[:6])} …` failed; its messages are above")
