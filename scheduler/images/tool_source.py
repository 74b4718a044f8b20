"""The tool's own packages, as its image holds them: the files of this installation that commands in a pod read."""

from __future__ import annotations

from pathlib import Path

import cronjobs
import jobs
import scheduler

_PACKAGES = (scheduler, cronjobs, jobs)
_BUILDS = ("scheduler/images/context/", "scheduler/requirements/")
"""What only builds images and environments."""


def tool_source() -> dict[str, bytes]:
    """By its path from the folder of the packages, what each file holds; byte code is left out."""
    files = {}
    for package in _PACKAGES:
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*")):
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            if path.is_file() and "__pycache__" not in path.parts and not name.startswith(_BUILDS):
                files[name] = path.read_bytes()
    return files
