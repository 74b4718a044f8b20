"""The errors that a command reports as one line: the root of the exception tree."""

from __future__ import annotations


class CronsembleError(Exception):
    """Something that the user can correct; the text says where, what is wrong and what to type."""


class RuntimeUnavailable(CronsembleError):
    """A runtime is not available here; the text says why, and how to get it."""


class UnknownRun(CronsembleError):
    """No run in the store has that name."""
