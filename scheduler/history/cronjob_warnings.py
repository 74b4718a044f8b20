"""Why a CronJob created no Job for a slot, as its controller said in events, which live an hour. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

LONGEST_BACKOFF = 1000
"""Seconds after which the controller tries again at the latest (client-go, util/workqueue/default_rate_limiters.go)."""


@dataclass(frozen=True)
class CronJobWarning:
    """A warning about the ``cronjob`` of a task; ``first`` and ``last``: when it was seen, in seconds since 1970.

    ``minute``: the one slot that it is about, in minutes since 1970; None where it does not say.
    ``is_refusal``: a Job was refused, after which the controller waits ever longer before it tries again.
    ``is_earlier``: it is about slots before its time, as far back as the starting deadline reaches.
    """

    cronjob: str
    task: str
    reason: str
    first: float
    last: float
    minute: int | None = None
    is_refusal: bool = False
    is_earlier: bool = False

    def explains(self, minute: int, following_slot: int | None, starting_deadline: float | None) -> bool:
        """Whether it is about a slot without a run; ``following_slot`` is the minute of the next one that has come."""
        if self.minute is not None:
            return self.minute == minute
        start, end = minute * 60, inf if following_slot is None else following_slot * 60
        limit = inf if starting_deadline is None else starting_deadline
        if self.is_earlier:
            return self.first - limit <= start <= self.last
        return start <= self.last and self.first < min(end, start + limit)


def explanation(
    warnings: Sequence[CronJobWarning], minute: int, following_slot: int | None, starting_deadline: float | None
) -> CronJobWarning | None:
    """The warning about a slot without a run: the one that names it, else the latest that may be about it; None without one.

    ``starting_deadline``: the task's, in seconds; None without one.
    """
    about = [warning for warning in warnings if warning.explains(minute, following_slot, starting_deadline)]
    if about:
        return max(about, key=lambda warning: (warning.minute is not None, not warning.is_earlier, warning.last))
    before = latest(warning for warning in warnings if warning.is_refusal and warning.last <= minute * 60 + 59)
    if before is None or minute * 60 > before.last + LONGEST_BACKOFF:
        return None
    reason = before.reason.removeprefix("its Job is ")
    return replace(before, minute=None, reason=f"the controller waited to try again after a Job was {reason}")


def latest(warnings: Iterable[CronJobWarning]) -> CronJobWarning | None:
    """The latest warning; None without one."""
    return max(warnings, key=lambda warning: warning.last, default=None)
