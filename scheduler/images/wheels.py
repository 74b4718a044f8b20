"""The Python packages of an image: downloaded by their hashes with pip, and kept in the cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import sys
import tempfile
from pathlib import Path

from scheduler.cache import cache_folder
from scheduler.errors import CronsembleError
from scheduler.images.programs import output, require, succeeds
from scheduler.long_process import Stage

CONTEXT = Path(__file__).resolve().parent / "context"
"""The files that images are built from, one folder an image, and those that they share."""
PINS = Path(__file__).resolve().parent.parent / "requirements"
LEGACY, LEGACY_SOURCES = CONTEXT / "legacy" / "wheels.txt", CONTEXT / "legacy" / "sources.txt"

_SIZES = {"keras3": "0.6 GB", "tool": "25 MB"}
_PIN = re.compile(r"^(?P<pin>[A-Za-z0-9._-]+==[^\s;]+)\s*(?:;\s*(?P<marker>[^\\]+?))?\s*(?P<rest>(?:\\|--hash=).*)$")
_MARKER = re.compile(r"^python_full_version (?P<sign><|>=) '3\.(?P<minor>[0-9]+)'$")


def pins_for(text: str, minor: int) -> str:
    """A requirements text for Python 3.``minor`` alone, without markers.

    pip judges markers by the Python that it runs on, which need not be the image's. Raises ValueError for
    a marker of another kind than python_full_version's.
    """
    lines, take = [], True
    for line in text.splitlines():
        pin = _PIN.match(line)
        if pin:
            take = pin["marker"] is None or _applies(pin["marker"], minor)
            line = f"{pin['pin']} {pin['rest']}"
        if take:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _applies(marker: str, minor: int) -> bool:
    match = _MARKER.match(marker)
    if match is None:
        raise ValueError(f"the image's pins have a marker that is not understood: {marker}")
    return (minor < int(match["minor"])) == (match["sign"] == "<")


def version_of(text: str, package: str) -> str:
    """The version that a requirements text pins."""
    match = re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"{package} is not pinned")
    return match[1]


def requirements(name: str) -> str:
    """What an image's packages are pinned to."""
    if name != "legacy":
        return pins_for((PINS / f"{name}.txt").read_text(), 11)
    return LEGACY.read_text() + LEGACY_SOURCES.read_text()


def wheels(name: str, stage: Stage) -> Path:
    """The folder of an image's packages; complete, and the same one until a pin changes. Raises CronsembleError."""
    text = requirements(name)
    folder = cache_folder() / "images" / f"wheels-{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".wheels-{name}-") as scratch:
        made = Path(scratch) / "wheels"
        made.mkdir()
        if name == "legacy":
            _legacy(made, stage)
        else:
            _python3(name, made, stage)
        try:
            made.rename(folder)
        except OSError:  # another build was first
            if not folder.exists():
                raise
    return folder


def _pip() -> list[str]:
    """A pip: this interpreter's, else one in an environment made for it; uv downloads no wheels for another Python."""
    if succeeds(sys.executable, "-m", "pip", "--version"):
        return [sys.executable, "-m", "pip"]
    folder = cache_folder() / "images" / "pip"
    if not (folder / "bin" / "pip").exists() and not succeeds(sys.executable, "-m", "venv", "--clear", str(folder)):
        raise CronsembleError(f"images: {sys.executable} has neither pip nor venv: install python3-venv")
    return [str(folder / "bin" / "python"), "-m", "pip"]


def _download(folder: Path, requirements: Path, *options: str) -> list[str]:
    return [*_pip(), "download", "-q", "--require-hashes", "--no-deps", "-r", str(requirements), "-d", str(folder), *options]


def _legacy(folder: Path, stage: Stage) -> None:
    python = ["--python-version", "27", "--implementation", "cp", "--abi", "cp27mu", "--platform", "manylinux1_x86_64"]
    require(stage, *_download(folder, LEGACY, "--only-binary", ":all:", *python), doing="downloading 0.1 GB of packages")
    if not succeeds(*_download(folder, LEGACY_SOURCES, "--no-binary", ":all:")):
        # Theano's set-up does not run on this Python: Python 2.7 downloads it in the image, with what pip knows here.
        index = output(*_pip(), "config", "get", "global.index-url") or os.environ.get("PIP_INDEX_URL")
        (folder / "pip.conf").write_text(f"[global]\nindex-url = {index}\n" if index else "")
        certificates = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        if certificates and Path(certificates).is_file():
            shutil.copy(certificates, folder / "ca.pem")


def _python3(name: str, folder: Path, stage: Stage) -> None:
    pins = folder / "requirements.txt"
    pins.write_text(requirements(name))
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 16, -1)] + ["manylinux2014_x86_64"]
    options = ["--only-binary", ":all:", "--python-version", "3.11", *(f"--platform={platform}" for platform in platforms)]
    require(stage, *_download(folder, pins, *options), doing=f"downloading {_SIZES[name]} of packages")
