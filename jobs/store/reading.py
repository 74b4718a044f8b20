"""What became of a run, derived from the marks that its tries left in its folder. Standard library alone, Python 3.9.

A name that vanished between listing and opening counts as gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract import (
    CANCELLED,
    CLAIM,
    END,
    OBSERVED,
    RECORD,
    REMOVED,
    RESULT,
    START,
    TRY_PREFIX,
    Cause,
    Evidence,
    RunId,
    Status,
)
from jobs.store.files import list_names, read_json
from jobs.store.process_identity import is_alive
from jobs.store.tries import max_tries, recorded_retries
from jobs.text import one_line

SETTLED = 14 * 86400
"""Seconds after its end from which on a failed run is taken to get no other try."""


@dataclass(frozen=True)
class Run:
    """A run as its folder shows it: ``status`` is derived from the tries, never stored."""

    id: RunId
    folder: Path
    status: str
    """A :class:`jobs.contract.Status`, or what a later version of the program wrote."""
    reason: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    """The record of its result; empty if it published none."""
    tries: tuple[dict[str, Any], ...] = ()
    """Of each, oldest first: ``name``, ``start`` and ``end`` (its marks), and ``damaged`` (the mark that cannot be read)."""
    evidence: str = Evidence.RECORDED
    observed: dict[str, Any] = field(default_factory=dict)
    """What a command saw of its Job or pods in time."""
    removed: dict[str, Any] = field(default_factory=dict)
    """The tombstone that gc left."""
    cancelled: dict[str, Any] = field(default_factory=dict)
    """Who ended it by `cancel`, when and why."""
    claim: dict[str, Any] = field(default_factory=dict)
    """Who is to make it, until its first try begins."""

    @property
    def removed_row(self) -> dict[str, Any]:
        """What the history shows of a run that gc removed as a whole; empty for any other."""
        return dict(self.removed.get("run") or {})

    @property
    def kind(self) -> str | None:
        """A :class:`jobs.contract.RunKind`, by whatever of it says one first."""
        start = self.tries[0]["start"] if self.tries else {}
        sources = (self.record, start, self.claim, self.cancelled, self.observed, self.removed_row)
        return next(filter(None, (source.get("kind") for source in sources)), None)

    @property
    def accuracy(self) -> float | None:
        """The accuracy that its result, or gc's tombstone, has."""
        return _number(self.record.get("accuracy", self.removed_row.get("accuracy")))

    @property
    def loss(self) -> float | None:
        """The loss that its result, or gc's tombstone, has."""
        values = (self.record.get("metrics"), self.record.get("ensemble"))
        metrics: dict[str, Any] = next((value for value in values if isinstance(value, dict)), {})
        return _number(metrics.get("loss", self.removed_row.get("loss")))

    @property
    def try_number(self) -> int | None:
        """The number of its last try; None where nothing says it: nothing of it has begun, or an earlier version recorded it."""
        mark = self.record or self.removed_row
        return _count(mark.get("try_number")) if mark else len(self.tries) or None

    @property
    def max_tries(self) -> int | None:
        """How many tries it may have (:mod:`jobs.store.tries`); None where nothing says it."""
        mark = self.record or self.removed_row
        if mark:
            return _count(mark.get("max_tries"))
        return max_tries(self.tries, recorded_retries(one_try["start"] for one_try in self.tries))


def read_run(run: RunId, folder: Path, read_record: Callable[[], dict[str, Any] | None]) -> Run:
    """A run by its folder on this machine and the record of its result, if there is one."""
    names = list_names(folder)
    tries = tuple(_read_tries(folder, names))
    # After the list: a result that is published between the two would be listed without its record.
    record = read_record()
    if record is None and RESULT in names:
        # Perhaps gc has taken it since; its tombstone came first.
        names = list_names(folder)

    def read_if_listed(name: str) -> dict[str, Any]:
        return (read_json(folder / name) or {}) if name in names else {}

    observed, removed, cancelled, claim = map(read_if_listed, (OBSERVED, REMOVED, CANCELLED, CLAIM))

    def result(status: str, reason: str, evidence: str = Evidence.RECORDED) -> Run:
        # Whoever can write the store wrote them, and they are printed in many places.
        status, reason = one_line(status), one_line(reason)
        return Run(run, folder, status, reason, record or {}, tries, evidence, observed, removed, cancelled, claim)

    if record is not None:
        return result(Status.SUCCEEDED, success_reason(record))
    if "run" in removed:
        row = removed["run"]
        status, evidence = str(row.get("status", Status.UNKNOWN)), str(row.get("evidence", Evidence.UNKNOWN))
        return result(status, str(row.get("reason", "")), evidence)
    if RESULT in names:
        return result(Status.UNKNOWN, f"{RESULT}/{RECORD} is missing or damaged: see cronsemble fsck", Evidence.UNKNOWN)
    if cancelled:
        return result(Status.INTERRUPTED, str(cancelled.get("reason", "cancelled")), Evidence.OBSERVED)
    last = tries[-1] if tries else None
    if last is not None and last["end"] is not None and not _overrides(observed, last["end"]):
        return result(str(last["end"].get("status", Status.FAILED)), str(last["end"].get("reason", "")))
    if observed.get("status"):
        return result(str(observed["status"]), str(observed.get("reason", "")), Evidence.OBSERVED)
    if last is None:
        alive = is_alive(claim.get("process", {})) if claim else None
        if claim and alive is not False:
            return result(Status.RUNNING, "waits for free CPUs", Evidence.OBSERVED if alive else Evidence.RECORDED)
        return result(Status.DIED, "ended before its first try began", Evidence.INFERRED)
    if last["damaged"]:
        mark = f"{TRY_PREFIX}{last['name']}/{last['damaged']}"
        return result(Status.UNKNOWN, f"{mark} is missing or damaged: see cronsemble fsck", Evidence.UNKNOWN)
    process = last["start"].get("process", {})
    alive = is_alive(process)
    if alive is False:
        return result(Status.DIED, "its process ended without recording why", Evidence.INFERRED)
    if alive:
        return result(Status.RUNNING, "", Evidence.OBSERVED)
    return result(Status.RUNNING, "on " + str(process.get("host", "another machine")))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None  # noqa: UP038 (Python 3.9)


def data_note(record: dict[str, Any]) -> str:
    """What had changed since a run's data was read, or why it was read again, as its record says it; empty for neither."""
    data = record.get("data")
    return str(data.get("note") or "") if isinstance(data, dict) else ""


def success_reason(record: dict[str, Any]) -> str:
    """What its record says of a published result: that it is less than was asked for, and a note on its data."""
    degraded = f"degraded: {record['degraded']}" if record.get("degraded") else ""
    return "; ".join(filter(None, (degraded, data_note(record))))


def _read_tries(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    tries: list[dict[str, Any]] = []
    for name in names:
        if not name.startswith(TRY_PREFIX):
            continue
        start, end = read_json(folder / name / START), read_json(folder / name / END)
        # A mark that is there but cannot be read shows that something happened, not what.
        damaged = END if end is None and END in list_names(folder / name) else "" if start is not None else START
        tries.append({"name": name[len(TRY_PREFIX) :], "start": start or {}, "end": end, "damaged": damaged})
    return sorted(tries, key=lambda attempt: str(attempt["start"].get("time", "")))


def _overrides(observed: dict[str, Any], end: dict[str, Any]) -> bool:
    """Whether what was seen of a run's Job says more than how its last try ended: who stopped it, or that its time was over."""
    return bool(observed.get("status")) and (end.get("status") == Status.INTERRUPTED or observed.get("what") == Cause.DEADLINE)
