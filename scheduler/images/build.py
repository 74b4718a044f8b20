"""The images as a whole: what each is built from, its labels, the build, and its archive."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import resource
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scheduler import VERSION, long_process
from scheduler.cache import cache_folder
from scheduler.errors import CronsembleError
from scheduler.images.base_image import find_base
from scheduler.images.programs import failure, output, require
from scheduler.images.tool_source import tool_source
from scheduler.images.wheels import CONTEXT, requirements, version_of, wheels
from scheduler.long_process import DescribeLine, Say, Stage
from scheduler.runtimes import containers

SUITES = {"legacy": "bullseye", "keras3": "bookworm", "tool": "bookworm"}
"""By image the suite of Debian that it is made from."""
PACKAGES = {"legacy": ["keras", "theano", "cntk"], "keras3": ["keras", "tensorflow-cpu", "jax"], "tool": ["numpy", "msgspec"]}
"""By image the packages whose versions its labels name."""
PYTHONS = {"legacy": "2.7", "keras3": "3.11", "tool": "3.11"}
"""By image the version of the Python that the framework, or the tool, runs in."""
EPOCH = os.environ.get("SOURCE_DATE_EPOCH", "1577836800")
"""The time that every file and the image itself get; 2020-01-01, when Python 2.7 ended, unless the variable is set."""
SECONDS = {"legacy": 420.0, "keras3": 180.0, "tool": 90.0}
"""By image the seconds that building it takes on two idle cores with nothing in the cache folder."""
_STEP = re.compile(r"^(?:\[\d/\d\] )?STEP (\d+)/(\d+): (.*)")
"""A line of podman and of docker's older builder: `[1/2] STEP 3/10: RUN sh /b/install.sh`."""


def build_images(names: Sequence[str], mirror: str | None, folder: Path | None, say: Say) -> None:
    """Build these images, side by side, and write them into ``folder`` as docker archives if one is given.

    One that is built from the same files already is left alone. ``mirror``: the Debian mirror for debootstrap. Raises
    CronsembleError.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    prefix = engine_prefix()
    # Side by side: one mostly computes, the other mostly writes.
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: build(prefix, name, mirror, say), names))
    for name in names if folder is not None else []:
        save(prefix, name, Path(folder or "."), say)


def engine_prefix() -> list[str]:
    """The engine's program and its global options; raises CronsembleError where none can build."""
    try:
        prefix = list(containers.find_engine().prefix)
    except containers.NoContainerEngine as error:
        raise CronsembleError(f"images: {error}: install podman (apt-get install podman)") from error
    if prefix[0] == "podman":
        check_user(os.getuid(), Path("/etc/subuid"))
    return prefix


def check_user(uid: int, subuid: Path) -> None:
    """An image holds files of several users: podman needs a range of them unless it runs as root. Raises CronsembleError."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    lines = subuid.read_text().splitlines() if subuid.is_file() else []
    if uid != 0 and not any(line.split(":")[0] in (user, str(uid)) for line in lines):
        raise CronsembleError(
            f"images: podman run by {user} cannot build: there is no line for {user} in {subuid}; "
            f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}, or build as root"
        )


def inputs_of(name: str) -> str:
    """A hash of everything of ours that goes into the image."""
    files = {path.name: path.read_bytes() for path in _files(name)}
    files["requirements.txt"], files["epoch"] = requirements(name).encode(), EPOCH.encode()
    files |= {f"source/{path}": content for path, content in _source(name).items()}
    digest = hashlib.sha256()
    for key in sorted(files):
        digest.update(f"{key}\0{len(files[key])}\0".encode() + files[key])
    return digest.hexdigest()[:16]


def _files(name: str) -> list[Path]:
    # An installed package may hold byte code beside its files.
    own = [path for path in (CONTEXT / name).iterdir() if path.is_file()]
    return [*own, CONTEXT / "apt.sh", CONTEXT / "identity.py"]


def _source(name: str) -> dict[str, bytes]:
    """What of the tool's own packages goes into the image: all into its own, nothing into those of the frameworks."""
    return tool_source() if name == "tool" else {}


def labels(name: str, inputs: str) -> dict[str, str]:
    """What the image says of itself: OCI's own labels, and the versions in it."""
    pins = requirements(name)
    versions = {package.removesuffix("-cpu"): version_of(pins, package) for package in PACKAGES[name]}
    what = "Cronsemble itself" if name == "tool" else f"Cronsemble's {name} runtime"
    return {
        "org.opencontainers.image.title": f"cronsemble-{name}",
        "org.opencontainers.image.description": f"{what}: " + ", ".join(versions),
        "org.opencontainers.image.version": VERSION,
        "cronsemble.inputs": inputs,
        "cronsemble.python": PYTHONS[name],
        **{f"cronsemble.{key}": value for key, value in versions.items()},
    }


def build(prefix: Sequence[str], name: str, mirror: str | None, say: Say) -> None:
    """Build one image, unless it is built from the same files already; raises CronsembleError."""
    image, inputs = f"localhost/cronsemble-{name}", inputs_of(name)
    if _inputs_label(prefix, image) == inputs:
        say(f"{image}: already built from these files")
        return
    with Stage(f"building {image}", say, SECONDS[name]) as stage:
        packages = wheels(name, stage)
        base = find_base(prefix, SUITES[name], mirror, stage)
        with tempfile.TemporaryDirectory(dir=cache_folder() / "images", prefix=".context-") as scratch:
            context = Path(scratch) / name
            context.mkdir()
            for path in _files(name):
                shutil.copy(path, context)
            # Links, not copies: the cache is on the same disk.
            shutil.copytree(packages, context / "wheels", copy_function=os.link)
            (context / "requirements.txt").write_text(requirements(name))
            for relative, content in _source(name).items():
                path = context / "source" / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            arguments = {"BASE": base, "INPUTS": inputs, "EPOCH": EPOCH}
            options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
            options += [f"--label={key}={value}" for key, value in labels(name, inputs).items()]
            if prefix[0] == "podman":
                options += ["--isolation", "chroot", "--pull=never", "--timestamp", EPOCH]
            command = [*prefix, "build", *options, "-t", image, "-f", str(context / "Containerfile"), str(context)]
            ended = long_process.run(command, stage, describe_step())
            if ended.status:
                raise failure(f"building {image}", prefix[0], ended.output)
        seconds = stage.elapsed()
    say(f"{image}: built in {seconds:.0f} s")


def describe_step() -> DescribeLine:
    """Gives for a line of the engine's output the stage that it begins, or None.

    A step's own program may say how far it is, by a line `stage: TEXT`.
    """
    step = ""

    def describe(line: str) -> str | None:
        nonlocal step
        match = _STEP.match(line.strip())
        if match:
            step = f"step {match[1]} of {match[2]}"
            return f"{step}, {match[3][:60]}"
        if line.startswith("stage: "):
            return f"{step}, {line.removeprefix('stage: ').strip()}"
        return None

    return describe


def _inputs_label(prefix: Sequence[str], image: str) -> str | None:
    return output(*prefix, "image", "inspect", image, "--format", '{{ index .Config.Labels "cronsemble.inputs" }}')


def save(prefix: Sequence[str], name: str, folder: Path, say: Say) -> None:
    """Write the image as a docker archive, which containerd and docker load; left alone if it is up to date."""
    image = f"localhost/cronsemble-{name}"
    identity = output(*prefix, "image", "inspect", image, "--format", "{{.Id}}")
    tar, mark = folder / f"cronsemble-{name}.tar", folder / f"cronsemble-{name}.json"
    if tar.exists() and mark.exists() and json.loads(mark.read_text()).get("id") == identity:
        say(f"{tar}: up to date")
        return
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    part = folder / f".cronsemble-{name}.tar.part"
    part.unlink(missing_ok=True)
    options = ["-q", "--format", "docker-archive"] if prefix[0] == "podman" else []
    with Stage(f"saving {image}", say, 40.0) as stage:
        require(stage, *prefix, "save", *options, "-o", str(part), image, doing=f"writing {tar}")
    part.rename(tar)
    mark.write_text(json.dumps({"id": identity, "image": f"{image}:latest", "inputs": _inputs_label(prefix, image)}) + "\n")
    say(f"{tar}: {tar.stat().st_size / 1e6:.0f} MB")
