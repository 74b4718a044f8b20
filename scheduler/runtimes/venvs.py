"""Virtual environments of the keras3 runtime: created once from pinned, hashed requirements, and kept in the cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

from scheduler.cache import cache_folder
from scheduler.errors import RuntimeUnavailable

Say = Callable[[str], None]
"""Shows the user a line about what takes a while."""

PYTHONS = ((3, 13), (3, 12), (3, 11))
"""The Pythons that every pinned package has a wheel for: TensorFlow 2.21 has none for 3.14."""
BASE, WITH_TORCH = "keras3.txt", "keras3-torch.txt"
SIZES = {BASE: "0.6 GB", WITH_TORCH: "3 GB"}
"""What is downloaded."""
ALTERNATIVES = "or give runtimes.keras3: {python: PATH} or {image: REF}"


def requirement_set(backends: Iterable[str]) -> str:
    """The requirements file for these backends: torch, four times the size of all others, is only in the second one."""
    return WITH_TORCH if "torch" in backends else BASE


def make_venv(say: Say, requirements: str = BASE) -> Path:
    """The interpreter of the virtual environment with a requirements file of ours, created once per content and Python version.

    Raises RuntimeUnavailable.
    """
    text = files("scheduler").joinpath("requirements", requirements).read_bytes()
    interpreter, version = find_python()
    key = hashlib.sha256(text + f"{version[0]}.{version[1]}".encode()).hexdigest()[:16]
    folder = cache_folder() / "venvs" / f"{requirements.removesuffix('.txt')}-{key}"
    effort = f"once, a few minutes, downloads {SIZES[requirements]}" if requirements in SIZES else "once"
    return build_venv(folder, text, interpreter, say, effort)


def find_python() -> tuple[str, tuple[int, int]]:
    """An interpreter for which every pin has a wheel, with its version: this one, else the newest on PATH.

    Raises RuntimeUnavailable.
    """
    own = sys.version_info[:2]
    if own in PYTHONS:
        return sys.executable, own
    for version in PYTHONS:
        name = f"python{version[0]}.{version[1]}"
        # A name on PATH may be a version manager's script for an interpreter that is not installed.
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0:
            return path, version
    raise RuntimeUnavailable(
        f"the keras3 runtime needs Python 3.11, 3.12 or 3.13 with venv; this is {own[0]}.{own[1]} and PATH has none: "
        f"install one (e.g. python3.13 and python3.13-venv), {ALTERNATIVES}"
    )


def build_venv(folder: Path, pins: bytes, interpreter: str, say: Say, effort: str) -> Path:
    """Create a virtual environment in ``folder``, unless it is complete; returns its interpreter. Raises RuntimeUnavailable.

    ``effort`` is printed: how long it takes. pip inherits the lock: if this process is killed, the next one waits until
    its pip has ended, and then starts from the beginning. The cache is on a local disk, where such a lock works.
    """
    python, ready = folder / "bin" / "python", folder / ".ready"
    if ready.exists():
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.parent / f"{folder.name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another process is creating the virtual environment {folder.name}: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if ready.exists():
                return python
            say(f"creating the virtual environment {folder.name} ({effort})")
            shutil.rmtree(folder, ignore_errors=True)
            requirements = folder.parent / f"{folder.name}.txt"
            requirements.write_bytes(pins)
            _run([interpreter, "-I", "-m", "venv", str(folder)], lock.fileno())
            pip = [str(python), "-I", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input"]
            _run([*pip, "--require-hashes", "-r", str(requirements)], lock.fileno())
            ready.touch()
    except OSError as error:
        raise RuntimeUnavailable(
            f"the virtual environment cannot be created: {error.filename or folder}: {error.strerror}"
        ) from error
    return python


def _run(command: list[str], lock: int) -> None:
    """Run a command that inherits the lock; raises RuntimeUnavailable if it fails."""
    # What would have pip install elsewhere, or believe that a package is there already.
    elsewhere = ("PYTHON", "PIP_PREFIX", "PIP_ROOT", "PIP_TARGET", "PIP_USER")
    done = subprocess.run(
        command,
        env={name: value for name, value in os.environ.items() if not name.startswith(elsewhere)} | {"PIP_USER": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        pass_fds=[lock],
    )
    if done.returncode:
        raise RuntimeUnavailable(
            f"the keras3 runtime cannot be created: {_reason(command, done.stderr or done.stdout)}, {ALTERNATIVES}"
        )


def _reason(command: list[str], output: str) -> str:
    """The cause in pip's messages, as one line: without a network, its last message is about a missing distribution."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    unreachable = (
        "NewConnectionError",
        "Connection refused",
        "Temporary failure",
        "ConnectTimeout",
        "ProxyError",
        "NameResolution",
    )
    if any(word in line for line in lines for word in unreachable):
        return "pip cannot reach its package index: connect this machine, or set PIP_INDEX_URL to an index that it can reach"
    absent = re.search(r"the requirement (\S+) \(from versions: none\)", output)
    if absent:
        return f"pip finds no {absent[1]} for this machine: connect the machine, or set PIP_INDEX_URL to an index that has it"
    if "No space left on device" in output:
        return f"no space left on the disk of {cache_folder()}: delete something, or set CRONSEMBLE_CACHE to another folder"
    last = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no message")
    return f"`{' '.join(command[2:5])}` failed: {last}"
