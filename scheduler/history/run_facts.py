"""What the history needs of a run, and how it follows from the run as the store holds it."""

from __future__ import annotations

from typing import Any

import msgspec

from jobs.contract import Evidence, parse_time
from jobs.store import Run


class RunFact(msgspec.Struct, array_like=True, gc=False):
    """A run as the history needs it; times in seconds since 1970, ``minute`` in minutes since 1970.

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
        parse_time(record.get("started") or start.get("time") or run.observed.get("started") or row.get("started")),
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
    )
