"""The colours of the terminal: which status has which, and when there are any."""

from __future__ import annotations

import os
import sys

from jobs.contract import Status

STATUS_COLOURS: dict[str, str] = {
    Status.SUCCEEDED: "green",
    "degraded": "yellow",
    Status.FAILED: "red",
    Status.DIED: "red",
    Status.NO_QUORUM: "red",
    Status.REFUSED: "red",
    Status.MISSED: "red",
    Status.UNKNOWN: "red",
    Status.INTERRUPTED: "yellow",
    Status.SKIPPED: "yellow",
    Status.SUSPENDED: "dim",
    Status.RUNNING: "cyan",
    Status.DUE: "cyan",
    Status.NOT_YET_DUE: "dim",
}
_CODES = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2"}


def outcome_colour(status: str, degraded: str = "") -> str | None:
    """The colour of a status; ``degraded`` says what a run lacks although it succeeded."""
    return STATUS_COLOURS.get("degraded" if degraded and status == Status.SUCCEEDED else status)


def is_coloured() -> bool:
    """Whether stdout is a terminal that takes colours, and NO_COLOR is not set."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None) -> str:
    """The text in a colour, where there are any."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colour and is_coloured() else text
