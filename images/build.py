"""Builds the container images with podman or docker: `python3 images/build.py [legacy|keras3|all] [--install]`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE.parent / "scheduler" / "requirements" / "keras3.txt"
SUITES = {"legacy": "bullseye", "keras3": "bookworm"}
PUBLIC = {suite: f"docker.io/library/debian:{suite}-slim" for suite in SUITES.values()}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cronsemble" / "images"


def say(text: str) -> None:
    print(text, flush=True)


def fail(text: str) -> None:
    sys.exit(f"images: {text}")


def run(*command: str, quiet: bool = False, cwd: Path | None = None) -> int:
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, check=False).returncode


def need(*command: str, why: str, cwd: Path | None = None) -> None:
    if run(*command, cwd=cwd):
        fail(f"{why}: `{' '.join(command[:6])} …` failed; its messages are above")


def engine() -> list[str]:
    """The first of podman and docker that answers; a docker client without an engine does not."""
    for prefix in (["podman", "--cgroup-manager", "cgroupfs"], ["docker"]):
        if shutil.which(prefix[0]) and not run(*prefix, "info", quiet=True):
            return prefix
    fail("neither podman nor docker works here: install podman (apt-get install podman)")
    return []


def install() -> None:
    wanted = [name for name in ("podman", "debootstrap", "runc") if not shutil.which(name)]
    if wanted and os.getuid() == 0 and shutil.which("apt-get"):
        run("apt-get", "update", "-q", quiet=True)
        need("apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted, why="installing tools")


def digest(name: str) -> str:
    """A hash of everything that goes into the image."""
    paths = [*sorted((HERE / name).iterdir()), Path(__file__)] + ([REQUIREMENTS] if name == "keras3" else [])
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def present(prefix: list[str], image: str, label: str) -> bool:
    command = [
        *prefix,
        "image",
        "inspect",
        image,
        "--format",
        '{{ index .Config.Labels "cronsemble.inputs" }}',
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == label


def base(prefix: list[str], suite: str, mirror: str | None) -> str:
    """An image of the suite: ours if there, else a registry's, else one made by debootstrap."""
    own = f"localhost/cronsemble-base:{suite}"
    if not run(*prefix, "image", "inspect", own, quiet=True):
        return own
    if not run("timeout", "20", *prefix, "pull", PUBLIC[suite], quiet=True):
        return PUBLIC[suite]
    if os.getuid() != 0 or not shutil.which("debootstrap"):
        fail(f"no registry answers, and making {suite} needs root and debootstrap")
    CACHE.mkdir(parents=True, exist_ok=True)
    for address in [mirror] if mirror else mirrors():
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            say(f"making {suite} by debootstrap (about a minute)")
            root = Path(scratch) / "root"
            if run("debootstrap", "--variant=minbase", suite, str(root), address, quiet=True):
                continue
            shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
            tar = Path(scratch) / "root.tar"
            need("tar", "-C", str(root), "-cf", str(tar), ".", why="packing the base")
            need(*prefix, "import", str(tar), own, why="importing the base")
            return own
    fail(f"{suite} could not be made by debootstrap: give --mirror")
    return ""


def mirrors() -> list[str]:
    """Debian's mirrors that this machine uses, and the archive beside each for suites that have moved."""
    found = []
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        for word in path.read_text(errors="replace").split() if path.is_file() else []:
            if word.startswith("http") and word.rstrip("/").endswith("/debian") and word not in found:
                found.append(word)
    return found + [address.replace("deb.debian", "archive.debian") for address in found]


def wheels_legacy(folder: Path) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
        str(folder),
    ]
    for name in (HERE / "legacy" / "wheels.txt").read_text().split():
        native = [
            *pip,
            "--python-version",
            "27",
            "--implementation",
            "cp",
            "--abi",
            "cp27mu",
            "--platform",
            "manylinux1_x86_64",
        ]
        pure = [
            *pip,
            "--python-version",
            "27",
            "--implementation",
            "py",
            "--abi",
            "none",
            "--platform",
            "any",
        ]
        if run(*native, name, quiet=True):
            need(*pure, name, why=f"downloading {name}")
    certificates = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if certificates:
        shutil.copy(certificates, folder / "ca.pem")


def wheels_keras3(folder: Path) -> None:
    shutil.copy(REQUIREMENTS, folder / "keras3.txt")
    command = [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--only-binary", ":all:"]
    options = ["--no-deps", "--python-version", "3.11", "-r", str(REQUIREMENTS), "-d", str(folder)]
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 16, -1)] + ["manylinux2014_x86_64"]
    need(*command, *options, *(f"--platform={name}" for name in platforms), why="downloading wheels")


def build(prefix: list[str], name: str, mirror: str | None) -> None:
    image, inputs = f"localhost/cronsemble-{name}", digest(name)
    if present(prefix, image, inputs):
        say(f"{image}: already built from these files")
        return
    start = base(prefix, SUITES[name], mirror)
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / name
        shutil.copytree(HERE / name, context)
        (context / "wheels").mkdir()
        say(f"{image}: downloading wheels")
        wheels_legacy(context / "wheels") if name == "legacy" else wheels_keras3(context / "wheels")
        (context / "identity.json").write_text(json.dumps({"name": name, "inputs": inputs}) + "\n")
        say(f"{image}: building (legacy about 5 minutes, keras3 about 3)")
        options = ["--build-arg", f"BASE={start}", "--label", f"cronsemble.inputs={inputs}", "-t", image]
        if prefix[0] == "podman":
            options += ["--isolation", "chroot", "--pull=never", "--squash-all"]
        need(
            *prefix,
            "build",
            "-q",
            *options,
            "-f",
            str(context / "Containerfile"),
            str(context),
            why=f"building {image}",
        )
    say(f"{image}: built")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", nargs="?", default="all", choices=[*SUITES, "all"])
    parser.add_argument("--install", action="store_true", help="install podman and debootstrap (as root, with apt)")
    parser.add_argument("--mirror", help="the Debian mirror for debootstrap")
    options = parser.parse_args()
    if options.install:
        install()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    prefix = engine()
    for name in SUITES if options.image == "all" else [options.image]:
        build(prefix, name, options.mirror)


if __name__ == "__main__":
    main()
