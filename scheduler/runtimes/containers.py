"""Container engines: podman or docker, whichever works here, how a step is run in an image, and what ends its container."""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.text import one_line
from scheduler.runtimes.mounts import Mount

ANSWER_TIME = 15.0
"""Seconds within which an engine answers: one whose storage or daemon hangs never does."""
LABEL_STORE, LABEL_TRY, LABEL_OWNER = "cronsemble.store", "cronsemble.try", "cronsemble.owner"
"""Labels of a step's container: the folder of its store, its try, and as JSON the process that makes the run."""
_ENDED_STATES = ("exited", "stopped", "dead")


@dataclass(frozen=True)
class ContainerEngine:
    """podman or docker; ``prefix``: the program and its global options, with which every command line begins."""

    name: str
    prefix: tuple[str, ...]
    rootless: bool = False


class NoContainerEngine(Exception):
    """Neither podman nor docker works on this machine; the text says why."""


class EngineError(Exception):
    """A container engine did not do what it was asked, or does not answer; the text says so in one line."""


def _candidates() -> tuple[ContainerEngine, ...]:
    podman = ("podman", "--cgroup-manager", "cgroupfs")
    return (
        # cgroupfs: there may be no systemd. runc first: crun refuses machines with both cgroup versions.
        *([ContainerEngine("podman", (*podman, "--runtime", "runc"))] if shutil.which("runc") else []),
        ContainerEngine("podman", podman),
        ContainerEngine("docker", ("docker",)),
    )


@functools.cache
def find_engine() -> ContainerEngine:
    """The first engine that answers; raises NoContainerEngine. A docker client without its engine does not answer."""
    reasons = []
    for engine in _candidates():
        if shutil.which(engine.name) is None:
            reasons.append(f"{engine.name} is not installed")
        elif _works(engine, "info"):
            return replace(engine, rootless=engine.name == "podman" and os.getuid() != 0)
        else:
            reasons.append(f"{engine.name} does not answer")
    raise NoContainerEngine("; ".join(reasons))


def engine_of_name(name: str) -> ContainerEngine | None:
    """podman or docker as :func:`find_engine` finds it, though it may not answer now; None if it is not installed."""
    return next((engine for engine in _candidates() if engine.name == name and shutil.which(name)), None)


def image_id(engine: ContainerEngine, reference: str) -> str | None:
    """The id of an image that is on this machine, or None."""
    try:
        return _answer(engine, "image", "inspect", "--format", "{{.Id}}", reference)[0].strip() or None
    except (EngineError, IndexError):
        return None


def image_label(engine: ContainerEngine, reference: str, label: str) -> str:
    """A label of an image that is on this machine; empty if it has none."""
    template = f'{{{{ index .Config.Labels "{label}" }}}}'
    try:
        return _answer(engine, "image", "inspect", "--format", template, reference)[0].strip()
    except (EngineError, IndexError):
        return ""


def run_command(
    engine: ContainerEngine,
    image: str,
    name: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    mounts: Sequence[Mount],
    user: str,
    labels: Mapping[str, str] | None = None,
    named_variables: Iterable[str] = (),
    reads_stdin: bool = False,
) -> list[str]:
    """The command line that runs ``argv`` in an image: read-only root, no network, no capability.

    ``named_variables``: taken from the client's own
    environment. ``reads_stdin``: the container's first process gets what the engine's client gets. Signals reach that process.
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
        # The supervisor writes its log into the store; the engine would keep another one, without a limit.
        "--log-driver",
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
        # Else podman passes on the proxies of the shell, and all of its variables where containers.conf says `env_host`.
        command += ["--pull", "never", "--http-proxy=false", "--env-host=false"]
    if engine.rootless:
        # Else the user's uid inside the container would be another one outside, and could not write the store.
        command += ["--userns", "keep-id"]
    if reads_stdin:
        command.append("--interactive")
    for key, value in (labels or {}).items():
        command += ["--label", f"{key}={value}"]
    for key, value in env.items():
        command += ["--env", f"{key}={value}"]
    for key in named_variables:
        command += ["--env", key]
    for mount in mounts:
        # A line of CSV, for a path may hold any character; unlike with `--volume`, nothing is made that is not there.
        options = ["type=bind", f"source={mount.source}", f"target={mount.target}", *([] if mount.is_writable else ["readonly"])]
        command += ["--mount", _csv_line(options)]
    return [*command, image, *argv]


def _csv_line(values: Iterable[str]) -> str:
    quoted = (value.replace('"', '""') for value in values)
    return ",".join(f'"{value}"' if set(value) & set('",\n\r') else value for value in quoted)


def container_name(try_name: str, step: str) -> str:
    """The name of the container of a try's step."""
    return f"cronsemble-{try_name}-{step}"


@dataclass(frozen=True)
class Container:
    """A container as its engine has it."""

    name: str
    has_ended: bool


def containers_of_try(engine: ContainerEngine, try_name: str) -> list[Container]:
    """A try's containers, those that have ended too; raises EngineError."""
    prefix = container_name(try_name, "")
    lines = _answer(engine, "ps", "--all", "--filter", f"name={prefix}", "--format", "{{.Names}} {{.State}}")
    found = (line.partition(" ") for line in lines)
    # One that was only created has not ended: it may begin. podman says `Exited (0) 3 seconds ago` where docker says `exited`.
    return [Container(name, state.lower().startswith(_ENDED_STATES)) for name, _, state in found if name.startswith(prefix)]


def labelled_containers(engine: ContainerEngine) -> list[dict[str, str]]:
    """The labels of each container of a step, whatever became of it; raises EngineError."""
    names = _answer(engine, "ps", "--all", "--quiet", "--filter", f"label={LABEL_TRY}")
    labels = []
    for name in names:
        try:
            inspected: Any = json.loads(_answer(engine, "container", "inspect", "--format", "{{json .Config.Labels}}", name)[0])
        except (EngineError, ValueError, IndexError):
            continue  # it has gone meanwhile
        if isinstance(inspected, dict):
            labels.append({str(key): str(value) for key, value in inspected.items()})
    return labels


def remove_container(engine: ContainerEngine, name: str) -> None:
    """Kill a container and have the engine forget it; raises EngineError."""
    # By SIGKILL at once: what `rm` alone does before, and for how long, differs from engine to engine.
    _works(engine, "kill", name)
    _answer(engine, "rm", "--force", name)


def _answer(engine: ContainerEngine, *arguments: str) -> list[str]:
    """The lines that a command of the engine prints; raises EngineError."""
    what = f"`{engine.name} {arguments[0]}`"
    command = [*engine.prefix, *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, timeout=ANSWER_TIME
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{what} does not answer within {ANSWER_TIME:g} s") from error
    except OSError as error:
        raise EngineError(f"{what}: {error.strerror}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise EngineError(f"{what}: {one_line(lines[-1]) if lines else f'exit status {done.returncode}'}")
    return done.stdout.splitlines()


def _works(engine: ContainerEngine, *arguments: str) -> bool:
    try:
        _answer(engine, *arguments)
    except EngineError:
        return False
    return True
