"""What a step in a container finds in the store, and what it leaves in its run's folder, all of the store that it can write."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import Status
from jobs.store import LocalStore
from jobs.store.files import make_folder
from jobs.store.latest_predictions import update_latest
from jobs.store.prepared_data import PREPARED, PREPARED_DATA, adopt_prepared, pin_of


def make_mounted_folders(store: LocalStore) -> None:
    """Make what is mounted into a step's container: a folder that is not there cannot be. Raises OSError."""
    for name in ("snapshots", "datasets", "predictions"):
        make_folder(store.root / name, store.root)


def remove_all_but_files(folder: Path) -> None:
    """Remove from a folder whatever is neither a regular file nor a folder: links, pipes and sockets. Raises OSError.

    The user's code could write into it: a link in the place of a log would have the next step, on this machine, write elsewhere.
    """
    for _, folders, names, handle in os.fwalk(folder):
        for name in (*folders, *names):
            # What has gone meanwhile needs no removal.
            with suppress(FileNotFoundError):
                mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    # Else nobody but root would see what is in it.
                    os.chmod(name, stat.S_IMODE(mode) | stat.S_IRWXU, dir_fd=handle)
                elif not stat.S_ISREG(mode):
                    os.unlink(name, dir_fd=handle)


def publish_output(
    store: LocalStore, task: Mapping[str, Any], run: c.RunId, folder: Path, env: Mapping[str, str], step: str
) -> str:
    """Publish what a step in a container that ended well has left for it; what is wrong with it, or empty. Raises OSError.

    ``folder``: the try's; ``env``: the variables of the run's contract.
    """
    if step == "prepare":
        try:
            return adopt_prepared(store, pin_of(store, task, run, env), run, folder)
        finally:
            for name in (PREPARED, PREPARED_DATA):
                with suppress(OSError):
                    os.unlink(folder / name)
    if step == "combine":
        result = store.read(run)
        if result.status == Status.SUCCEEDED:
            store.repair_archive(result)
            # What it cannot do is for fsck to say: the run is published.
            update_latest(store, run.experiment)
    return ""
