"""How a method of the package reads: notices become warnings, and what the file system refuses a StoreError."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

from jobs.text import single_line
from scheduler import notices
from scheduler.errors import StoreError

When = str | date | datetime
"""A date or time as the commands take it, or as a `date` or `datetime`; one without a zone is by the experiment's clock."""


_OUR_PACKAGES = ("cronsemble", "scheduler", "cronjobs", "jobs")
"""A warning names the line outside them."""


class CronsembleWarning(UserWarning):
    """Something that was asked for could be done in part only: the text says what was left out and why."""


@contextmanager
def reading() -> Iterator[None]:
    """Within it, notices become a `CronsembleWarning`, and an OSError a `StoreError`."""
    with notices.received_by(_warn):
        try:
            yield
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise StoreError(single_line(f"{place}{error.strerror or error}")) from error


def _warn(text: str) -> None:
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _OUR_PACKAGES:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, CronsembleWarning, stacklevel=level)


def typed(when: When) -> str:
    """What a user would type on the command line for a date or time."""
    if isinstance(when, datetime):
        if when.tzinfo is None:
            return when.isoformat("T", "seconds")
        return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return when.isoformat() if isinstance(when, date) else when
