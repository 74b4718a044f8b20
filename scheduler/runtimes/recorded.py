"""What a run was made in, by what it recorded; whether that can be had again on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.store import Run
from scheduler.cache import cache_folder
from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes import containers
from scheduler.runtimes.runtime import Runtime
from scheduler.runtimes.venvs import Say, make_venv, requirement_set


def recorded_environment(run: Run) -> dict[str, str]:
    """The image or the interpreter that a run was made in, as it recorded them."""
    image = run.record.get("image")
    if image:
        return {"image": str(image["reference"]), "inputs": str((image.get("identity") or {}).get("inputs", ""))}
    if run.record.get("python"):
        return {"python": str(run.record["python"])}
    marks = [each["start"].get("runtime") for each in reversed(run.tries)]
    mark: dict[str, str] = next((each for each in marks if each), {})
    return {key: value for key, value in mark.items() if value}


def environment_problems(run: Run) -> tuple[list[str], list[str]]:
    """Why what a run was made in cannot be had here; and how it may differ."""
    known = recorded_environment(run)
    if "image" in known:
        return _image_problems(known)
    if "python" not in known:
        return ["what it ran in was not recorded"], []
    if os.access(known["python"], os.X_OK):
        return [], []
    if _is_managed(known["python"]):
        return [], [f"{known['python']} is gone: the virtual environment is made anew"]
    return [f"its interpreter {known['python']} is gone"], []


def _image_problems(known: Mapping[str, str]) -> tuple[list[str], list[str]]:
    try:
        engine = containers.find_engine()
    except containers.NoContainerEngine as error:
        return [f"its image {known['image']} needs podman or docker: {error}"], []
    if containers.image_id(engine, known["image"]) is None:
        return [f"its image {known['image']} is not here: `{engine.name} pull` or `make images` gets it"], []
    inputs = containers.image_label(engine, known["image"], "cronsemble.inputs")
    if known.get("inputs") and inputs and inputs != known["inputs"]:
        return [], [f"{known['image']} has been built anew: {inputs}, not the {known['inputs']} that it ran in"]
    return [], []


def _is_managed(python: str) -> bool:
    return Path(python).is_relative_to(cache_folder() / "venvs")


def recorded_runtime(run: Run, task: Mapping[str, Any], say: Say) -> Runtime | RuntimeUnavailable:
    """What a run of that task was made in, as something to start steps with."""
    known = recorded_environment(run)
    try:
        if "image" in known:
            return Runtime("image", image=known["image"], engine=containers.find_engine())
        python = known["python"]
        if not os.access(python, os.X_OK) and _is_managed(python):
            made = str(make_venv(say, requirement_set([str(task.get("backend", ""))])))
            if made != python:
                say(f"{made} has other pins than {python} had: versions may differ")
            python = made
        return Runtime("python", python=python)
    except (KeyError, containers.NoContainerEngine, RuntimeUnavailable) as error:
        return RuntimeUnavailable(f"what {run.id} ran in cannot be had: {error}")
