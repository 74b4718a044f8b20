"""The runtime that a run recorded, and whether this machine has it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.store import Run, Store
from scheduler.cache import cache_folder
from scheduler.errors import RuntimeUnavailable
from scheduler.long_process import Say
from scheduler.runtimes import containers
from scheduler.runtimes.lock import lock_of_code
from scheduler.runtimes.runtime import Runtime
from scheduler.runtimes.venvs import make_venv, make_venv_of, requirement_set


def recorded_environment(run: Run) -> dict[str, str]:
    """The runtime that a run recorded: ``image`` with the image's ``inputs`` hash, or ``python``; empty if it recorded none."""
    image = run.record.get("image")
    if image:
        return {"image": str(image["reference"]), "inputs": str((image.get("identity") or {}).get("inputs", ""))}
    if run.record.get("python"):
        return {"python": str(run.record["python"])}
    by_try = [attempt["start"].get("runtime") for attempt in reversed(run.tries)]
    newest: dict[str, str] = next((runtime for runtime in by_try if runtime), {})
    return {key: value for key, value in newest.items() if value}


def environment_problems(run: Run) -> tuple[list[str], list[str]]:
    """Why this machine does not have a run's runtime, and notes on how the one that it has may differ."""
    recorded = recorded_environment(run)
    if "image" in recorded:
        return _image_problems(recorded)
    if "python" not in recorded:
        return ["its runtime was not recorded"], []
    if os.access(recorded["python"], os.X_OK):
        return [], []
    if _is_managed(recorded["python"]):
        return [], [f"{recorded['python']} is gone: the virtual environment will be created again"]
    return [f"its interpreter {recorded['python']} is gone"], []


def _image_problems(recorded: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The same of a runtime that is an image."""
    try:
        engine = containers.find_engine()
    except containers.NoContainerEngine as error:
        return [f"its image {recorded['image']} needs podman or docker: {error}"], []
    if containers.image_id(engine, recorded["image"]) is None:
        return [
            f"its image {recorded['image']} is not on this machine: get it with `{engine.name} pull` or `cronsemble images build`"
        ], []
    inputs = containers.image_label(engine, recorded["image"], "cronsemble.inputs")
    if recorded.get("inputs") and inputs and inputs != recorded["inputs"]:
        return [], [f"{recorded['image']} has been rebuilt: its inputs are {inputs}, those of the run were {recorded['inputs']}"]
    return [], []


def _is_managed(python: str) -> bool:
    """Whether an interpreter belongs to a virtual environment that this tool creates."""
    return Path(python).is_relative_to(cache_folder() / "venvs")


def recorded_runtime(store: Store, run: Run, task: Mapping[str, Any], say: Say) -> Runtime | RuntimeUnavailable:
    """The runtime that a run of ``task`` recorded, to start steps with, or why it is not available.

    A virtual environment that is gone is made again: from the lock file in the run's snapshot, if it had packages of its own.
    """
    recorded = recorded_environment(run)
    try:
        if "image" in recorded:
            return Runtime("image", image=recorded["image"], engine=containers.find_engine())
        python = recorded["python"]
        if not os.access(python, os.X_OK) and _is_managed(python):
            lock = _recorded_lock(store, run)
            made = make_venv(say, requirement_set([str(task.get("backend", ""))])) if lock is None else make_venv_of(lock, say)
            current = str(made)
            if current != python:
                say(f"{current} has other pinned versions than {python} had: results may differ")
            python = current
        return Runtime("python", python=python)
    except (KeyError, containers.NoContainerEngine, RuntimeUnavailable) as error:
        return RuntimeUnavailable(f"the runtime of {run.id} is not available: {error}")


def _recorded_lock(store: Store, run: Run) -> str | None:
    """The lock file in the snapshot that a run was made from; None without one. Raises RuntimeUnavailable."""
    digest = str((run.record.get("snapshot") or {}).get("code") or "")
    if not digest:
        return None
    try:
        return lock_of_code(store.read_snapshot("code", digest))
    except OSError as error:
        raise RuntimeUnavailable(f"the snapshot of its code cannot be read: {error}") from error
