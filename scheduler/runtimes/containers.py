"""Container engines: podman or docker, whichever works on this machine, and the command line that runs a step in an image."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ContainerEngine:
    """podman or docker; ``prefix``: the program and its global options, with which every command line begins."""

    name: str
    prefix: tuple[str, ...]
    rootless: bool = False


class NoContainerEngine(Exception):
    """Neither podman nor docker works on this machine; the text says why."""


@functools.cache
def find_engine() -> ContainerEngine:
    """The first engine that answers; raises NoContainerEngine. A docker client without its engine does not answer."""
    podman = ("podman", "--cgroup-manager", "cgroupfs")
    candidates = (
        # cgroupfs: there may be no systemd. runc first: crun refuses machines with both cgroup versions.
        *([ContainerEngine("podman", (*podman, "--runtime", "runc"))] if shutil.which("runc") else []),
        ContainerEngine("podman", podman),
        ContainerEngine("docker", ("docker",)),
    )
    reasons = []
    for engine in candidates:
        if shutil.which(engine.name) is None:
            reasons.append(f"{engine.name} is not installed")
        elif _quiet([*engine.prefix, "info"]).returncode == 0:
            return replace(engine, rootless=engine.name == "podman" and os.getuid() != 0)
        else:
            reasons.append(f"{engine.name} does not answer")
    raise NoContainerEngine("; ".join(reasons))


def image_id(engine: ContainerEngine, reference: str) -> str | None:
    """The id of an image that is on this machine, or None."""
    done = _quiet([*engine.prefix, "image", "inspect", "--format", "{{.Id}}", reference])
    return done.stdout.strip() or None if done.returncode == 0 else None


def image_label(engine: ContainerEngine, reference: str, label: str) -> str:
    """A label of an image that is on this machine; empty if it has none."""
    template = f'{{{{ index .Config.Labels "{label}" }}}}'
    done = _quiet([*engine.prefix, "image", "inspect", "--format", template, reference])
    return done.stdout.strip() if done.returncode == 0 else ""


def run_command(
    engine: ContainerEngine,
    image: str,
    name: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    mounts: Sequence[tuple[str, str, bool]],
    user: str,
    secrets: Iterable[str] = (),
) -> list[str]:
    """The command line that runs ``argv`` in an image: read-only root, no network, no capability.

    ``secrets`` are variables that the engine's client takes from its own environment: their values are on no command line.
    ``mounts`` are (folder on this machine, folder inside, read only). Signals reach the container's first process.
    """
    command = [
        *engine.prefix,
        "run",
        "--rm",
        "--name",
        name,
        "--user",
        user,
        "--read-only",
        "--network",
        "none",
    ]
    command += [
        "--tmpfs",
        "/tmp:rw,exec,mode=1777",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        # With SELinux, a mounted folder of the user's must not be relabelled.
        "label=disable",
    ]
    if engine.name == "podman":
        # podman asks for more than a parent without CAP_SYS_RESOURCE may give, and an engine inside a
        # container has less than the shell: ask for what a training needs.
        for name_of_limit, number, needed in (("nofile", resource.RLIMIT_NOFILE, 16384), ("nproc", resource.RLIMIT_NPROC, 4096)):
            hard = resource.getrlimit(number)[1]
            limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            command += ["--ulimit", f"{name_of_limit}={limit}:{limit}"]
        # --http-proxy: else podman passes on the proxies of the shell.
        command += ["--pull", "never", "--http-proxy=false"]
    if engine.rootless:
        # Else the user's uid inside the container would be another one outside, and could not write the store.
        command += ["--userns", "keep-id"]
    for key, value in env.items():
        command += ["--env", f"{key}={value}"]
    for key in secrets:
        command += ["--env", key]
    for folder, inside, read_only in mounts:
        command += ["--volume", f"{folder}:{inside}:{'ro' if read_only else 'rw'}"]
    return [*command, image, *argv]


def kill(engine: ContainerEngine, name: str) -> None:
    """Kill a container if it is running."""
    _quiet([*engine.prefix, "kill", name])


def _quiet(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
