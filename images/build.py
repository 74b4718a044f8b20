"""Builds the container images with podman or docker: `python3 images/build.py [legacy|keras3|all] [--save DIR]`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pwd
import re
import resource
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from base import find_base
from cache import answer, cache_folder, fail, need, run, say
from wheels import HERE, requirements, version_of, wheels

SUITES = {"legacy": "bullseye", "keras3": "bookworm"}
PACKAGES = {"legacy": ["keras", "theano", "cntk"], "keras3": ["keras", "tensorflow-cpu", "jax"]}
PYTHONS = {"legacy": "2.7", "keras3": "3.11"}
EPOCH = os.environ.get("SOURCE_DATE_EPOCH", "1577836800")
"""The time that every file and the image itself get; 2020-01-01, when Python 2.7 ended, unless the variable is set."""
EXTENT = {"legacy": "about 6 minutes", "keras3": "about 3 minutes"}


def engine() -> list[str]:
    """The first of podman and docker that answers; a docker client without an engine does not."""
    prefixes = (["podman", "--cgroup-manager", "cgroupfs"], ["docker"])
    prefix = next(
        (candidate for candidate in prefixes if shutil.which(candidate[0]) and not run(*candidate, "info", quiet=True)), None
    )
    if prefix is None:
        fail("neither podman nor docker works here: install podman (apt-get install podman)")
    if prefix[0] == "podman":
        check_user(os.getuid(), Path("/etc/subuid"))
    return prefix


def check_user(uid: int, subuid: Path) -> None:
    """An image holds files of several users: podman needs a range of them unless it runs as root."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    lines = subuid.read_text().splitlines() if subuid.is_file() else []
    if uid != 0 and not any(line.split(":")[0] in (user, str(uid)) for line in lines):
        fail(
            f"podman run by {user} cannot build: there is no line for {user} in {subuid}; "
            f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}, or build as root"
        )


def inputs_of(name: str) -> str:
    """A hash of everything of ours that goes into the image."""
    files = {path.name: path.read_bytes() for path in [*(HERE / name).iterdir(), HERE / "apt.sh", HERE / "identity.py"]}
    files["requirements.txt"], files["epoch"] = requirements(name).encode(), EPOCH.encode()
    digest = hashlib.sha256()
    for key in sorted(files):
        digest.update(f"{key}\0{len(files[key])}\0".encode() + files[key])
    return digest.hexdigest()[:16]


def labels(name: str, inputs: str) -> dict[str, str]:
    """What the image says of itself: OCI's own labels, and the versions in it."""
    version = re.search(r'^VERSION = "(.+)"$', (HERE.parent / "scheduler" / "__init__.py").read_text(), re.M)
    assert version, "scheduler/__init__.py says no version"
    pins = requirements(name)
    versions = {package.removesuffix("-cpu"): version_of(pins, package) for package in PACKAGES[name]}
    return {
        "org.opencontainers.image.title": f"cronsemble-{name}",
        "org.opencontainers.image.description": f"Cronsemble's {name} runtime: " + ", ".join(versions),
        "org.opencontainers.image.version": version[1],
        "cronsemble.inputs": inputs,
        "cronsemble.python": PYTHONS[name],
        **{f"cronsemble.{key}": value for key, value in versions.items()},
    }


def inputs_label(prefix: list[str], image: str) -> str | None:
    return answer(*prefix, "image", "inspect", image, "--format", '{{ index .Config.Labels "cronsemble.inputs" }}')


def build(prefix: list[str], name: str, mirror: str | None) -> None:
    image, inputs = f"localhost/cronsemble-{name}", inputs_of(name)
    if inputs_label(prefix, image) == inputs:
        say(f"{image}: already built from these files")
        return
    packages = wheels(name)
    base = find_base(prefix, SUITES[name], mirror)
    with tempfile.TemporaryDirectory(dir=cache_folder() / "images", prefix=".context-") as scratch:
        context = Path(scratch) / name
        shutil.copytree(HERE / name, context)
        # Links, not copies: the cache is on the same disk.
        shutil.copytree(packages, context / "wheels", copy_function=os.link)
        for path in (HERE / "apt.sh", HERE / "identity.py"):
            shutil.copy(path, context)
        (context / "requirements.txt").write_text(requirements(name))
        say(f"{image}: building ({EXTENT[name]})")
        arguments = {"BASE": base, "INPUTS": inputs, "EPOCH": EPOCH}
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        options += [f"--label={key}={value}" for key, value in labels(name, inputs).items()]
        if prefix[0] == "podman":
            options += ["--isolation", "chroot", "--pull=never", "--timestamp", EPOCH]
        need(
            *prefix,
            "build",
            "-q",
            *options,
            "-t",
            image,
            "-f",
            str(context / "Containerfile"),
            str(context),
            why=f"building {image}",
        )
    say(f"{image}: built")


def save(prefix: list[str], name: str, folder: Path) -> None:
    """Write the image as a docker archive, which containerd and docker load; left alone if it is up to date."""
    image = f"localhost/cronsemble-{name}"
    identity = answer(*prefix, "image", "inspect", image, "--format", "{{.Id}}")
    tar, mark = folder / f"cronsemble-{name}.tar", folder / f"cronsemble-{name}.json"
    if tar.exists() and mark.exists() and json.loads(mark.read_text()).get("id") == identity:
        say(f"{tar}: up to date")
        return
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    part = folder / f".cronsemble-{name}.tar.part"
    part.unlink(missing_ok=True)
    options = ["-q", "--format", "docker-archive"] if prefix[0] == "podman" else []
    need(*prefix, "save", *options, "-o", str(part), image, why=f"saving {image}")
    part.rename(tar)
    mark.write_text(json.dumps({"id": identity, "image": f"{image}:latest", "inputs": inputs_label(prefix, image)}) + "\n")
    say(f"{tar}: {tar.stat().st_size / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", nargs="?", default="all", choices=[*SUITES, "all"])
    parser.add_argument("--mirror", help="the Debian mirror for debootstrap")
    parser.add_argument("--save", metavar="DIR", type=Path, help="also write the images there as docker archives")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    prefix = engine()
    names = list(SUITES) if options.image == "all" else [options.image]
    # Side by side: one mostly computes, the other mostly writes.
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: build(prefix, name, options.mirror), names))
    for name in names if options.save else []:
        save(prefix, name, options.save)


if __name__ == "__main__":
    main()
