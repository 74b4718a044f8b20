"""Which ensemble runs took an older model than their member's newest slot might have given, and why. Values in, values out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from jobs.contract import RunKind, Status, member_task
from jobs.expected_slots import expected
from jobs.fire_times.zones import DAY
from jobs.schedule_periods import SchedulePeriod
from scheduler.history.run_facts import MemberFact, RunFact

_REACHES = (2 * DAY, 62 * DAY, 366 * DAY)
"""Seconds before a month in which the newest slot is looked for: most schedules fire daily."""
_ENDS: dict[str, str] = {
    Status.FAILED: "failed",
    Status.DIED: "died",
    Status.INTERRUPTED: "was interrupted",
    Status.MISSED: "was missed",
    Status.SKIPPED: "was skipped",
    Status.DUE: "has not begun",
    Status.UNKNOWN: "is unknown",
    Status.REFUSED: "was refused",
}


class DueSlots:
    """The slots at which a task was to run, without those of a suspended schedule.

    ``slots``: the expected ones from the minute ``low`` on, as far as they are asked about; those before are looked for in
    ``periods``, the task's schedules.
    """

    def __init__(self, periods: Sequence[SchedulePeriod], low: int, slots: Sequence[tuple[int, SchedulePeriod]]) -> None:
        self._periods, self._low = periods, low
        self._minutes = _active(slots)

    def newest(self, after: int, before: int) -> int | None:
        """The newest slot after one minute and before another; None if there is none."""
        n = bisect_left(self._minutes, before)
        minute = self._minutes[n - 1] if n else self._earlier
        return minute if minute is not None and minute > after else None

    @cached_property
    def _earlier(self) -> int | None:
        end = self._low * 60 - 1
        for reach in _REACHES:
            if minutes := _active(expected(self._periods, end - reach, end)):
                return minutes[-1]
        return None


def _active(slots: Sequence[tuple[int, SchedulePeriod]]) -> list[int]:
    return [minute for minute, period in slots if not period.task_schedule.suspend]


@dataclass(frozen=True)
class OlderModel:
    """That an ensemble run took a model of a member that had a later slot before it, whose minute is ``offered``.

    ``is_by_hand``: that is no slot of the schedule, but the minute of the run by hand itself, if it trained the member.
    """

    ensemble: RunFact
    member: MemberFact
    offered: int
    is_by_hand: bool = False

    @property
    def task(self) -> str:
        """The member's task."""
        return member_task(self.member.member)


def older_models(ensembles: Iterable[RunFact], due_slots: Callable[[str], DueSlots]) -> Iterator[OlderModel]:
    """The older models that ensemble runs took, of each first the one that counts if it is one; ``due_slots`` of a task."""
    known: dict[str, DueSlots] = {}
    for fact in ensembles:
        for member in fact.members:
            if member.minute is None or member.left_out:
                continue
            slots = known.get(member.member)
            if slots is None:
                slots = known[member.member] = due_slots(member_task(member.member))
            if fact.kind == RunKind.MANUAL and member.minute < fact.minute != member.refused_minute:
                yield OlderModel(fact, member, fact.minute, True)
            offered = slots.newest(member.minute, fact.minute)
            if offered is not None and offered != member.refused_minute:
                yield OlderModel(fact, member, offered)


def why_not_taken(ensemble: RunFact, trainings: Sequence[RunFact]) -> str:
    """Why an ensemble run took none of a slot's trainings, as of when it began; ``trainings``: one or more, oldest first."""
    chosen = inf if ensemble.started is None else ensemble.started
    begun = [fact for fact in trainings if fact.started is None or fact.started <= chosen]
    if not begun:
        return "had not run yet"
    fact = begun[-1]
    if fact.status == Status.RUNNING:
        return "still runs"
    if fact.finished is not None and fact.finished > chosen:
        return "was still running"
    if fact.status == Status.SUCCEEDED:
        if refused := fact.refused_at(chosen):
            return describe_end(Status.REFUSED, refused)
        is_repeat = ensemble.kind == RunKind.RERUN
        return "the run that this one repeats had not taken either" if is_repeat else "could not be taken"
    return describe_end(fact.status, fact.reason)


def describe_end(status: str, reason: str) -> str:
    """How a slot ended that gave no model, by its row's status and reason."""
    return _ENDS.get(status, "had not run yet") + (f": {reason}" if reason else "")


def describe_older_model(member: str, taken: str, offered: str, why: str) -> str:
    """That an ensemble run took an older model; ``taken`` and ``offered`` are the slots, ``why`` what became of the latter."""
    return f"{member} took the model of {taken}, not of {offered}, which {why}"
