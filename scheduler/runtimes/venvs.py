"""Virtual environments of the keras3 runtime: created once from pinned, hashed requirements, and kept in the cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from scheduler.cache import cache_folder
from scheduler.errors import RuntimeUnavailable
from scheduler.long_process import Say, Stage
from scheduler.runtimes import uv

PYTHONS = ((3, 13), (3, 12), (3, 11))
"""The Pythons that every pinned package has a wheel for: TensorFlow 2.21 has none for 3.14."""
BASE, WITH_TORCH = "keras3.txt", "keras3-torch.txt"
SIZES = {BASE: "0.6 GB", WITH_TORCH: "3 GB"}
"""What is downloaded."""
USUAL_SECONDS = 60.0
"""How long the smaller of them takes on two idle cores, with 20 MB a second to download."""
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
    return build_venv(folder, text, interpreter, say, f", {SIZES[requirements]} to download once")


def make_venv_of(lock: str, say: Say) -> Path:
    """The interpreter of the virtual environment of a lock file, created once per content and Python version.

    Raises RuntimeUnavailable.
    """
    interpreter, version = find_python()
    key = hashlib.sha256(f"{lock}{version[0]}.{version[1]}".encode()).hexdigest()[:16]
    return build_venv(cache_folder() / "venvs" / f"own-{key}", lock.encode(), interpreter, say, "")


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
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path, version
    raise RuntimeUnavailable(
        f"the keras3 runtime needs Python 3.11, 3.12 or 3.13; this is {own[0]}.{own[1]} and PATH has none: "
        f"install one (e.g. python3.13), {ALTERNATIVES}"
    )


def build_venv(folder: Path, pins: bytes, interpreter: str, say: Say, size: str) -> Path:
    """Create a virtual environment in ``folder``, unless it is complete; returns its interpreter. Raises RuntimeUnavailable.

    ``size`` of what is downloaded is printed. uv inherits the lock: if this process is killed, the next one waits until
    its uv has ended, and then starts from the beginning. The cache is on a local disk, where such a lock works.
    """
    python, ready = folder / "bin" / "python", folder / ".ready"
    if ready.exists():
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.parent / f"{folder.name}.lock", "w") as lock:
            _wait_for_lock(lock.fileno(), folder.name, say)
            if ready.exists():
                return python
            with Stage(f"creating the virtual environment {folder.name}{size}", say, USUAL_SECONDS) as stage:
                shutil.rmtree(folder, ignore_errors=True)
                requirements = folder.parent / f"{folder.name}.txt"
                requirements.write_bytes(pins)
                _run_uv(["venv", "-q", "--python", interpreter, str(folder)], stage, lock.fileno())
                options = ["--python", str(python), "--require-hashes", "--compile-bytecode"]
                _run_uv(["pip", "install", *options, "-r", str(requirements)], stage, lock.fileno())
            ready.touch()
    except OSError as error:
        raise RuntimeUnavailable(
            f"the virtual environment cannot be created: {error.filename or folder}: {error.strerror}"
        ) from error
    return python


def _wait_for_lock(lock: int, name: str, say: Say) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with Stage(f"another process is creating the virtual environment {name}: waiting for it", say, USUAL_SECONDS):
            fcntl.flock(lock, fcntl.LOCK_EX)


def _run_uv(arguments: list[str], stage: Stage, lock: int) -> None:
    """Run uv, which inherits the lock; raises RuntimeUnavailable if it fails."""
    ended = uv.run(arguments, stage, [lock])
    if ended.status:
        raise RuntimeUnavailable(f"the keras3 runtime cannot be created: {uv.reason(ended)}, {ALTERNATIVES}")
