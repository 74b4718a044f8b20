"""The user's code as one file: a reproducible zip of the files that belong to it."""

from __future__ import annotations

from collections.abc import Callable

from cronjobs.experiment import Experiment
from scheduler.errors import CronsembleError
from scheduler.snapshots.code_files import code_files
from scheduler.snapshots.program import deterministic_zip


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
