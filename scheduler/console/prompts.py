"""Questions that a command asks before it changes something."""

from __future__ import annotations

import sys

from scheduler.errors import CronsembleError


def confirm(consequence: str, yes: bool) -> None:
    """Ask whether to go on; ``consequence`` is a sentence that says what would be done, ``yes`` that nothing is asked.

    Raises CronsembleError for a no, and where there is no terminal to ask on.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CronsembleError(f"{consequence} There is no terminal to ask on: --yes goes on without a question")
    import typer

    if not typer.confirm(f"{consequence} Continue?", err=True):
        raise CronsembleError("nothing was changed")
