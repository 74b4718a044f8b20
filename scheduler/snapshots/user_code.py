"""The user's code as one file: a reproducible zip of the files that belong to it."""

from __future__ import annotations

from collections.abc import Callable

from cronjobs.experiment import Experiment, StoreVolume
from cronjobs.objects.config_maps import LARGEST
from scheduler.errors import CronsembleError
from scheduler.snapshots.code_files import code_files
from scheduler.snapshots.program import deterministic_zip


def code_warnings(experiment: Experiment) -> list[str]:
    """What snapshots lack of the functions' folders, and that the code fits no ConfigMap where pods mount the store."""
    files = code_files(experiment)
    warnings = [files.left_out] if files.left_out else []
    code = build_user_code(experiment) if isinstance(experiment.store, StoreVolume) else None
    if code is not None and len(code) > LARGEST:
        largest = sorted(files.paths, key=lambda path: (-path.stat().st_size, path))[:3]
        names = ", ".join(f"{path.relative_to(experiment.folder)} ({path.stat().st_size:,})" for path in largest)
        warnings.append(
            f"the code has {len(code):,} bytes, at most {LARGEST:,} fit a ConfigMap, so `sync` will refuse it: the largest files "
            f"are {names}: list what it needs under `code:`, and `put` data into the store"
        )
    return warnings


def build_user_code(experiment: Experiment, say: Callable[[str], None] | None = None) -> bytes | None:
    """A reproducible zip of the user's code, with paths relative to the configuration's folder; None if there is none.

    ``say`` receives what was left out, as a line. Raises CronsembleError for a file that cannot be read or lies outside the
    folder.
    """
    code = code_files(experiment)
    if code.left_out and say is not None:
        say(f"warning: {code.left_out}")
    paths = code.paths
    if not paths:
        return None
    try:
        files = [(path.relative_to(experiment.folder).as_posix(), path.read_bytes()) for path in paths]
    except OSError as error:
        raise CronsembleError(f"{error.filename}: the code cannot be read: {error.strerror}") from error
    return deterministic_zip(files)
