"""What of this machine the container of a step sees, and what of that it may write: the folder of its run alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM, STORE, FOLDER = "/program", "/store", "/folder"
"""Where a container finds the job program, the store, and the configuration's folder."""
_SYSTEM = ("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue", "securityfs", "debugfs", "tracefs", "bpf")
"""File systems of the machine itself, which nobody keeps data in."""


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine, and its name inside."""

    source: Path
    target: str
    is_writable: bool = False


def step_mounts(store: Path, run_folder: Path, folder: Path | None) -> list[Mount]:
    """What a step's container has of the store and of the configuration's folder, if it needs that.

    The snapshots, the data and the experiment's runs are read, the run's own folder is written.
    """
    run = run_folder.relative_to(store)
    mounts = [Mount(store / name, f"{STORE}/{name}") for name in ("snapshots", "datasets", "/".join(run.parts[:2]))]
    mounts.append(Mount(run_folder, f"{STORE}/{run.as_posix()}", True))
    return mounts if folder is None else [*mounts, Mount(folder, FOLDER)]


def mounts_of_earlier_version(store: Path, run_folder: Path, folder: Path | None, step: str) -> list[Mount]:
    """The same for a program of an earlier version, which a repeated run may have: it reads all of the store.

    What it publishes beside the run it writes itself: as it prepares data, and as it archives, which runs nothing of the user's.
    """
    written = {"prepare": ["datasets"], "combine": ["predictions"]}.get(step, [])
    mounts = [Mount(store, STORE), *step_mounts(store, run_folder, folder)[3:]]
    return [*mounts, *(Mount(store / name, f"{STORE}/{name}", True) for name in written)]


def with_nested(mounts: Sequence[Mount], mountinfo: str) -> list[Mount]:
    """The mounts, and read-only what is mounted on this machine below one that is read: else it could be written.

    ``mountinfo``: as in proc(5), of this process.
    """
    writable = {mount.source.resolve() for mount in mounts if mount.is_writable}
    nested = []
    for point in _mount_points(mountinfo):
        for mount in mounts:
            source = mount.source.resolve()
            is_below = source in point.parents and source != Path("/")
            if is_below and not mount.is_writable and point not in writable:
                nested.append(Mount(point, f"{mount.target}/{point.relative_to(source).as_posix()}"))
    return [*mounts, *dict.fromkeys(nested)]


def _mount_points(mountinfo: str) -> list[Path]:
    points = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after.split(" ")[0] not in _SYSTEM:
            # Blanks and the like are octal there.
            name = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
            points.append(Path(name))
    return points
