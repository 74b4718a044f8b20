"""The image that an image is made from: Debian of a registry, else made here by debootstrap and kept in the cache folder."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from scheduler import long_process
from scheduler.cache import cache_folder
from scheduler.errors import CronsembleError
from scheduler.images.programs import require, succeeds
from scheduler.long_process import Stage

PULL_SECONDS = "30"
"""What a registry gets to answer; where none can be reached the name fails at once."""


def find_base(prefix: Sequence[str], suite: str, mirror: str | None, stage: Stage) -> str:
    """An image of the suite that the engine has: ours, else a registry's, else one made by debootstrap.

    ``prefix``: the engine's program and its global options. Raises CronsembleError.
    """
    own, public = f"localhost/cronsemble-base:{suite}", f"docker.io/library/debian:{suite}-slim"
    for image in (own, public):
        if succeeds(*prefix, "image", "inspect", image):
            return image
    tar = cache_folder() / "images" / f"base-{suite}.tar"
    if not tar.exists():
        stage.set(f"asking the registry for {public}")
        if succeeds("timeout", PULL_SECONDS, *prefix, "pull", public):
            return public
        debootstrap(suite, tar, mirror, stage)
    require(stage, *prefix, "import", str(tar), own, doing=f"importing {tar.name}")
    return own


def debootstrap(suite: str, tar: Path, mirror: str | None, stage: Stage) -> None:
    """Make a minimal root of the suite and pack it as ``tar``, which appears whole or not at all; raises CronsembleError."""
    if os.getuid() != 0 or not shutil.which("debootstrap"):
        raise CronsembleError(
            f"images: no registry answers, and making {suite} here needs root and debootstrap (apt-get install debootstrap)"
        )
    tar.parent.mkdir(parents=True, exist_ok=True)
    mirrors = [mirror] if mirror else candidates(suite, apt_sources())
    for address in mirrors:
        with tempfile.TemporaryDirectory(dir=tar.parent, prefix=f".{suite}-") as scratch:
            root, archive = Path(scratch) / "root", Path(scratch) / "root.tar"
            stage.set(f"debootstrap of {suite}")
            command = ["debootstrap", "--variant=minbase", suite, str(root), *([address] if address else [])]
            if long_process.run(command, stage, lambda line: describe_debootstrap(suite, line)).status:
                continue
            exclude = "--exclude=./var/cache/apt/archives/*.deb"
            require(stage, "tar", "-C", str(root), "-cf", str(archive), exclude, ".", doing=f"packing {suite}")
            archive.rename(tar)
            return
    names = ", ".join(address or "its default mirror" for address in mirrors)
    raise CronsembleError(f"images: {suite} could not be made by debootstrap from {names}: give --mirror")


def describe_debootstrap(suite: str, line: str) -> str | None:
    """What a line of debootstrap's output says is done now: `I: Unpacking libc6:amd64...`; None for other lines."""
    match = re.match(r"I: (\w+ing) (\S+?)(?:\.\.\.)?$", line.strip())
    return f"debootstrap of {suite}: {match[1].lower()} {match[2]}" if match else None


def apt_sources() -> str:
    """This machine's apt sources, all files as one text."""
    paths = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    return "\n".join(path.read_text(errors="replace") for path in paths if path.is_file())


def candidates(suite: str, sources: str) -> list[str]:
    """Mirrors to try in turn: those that apt uses, debootstrap's own (""), and the archive that old suites move to."""
    lines = (line for line in sources.splitlines() if not line.lstrip().startswith("#"))
    mirrors = _unique(word.rstrip("/") for line in lines for word in line.split() if re.match(r"https?://\S+/debian/?$", word))
    archives = [address.replace("deb.debian", "archive.debian") for address in mirrors if "deb.debian" in address]
    return _unique([*mirrors, "", *archives, *_archive_beside_default()])


def _archive_beside_default() -> list[str]:
    """The archive beside the mirror that debootstrap itself would use."""
    script = Path("/usr/share/debootstrap/functions")
    text = script.read_text(errors="replace") if script.is_file() else ""
    script = Path(shutil.which("debootstrap") or "/nonexistent")
    text += script.read_text(errors="replace") if script.is_file() else ""
    mirrors = re.findall(r"https?://deb\.debian\.[a-z]+/debian\b", text)
    return [address.replace("deb.debian", "archive.debian") for address in mirrors]


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
