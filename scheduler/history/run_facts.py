"""What the history needs of a run, and how it follows from the run as the store holds it."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

import msgspec

from jobs import strict_json
from jobs.contract import Evidence, Status, member_task, parse_run_id, parse_time
from jobs.store import Run
from jobs.store.decisions import refusal
from jobs.store.waits import is_over, waited, waited_text
from jobs.text import one_line

RunKey = tuple[int, int]
"""Minute and attempt: a run of one task."""


class MemberFact(msgspec.Struct, array_like=True, gc=False):
    """What an ensemble run has of one member; numbers are None where they are not known, or where it was left out.

    ``minute`` and ``attempt`` are those of the training whose model it took. ``accuracy`` and ``loss`` are on the ensemble's
    items, ``validation_accuracy`` is the training's own. ``left_out`` says why it was not combined, ``degraded`` what is wrong
    with its training; both are empty otherwise.
    """

    member: str
    minute: int | None = None
    attempt: int | None = None
    weight: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    validation_accuracy: float | None = None
    left_out: str = ""
    degraded: str = ""
    refused_minute: int | None = None
    """Of the newest training that it did not take because that was refused; what it lacks says so."""


class RunFact(msgspec.Struct, array_like=True, gc=False):
    """A run as the history needs it; times in seconds since 1970, ``minute`` in minutes since 1970.

    ``accuracy`` and ``loss`` are its own: a training's on its validation data, an ensemble's on its items.
    ``try_number`` is that of its last try, ``max_tries`` how many there may be (:mod:`jobs.store.tries`).
    ``status``, ``evidence`` and ``kind`` are words of :class:`Status`, :class:`Evidence` and :class:`RunKind`, or what a
    store written by another version says. ``seal`` belongs to the index (``scheduler/stores/history_index.py``).
    """

    minute: int
    attempt: int
    status: str
    reason: str = ""
    evidence: str = Evidence.RECORDED
    kind: str | None = None
    started: float | None = None
    finished: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    seal: int = 0
    try_number: int | None = None
    max_tries: int | None = None
    job_ended: float | None = None
    """When its Job ended, where that was long after the run, as far as a cluster shows it; infinite while it goes on."""
    degraded: str = ""
    """What it lacks although it succeeded, as its record says (``Run.degraded``)."""
    members: tuple[MemberFact, ...] = ()
    """Of an ensemble run that has a result, in the order of the configuration."""
    hyperparameters: str = ""
    """Of a training that has a result, as JSON."""
    refusals: tuple[tuple[float | None, str], ...] = ()
    """Of a published run that is or was refused: since when (None: from its beginning) and why; empty text: accepted since."""
    waited: str = ""
    """Of an ensemble's run, for which of its members it waited, and how long."""
    wait_began: float | None = None
    """When it began to wait for them."""

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for others, and has begun no try."""
        return self.status == Status.RUNNING and self.wait_began is not None and self.started == self.wait_began

    @property
    def refused(self) -> str:
        """Why it is refused although it was published; empty if it is accepted."""
        return self.refused_at(inf)

    def refused_at(self, instant: float) -> str:
        """The same as of an instant, in seconds since 1970."""
        known = [why for since, why in self.refusals if since is None or since <= instant]
        return known[-1] if known else ""


def run_fact(run: Run) -> RunFact:
    """What the history needs of a run."""
    record, tries = run.record, run.tries
    start: dict[str, Any] = tries[0]["start"] if tries else {}
    end_times = [one_try["end"].get("time") for one_try in tries if one_try["end"]]
    row = run.removed_row
    return RunFact(
        run.id.minute,
        run.id.attempt,
        run.status,
        run.reason,
        run.evidence,
        run.kind,
        parse_time(
            record.get("started")
            or start.get("time")
            or run.observed.get("started")
            or row.get("started")
            or run.wait.get("since")
        ),
        parse_time(
            record.get("finished")
            or (end_times[-1] if end_times else None)
            or run.cancelled.get("time")
            or run.observed.get("ended")
            or row.get("finished")
        ),
        run.accuracy,
        run.loss,
        try_number=run.try_number,
        max_tries=run.max_tries,
        degraded=run.degraded,
        members=tuple(_members(run)),
        hyperparameters=strict_json.dumps(record["hyperparameters"]) if record.get("hyperparameters") else "",
        refusals=tuple(_refusals(run)),
        waited=waited_text(record.get("waited") or (waited(run.wait) if is_over(run.wait) else {})),
        wait_began=parse_time((record.get("waited") or run.wait).get("since")),
    )


def _refusals(run: Run) -> Iterator[tuple[float | None, str]]:
    if not run.record:
        if run.refused:
            yield None, run.refused
        return
    if by_gate := refusal(run.record, ()):
        yield None, by_gate
    for decision in run.decisions:
        yield parse_time(decision.get("time")), refusal({}, (decision,))


def _members(run: Run) -> Iterator[MemberFact]:
    summary: dict[str, Any] = (run.record.get("ensemble") or {}).get("members") or {}
    for choice in run.record.get("members") or ():
        name = str(choice["member"])
        model = parse_run_id(str(choice.get("run")), run.id.experiment, member_task(name))
        combined = summary.get(name) or {}
        refused = parse_run_id(str((choice.get("refused") or {}).get("run")), run.id.experiment, member_task(name))
        yield MemberFact(
            name,
            None if model is None else model.minute,
            None if model is None else model.attempt,
            combined.get("weight"),
            combined.get("accuracy_here"),
            combined.get("loss"),
            choice.get("accuracy"),
            one_line(str(choice.get("left_out") or "")),
            one_line(str(choice.get("degraded") or "")),
            None if refused is None else refused.minute,
        )
