"""The program beside this file, built once into the cache: the Go library that Kubernetes uses, asked for fire times."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from cluster.binaries import NoBinaries, toolchain

SOURCE = Path(__file__).parent


def build() -> Path:
    """The program's path; raises NoBinaries where it cannot be built."""
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = Path(os.environ.get("CRONSEMBLE_CACHE") or f"{home}/cronsemble")
    program = cache / f"cron-reference-{digest[:16]}"
    if program.exists():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scrap:
        new = Path(scrap) / "new"
        command = [toolchain(Path(scrap)), "build", "-buildvcs=false", "-o", str(new), "."]
        built = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
        if built.returncode:
            raise NoBinaries(f"the library comes through Go's modules: {built.stderr.strip()}")
        new.rename(program)
    return program
