"""`logs`: the output of a run's processes, from the store, while it comes or afterwards."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run
from jobs.store.log_files import LOG_PATTERN, log_files, position_of_last_lines, read_log
from jobs.store.tries import describe_try
from jobs.text import one_line
from scheduler.console.log_output import LogOutput
from scheduler.exit_status import ExitStatus
from scheduler.stores import find_run
from scheduler.stores.workspace import Workspace

POLL_SECONDS = 0.3
"""Seconds between two reads of a log that grows."""


def print_logs(
    workspace: Workspace, name: str | None, follow: bool, tail: int | None = None, task: str | None = None
) -> ExitStatus:
    """Print the log of the run that a name means, or of the newest; then 0, or with ``follow`` if it did not succeed 1.

    With ``follow``, what is added until the run ends.

    With ``tail``, only so many of the last lines of what there is, of the newest try that has any.
    """
    store = workspace.store
    run = find_run.find_run(store, workspace.name, name or find_run.LATEST, task, timezone=workspace.timezone)
    if name is None or find_run.is_latest(name):
        print(f"{run.id}:", file=sys.stderr)
    printed: dict[str, int] = {}  # by try, bytes
    out = LogOutput()
    current = ""
    is_first = True
    while True:
        # First its status, then its log: all of an ended run is printed.
        run = store.read(run.id)
        store.download(run.id, f"*/{LOG_PATTERN}")
        folders = _log_folders(run)
        if is_first and tail is not None:
            printed = _tail_positions(run, folders, tail)
        is_first = False
        for number, (key, folder) in enumerate(folders):
            divider = _divider(run, number) if key != current and number > 0 else ""
            before, printed[key] = printed.get(key, 0), _print_from(run.folder / folder, printed.get(key, 0), divider, out)
            current = key if printed[key] > before else current
        if not follow or run.status != Status.RUNNING or store.files.is_offline:
            break
        time.sleep(POLL_SECONDS)
    out.end_line()
    if store.files.is_offline and not any(printed.values()):
        print(f"{run.id}: its log was not read before, and --offline reads nothing anew", file=sys.stderr)
    return print_end(run, follow)


def print_end(run: Run, follow: bool) -> ExitStatus:
    """Print how a run ended; the exit status."""
    sys.stdout.flush()
    if reasons := "; ".join(filter(None, (run.refused, run.degraded, run.reason))):
        print(f"{run.outcome}: {reasons}")
    return ExitStatus.DONE if not follow or run.status == Status.SUCCEEDED else ExitStatus.ERROR


def _log_folders(run: Run) -> list[tuple[str, str]]:
    """The name of each try with the folder of its log, oldest first; a try that is published takes its log along."""
    folders = [(attempt["name"], c.TRY_PREFIX + attempt["name"]) for attempt in run.tries]
    return [*folders, (str(run.record.get("try")), c.RESULT)] if run.record else folders


def _tail_positions(run: Run, folders: list[tuple[str, str]], lines: int) -> dict[str, int]:
    """From where on each try's log is printed, so that these are the last lines of the newest that has any."""
    positions: dict[str, int] = {}
    is_found = False
    for key, folder in reversed(folders):
        positions[key] = position_of_last_lines(run.folder / folder, 0 if is_found else lines)
        is_found = is_found or bool(log_files(run.folder / folder))
    return positions


def _divider(run: Run, number: int) -> str:
    """What stands before the log of the try after the first ``number`` ones: why the one before it ended."""
    end = run.tries[number - 1]["end"] or {}
    ended = ": ".join(filter(None, (str(end.get("status") or "ended without recording why"), str(end.get("reason") or ""))))
    return dividing_line(number + 1, run.max_tries, ended)


def dividing_line(number: int, most: int | None, previous: str) -> str:
    """The line between the logs of two tries; ``previous`` is how the one before has ended."""
    return one_line(f"--- try {describe_try(number, most)}; the one before {previous} ---")


def _print_from(folder: Path, position: int, divider: str, out: LogOutput) -> int:
    """Print the log in a try's folder from a position on, block by block, after a divider; where it ends now."""
    for after, data in read_log(folder, position):
        if divider:
            out.write_line(divider)
        out.write(data)
        divider, position = "", after
    out.flush()
    return position
