"""Runs that have no last end yet: whether another process makes one, this machine's `serve` goes on with it, or none does.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any

from jobs.contract import RunKind, Status, parse_time
from jobs.store.process_identity import is_alive
from jobs.store.reading import Run

GRACE = 120.0
"""Seconds after its deadline from which a run of which nobody knows whether it goes on is taken to be over."""


class RunState(Enum):
    """Whether a run of the schedule needs anything of `serve`."""

    ENDED = "ended"
    ELSEWHERE = "elsewhere"
    """Another process makes it, or may do so."""
    UNFINISHED = "unfinished"
    """Its last try has ended, there are tries left, and no process of this machine is about to make one."""


@dataclass(frozen=True)
class RunOrigin:
    """A run's kind, when it was begun in seconds since 1970 (-inf: unknown), and the process that claimed or made it last.

    ``is_job``: its tries are the pods of a Job, which Kubernetes repeats.
    """

    kind: str
    time: float
    process: dict[str, Any]
    is_job: bool


def run_origin(run: Run) -> RunOrigin:
    """Where a run comes from: by its claim, else by its first try."""
    marks = [one_try["start"] for one_try in run.tries]
    mark = run.claim or next(iter(marks), {})
    kind = str(run.record.get("kind") or mark.get("kind") or RunKind.SCHEDULED)
    last = [run.next_claim, *reversed(marks), run.claim]
    process = next((dict(one["process"]) for one in last if isinstance(one.get("process"), dict)), {})
    # Only an engine's own tries name what they run in.
    is_job = "job" in run.claim or bool(marks) and "runtime" not in marks[-1]
    return RunOrigin(kind, _seconds(mark.get("time")), process, is_job)


def run_state(run: Run, deadline: float, retries: int, own_process: dict[str, Any], now: float) -> RunState:
    """The state of a run that no thread of this process makes; ``retries`` are those of today, for a run that has recorded none.

    ``deadline``: the seconds from its beginning in which it may go on.

    ``own_process`` is this process: what it has made and does not make any more has nobody else.
    """
    origin = run_origin(run)
    end_of_time = origin.time + deadline
    if run.status == Status.RUNNING:
        is_known = is_alive(origin.process) is not None
        return RunState.ELSEWHERE if is_known or now < end_of_time + GRACE else RunState.ENDED
    if origin.kind != RunKind.SCHEDULED or origin.is_job or not run.has_tries_left(retries) or now >= end_of_time:
        return RunState.ENDED
    is_anothers = origin.process != own_process and is_alive(origin.process) is True
    return RunState.ELSEWHERE if is_anothers else RunState.UNFINISHED


def may_go_on(run: Run, deadline: float, now: float) -> bool:
    """Whether a run may still get a result: a process, a pod or the next try of it, whoever makes that, is to be expected.

    ``deadline`` as in :func:`run_state`. Of a pod that was killed without a word nobody knows it before that is over.
    """
    if run_state(run, deadline, 0, {}, now) != RunState.ENDED:
        return True
    origin = run_origin(run)
    has_maker = origin.is_job or is_alive(origin.process) is True
    return has_maker and run.has_tries_left() and now < origin.time + deadline


def seconds_until_try(run: Run, back_off: float, now: float) -> float:
    """Seconds until the next try of an unfinished run: what is left of ``back_off`` after a failure, none after anything else."""
    end = (run.tries[-1]["end"] or {}) if run.tries else {}
    if end.get("status") != Status.FAILED:
        return 0.0
    return min(back_off, max(0.0, _seconds(end.get("time")) + back_off - now))


def _seconds(time: Any) -> float:
    """An instant that a mark holds, in seconds since 1970; -inf for none."""
    seconds = parse_time(time)
    return -inf if seconds is None else seconds
