"""Runtimes: finds or creates the one that a backend needs, and the command line that starts a step in it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cronjobs.experiment import Experiment
from jobs.contract import (
    ENV_FOLDER,
    ENV_IMAGE,
    ENV_OWNER,
    ENV_PYTHON,
    ENV_READ_ONLY_STORE,
    ENV_SECRETS,
    ENV_STORE,
    ENV_TRY,
    SECRETS_FROM_STDIN,
)
from scheduler.errors import RuntimeUnavailable
from scheduler.long_process import Say
from scheduler.runtimes import containers, mounts
from scheduler.runtimes.environment import client_environment, step_environment
from scheduler.runtimes.lock import ensure_lock
from scheduler.runtimes.mounts import Mount
from scheduler.runtimes.venvs import make_venv, make_venv_of, requirement_set


@dataclass(frozen=True)
class StepCommand:
    """How a step is started: its command line, its whole environment, and what it reads from stdin."""

    argv: list[str]
    env: dict[str, str]
    stdin: bytes = b""


@dataclass(frozen=True)
class Runtime:
    """A runtime that is ready: an interpreter of this machine, or an image with the engine that runs it."""

    name: str
    python: str = ""
    image: str = ""
    engine: containers.ContainerEngine | None = None

    def command(
        self,
        program: Path,
        store: Path,
        run_folder: Path,
        folder: Path,
        step: list[str],
        env: Mapping[str, str],
        secrets: Iterable[str],
        name: str,
    ) -> StepCommand:
        """How a supervised step is started; ``name`` is the container's.

        ``program``: the job program, which alone lies in its folder; ``env``: the variables of the contract; ``secrets``: the
        names of those that the step takes from this process's own. Raises OSError.
        """
        if self.engine is None:
            own = {**env, ENV_STORE: str(store), ENV_FOLDER: str(folder), ENV_PYTHON: self.python}
            # Isolated: nothing that the shell or the user's home says about Python.
            argv = [sys.executable, "-I", str(program), "supervise", *step]
            return StepCommand(argv, {**step_environment(os.environ, secrets), **own})
        inside = {**env, ENV_STORE: mounts.STORE, ENV_FOLDER: mounts.FOLDER, ENV_IMAGE: self.image}
        values = {name: os.environ[name] for name in secrets if name in os.environ}
        named: list[str] = []
        if values and not has_module(program, "jobs/supervisor/secret_variables.py"):
            # A repeated run's program of an earlier version.
            values, named = {}, list(values)
        if values:
            inside[ENV_SECRETS] = SECRETS_FROM_STDIN
        argv = ["python3", f"{mounts.PROGRAM}/{program.name}", "supervise", *step]
        user = f"{os.getuid()}:{os.getgid()}"
        if os.getuid() == 0:
            # Root without capabilities cannot write another user's files, so the step runs as the store's owner, as in a pod.
            owner = os.stat(store)
            user = f"{owner.st_uid}:{owner.st_gid}"
        labels = {
            containers.LABEL_STORE: str(store.resolve()),
            containers.LABEL_TRY: env[ENV_TRY],
            containers.LABEL_OWNER: env[ENV_OWNER],
        }
        # Only to prepare data is a file of the user's read that is in no snapshot.
        data_folder = folder if step[0] == "prepare" else None
        if has_module(program, "jobs/store/prepared_data.py"):
            inside[ENV_READ_ONLY_STORE] = "1"
            parts = mounts.step_mounts(store, run_folder, data_folder)
        else:
            parts = mounts.mounts_of_earlier_version(store, run_folder, data_folder, step[0])
        parts = mounts.with_nested([*parts, Mount(program.parent, mounts.PROGRAM)], Path("/proc/self/mountinfo").read_text())
        argv = containers.run_command(self.engine, self.image, name, argv, inside, parts, user, labels, named, bool(values))
        stdin = json.dumps(values).encode() + b"\n" if values else b""
        return StepCommand(argv, client_environment(os.environ), stdin)


def has_module(program: Path, module: str) -> bool:
    """Whether a job program has a module, by its path: an earlier version may lack what this one has."""
    try:
        with zipfile.ZipFile(program) as archive:
            return module in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def find_runtime(experiment: Experiment, name: str, say: Say) -> Runtime:
    """The runtime of that name, created if necessary; raises RuntimeUnavailable."""
    settings = experiment.runtimes[name]
    if settings.venv:
        lock = experiment.lock_file()
        if lock is not None:
            ensure_lock(experiment, say)
            return Runtime(name, python=str(make_venv_of(lock.read_text(encoding="utf-8"), say)))
        needed = requirement_set(member.backend for member in experiment.members.values())
        return Runtime(name, python=str(make_venv(say, needed)))
    if settings.python is not None:
        path = shutil.which(settings.python)
        if path is None:
            raise RuntimeUnavailable(f"runtimes.{name}: {settings.python} is not an interpreter on this machine")
        return Runtime(name, python=path)
    if settings.image is not None:
        image = settings.image
        try:
            engine = containers.find_engine()
        except containers.NoContainerEngine as error:
            raise RuntimeUnavailable(f"runtimes.{name}: {image} needs podman or docker: {error}") from error
        if containers.image_id(engine, image) is None:
            raise RuntimeUnavailable(
                f"runtimes.{name}: there is no image {image} on this machine: `cronsemble images build {name}` builds ours"
            )
        return Runtime(name, image=image, engine=engine)
    raise RuntimeUnavailable(f"runtimes.{name} is not configured: give `image: REF` or `python: PATH`")


def find_runtimes(experiment: Experiment, names: Iterable[str], say: Say) -> dict[str, Runtime | RuntimeUnavailable]:
    """Each runtime by name, or the reason why it is not available."""
    runtimes: dict[str, Runtime | RuntimeUnavailable] = {}
    for name in sorted(names):
        try:
            runtimes[name] = find_runtime(experiment, name, say)
        except RuntimeUnavailable as error:
            runtimes[name] = error
    return runtimes
