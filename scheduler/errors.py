"""The errors that a command reports as one line: the root of the exception tree."""

from __future__ import annotations

from jobs.text import single_line


class CronsembleError(Exception):
    """Something that the user can correct; each line says where, what is wrong and what to type.

    What files, servers and users say stands in it, and makes no further line.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(single_line, lines)))


class RuntimeUnavailable(CronsembleError):
    """A runtime is not available here; the text says why, and how to get it."""


class UnknownRun(CronsembleError):
    """No run in the store has that name."""


class StoreError(CronsembleError):
    """A store cannot be read: a folder without permission, a disk or a server that is gone."""


class MissingPackage(CronsembleError):
    """An optional package is not installed; the text says what to type."""
