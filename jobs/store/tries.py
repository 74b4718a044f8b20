"""Which try of how many: counted from the marks that a run's tries left. Standard library alone, Python 3.9.

A run may fail ``retries`` times and is tried again. A try that was interrupted uses up none of that, as a pod's eviction does
not: it is a try more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobs.contract import ExitCode, Status

Try = Mapping[str, Any]
"""``name``, ``start`` and ``end``, as :class:`jobs.store.reading.Run` has them."""


def failed_tries(tries: Iterable[Try]) -> int:
    """How many tries have recorded that they failed."""
    return sum(map(_has_failed, tries))


def is_permanent(one_try: Try) -> bool:
    """Whether a try's end says that another try would fail in the same way."""
    end = one_try["end"] or {}
    return end.get("code") == ExitCode.WRONG_INPUT or end.get("status") == Status.NO_QUORUM


def has_tries_left(tries: Sequence[Try], retries: int) -> bool:
    """Whether a run whose tries have all ended without a result gets another one; ``retries`` are those of the run.

    A try that was ended for good, as one that a later run replaces, says so: ``final``.
    """
    is_final = any(is_permanent(one_try) or (one_try["end"] or {}).get("final") for one_try in tries)
    return not is_final and failed_tries(tries) <= retries


def recorded_retries(marks: Iterable[Mapping[str, Any]]) -> int | None:
    """The retries of a run, by its record and its tries' start marks; None where none of them says it, as in earlier versions."""
    return next((mark["retries"] for mark in marks if isinstance(mark.get("retries"), int)), None)


def max_tries(tries: Sequence[Try], retries: int | None) -> int | None:
    """How many tries there are at most, by those there were so far, the last of which may still be running."""
    return None if retries is None else retries + 1 + sum(not _uses_up(one_try) for one_try in tries[:-1])


def describe_try(number: int, most: int | None) -> str:
    """A try for people: ``2 of 3``; ``2`` where it is not known how many there may be."""
    return str(number) if most is None else f"{number} of {max(number, most)}"


def _has_failed(one_try: Try) -> bool:
    return bool(one_try["end"]) and one_try["end"].get("status") == Status.FAILED


def _uses_up(one_try: Try) -> bool:
    """Whether a try counts as failed; so does a pod's that was killed before it could record an end, but no machine's own end."""
    is_killed_pod = one_try["end"] is None and "runtime" not in one_try["start"]
    return _has_failed(one_try) or is_killed_pod
