"""What became of a run, derived from the marks that its tries left in its folder. Standard library alone, Python 3.9.

A name that vanished between listing and opening counts as gone.
"""

from __future__ import annotations

import os
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
    RECORD_TRACE,
    RESULT,
    START,
    TRY_PREFIX,
    WAIT,
    Cause,
    Evidence,
    RunId,
    Status,
    member_task,
    parse_run_id,
    slot_text,
)
from jobs.store.decisions import decision_names, refusal, unreadable_decision
from jobs.store.document_files import load_document, why_unreadable
from jobs.store.files import list_names
from jobs.store.process_identity import is_alive
from jobs.store.regular_files import Unreadable
from jobs.store.tombstones import merge_tombstones, tombstone_names
from jobs.store.tries import has_tries_left, max_tries, recorded_retries
from jobs.store.try_claims import last_number, unused_claim
from jobs.store.waits import is_over, waiting_text
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
    """Of each, oldest first: ``name``, ``start`` and ``end`` (its marks), and ``damaged`` (the mark that is missing or
    cannot be read)."""
    evidence: str = Evidence.RECORDED
    observed: dict[str, Any] = field(default_factory=dict)
    """What a command saw of its Job or pods in time."""
    removed: dict[str, Any] = field(default_factory=dict)
    """What the tombstones that gc left say (``jobs.store.tombstones``)."""
    cancelled: dict[str, Any] = field(default_factory=dict)
    """Who ended it by `cancel`, when and why."""
    claim: dict[str, Any] = field(default_factory=dict)
    """Who is to make it, until its first try begins."""
    is_readable: bool = True
    """Whether all that is there of it could be read: else it may need more than what is known of it."""
    next_claim: dict[str, Any] = field(default_factory=dict)
    """Who has claimed its next try, which has not begun; empty where nobody has."""
    last_claim: int = 1
    """The number of its last claim (``jobs.store.try_claims``)."""
    decisions: tuple[dict[str, Any], ...] = ()
    """What was decided of it by hand since it was published, oldest first (``jobs.store.decisions``)."""
    wait: dict[str, Any] = field(default_factory=dict)
    """For whom an ensemble's run waits, or has waited (``jobs.store.waits``); empty where it has not."""

    @property
    def refused(self) -> str:
        """Why it is refused although it was published, by its gate or by hand; empty if it is accepted."""
        if self.record:
            return refusal(self.record, self.decisions)
        return one_line(str(self.removed_row.get("refused") or ""))

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
        return self.record.get("accuracy", self.removed_row.get("accuracy"))

    @property
    def loss(self) -> float | None:
        """The loss that its result, or gc's tombstone, has."""
        metrics: dict[str, Any] = self.record.get("metrics") or self.record.get("ensemble") or {}
        return metrics.get("loss", self.removed_row.get("loss"))

    @property
    def degraded(self) -> str:
        """What it lacks although it succeeded, as its result, or gc's tombstone, says; empty where nothing does.

        An ensemble that took an older model than there might have been is degraded too: the history knows which there might
        have been (`scheduler/history/degraded.py`).
        """
        return degraded_reason(self.record) if self.record else one_line(str(self.removed_row.get("degraded") or ""))

    @property
    def outcome(self) -> str:
        """The status for people: ``refused``, or ``succeeded, degraded`` where it succeeded with less than was asked for."""
        if self.refused:
            return Status.REFUSED
        return f"{self.status}, degraded" if self.degraded else self.status

    @property
    def try_number(self) -> int | None:
        """The number of its last try; None where nothing says it: nothing of it has begun, or an earlier version recorded it."""
        mark = self.record or self.removed_row
        return mark.get("try_number") if mark else len(self.tries) or None

    @property
    def max_tries(self) -> int | None:
        """How many tries it may have (:mod:`jobs.store.tries`); None where nothing says it."""
        mark = self.record or self.removed_row
        if mark:
            return mark.get("max_tries")
        return max_tries(self.tries, self.retries)

    @property
    def retries(self) -> int | None:
        """How many tries may follow one that failed, by its tries' marks; None where none of them says it."""
        return recorded_retries(one_try["start"] for one_try in self.tries)

    def has_tries_left(self, default_retries: int = 0) -> bool:
        """Whether its last try has ended, but not the run: its engine makes another try, as long as its deadline lasts.

        ``default_retries`` are those of a run whose tries do not say them.
        """
        is_open = self.status in (Status.FAILED, Status.INTERRUPTED, Status.DIED) and not self.cancelled
        return is_open and has_tries_left(self.tries, default_retries if self.retries is None else self.retries)


def read_run(run: RunId, folder: Path, read_record: Callable[[], dict[str, Any] | None]) -> Run:
    """A run by its folder on this machine and the record of its result, if there is one; raises OSError for a store out of reach.

    What is there and cannot be read costs this run alone: its status is unknown, and its reason says why, unless what can be read
    says what became of it.
    """
    documents = _Documents(folder)
    try:
        names = list_names(folder)
        tries = tuple(_read_tries(documents, folder, names))
        # After the list: a result that is published between the two would be listed without its record.
        record = read_record()
        if record is None and RESULT in names:
            # Perhaps gc has taken it since; its tombstone came first.
            names = list_names(folder)
    except Unreadable as error:
        reason = _unreadable(Path(str(error.filename)).name, error.why)
        return Run(run, folder, Status.UNKNOWN, reason, evidence=Evidence.UNKNOWN, is_readable=False)
    next_name = unused_claim(names, tries)
    observed, cancelled, claim, next_claim, wait = (
        documents.read(name) if name in names else {} for name in (OBSERVED, CANCELLED, CLAIM, next_name, WAIT)
    )
    tombstones = tombstone_names(names)
    removed = merge_tombstones(documents.read(name) for name in tombstones)

    decisions = tuple(documents.load(name) or unreadable_decision(name) for name in decision_names(names))

    def result(status: str, reason: str, evidence: str = Evidence.RECORDED) -> Run:
        # Whoever can write the store wrote them, and they are printed in many places.
        status, reason = one_line(status), one_line(reason)
        is_readable = not documents.problems and (record is not None or RESULT not in names)
        beside = (observed, removed, cancelled, claim, is_readable, next_claim, last_number(names), decisions, wait)
        return Run(run, folder, status, reason, record or {}, tries, evidence, *beside)

    def unknown(name: str) -> Run:
        return result(Status.UNKNOWN, _unreadable(name, documents.problems[name]), Evidence.UNKNOWN)

    if record is not None:
        return result(Status.SUCCEEDED, data_note(record))
    if "run" in removed:
        row = removed["run"] or {}
        status, evidence = str(row.get("status") or Status.UNKNOWN), str(row.get("evidence") or Evidence.UNKNOWN)
        return result(status, str(row.get("reason") or ""), evidence)
    # Looked for in this order: a result that is published meanwhile is not gone.
    if RESULT not in names and os.path.lexists(folder / RECORD_TRACE) and not os.path.lexists(folder / RESULT):
        return result(Status.UNKNOWN, _unreadable(RESULT, ""), Evidence.UNKNOWN)
    if RESULT in names:
        name = f"{RESULT}/{RECORD}"
        return result(Status.UNKNOWN, _unreadable(name, why_unreadable(folder / name)), Evidence.UNKNOWN)
    # What says more than the tries, if it could be read.
    for name in (*tombstones, CANCELLED):
        if name in documents.problems:
            return unknown(name)
    if cancelled:
        return result(Status.INTERRUPTED, str(cancelled.get("reason") or "cancelled"), Evidence.OBSERVED)
    last = tries[-1] if tries else None
    # A pod's claim says that a Job is a run: what was seen of that Job says more.
    is_seen = bool(observed.get("status")) and last is None
    alive = is_alive(next_claim.get("process") or {}) if next_claim else False
    if next_name in documents.problems and not is_seen:
        return unknown(next_name)
    waits = bool(wait) and not is_over(wait)
    if next_claim and alive is not False and not is_seen:
        reason = waiting_text(wait) if waits else "waits for free CPUs"
        return result(Status.RUNNING, reason, Evidence.OBSERVED if alive else Evidence.RECORDED)
    if last is not None and last["end"] is not None and not _overrides(observed, last["end"]):
        return result(str(last["end"].get("status") or Status.FAILED), str(last["end"].get("reason") or ""))
    if observed.get("status"):
        return result(str(observed["status"]), str(observed.get("reason") or ""), Evidence.OBSERVED)
    if OBSERVED in documents.problems:
        return unknown(OBSERVED)
    if last is None and wait and not claim and is_alive(wait.get("process") or {}) is not False:
        # A pod that waits has begun no try; one that has ended to make room comes again.
        return result(Status.RUNNING, waiting_text(wait) if waits else "its wait is over")
    if last is None:
        return result(Status.DIED, "ended before its first try began", Evidence.INFERRED)
    if last["damaged"]:
        name = f"{TRY_PREFIX}{last['name']}/{last['damaged']}"
        return result(Status.UNKNOWN, _unreadable(name, documents.problems.get(name, "")), Evidence.UNKNOWN)
    process = last["start"].get("process") or {}
    alive = is_alive(process)
    if alive is False:
        return result(Status.DIED, "its process ended without recording why", Evidence.INFERRED)
    if alive:
        return result(Status.RUNNING, "", Evidence.OBSERVED)
    return result(Status.RUNNING, "on " + str(process.get("host") or "another machine"))


class _Documents:
    """The documents in a run's folder; ``problems`` says of each that was asked for and cannot be read why, by its name in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: dict[str, str] = {}

    def load(self, name: str) -> dict[str, Any] | None:
        """A document; None if it is absent or cannot be read."""
        try:
            return load_document(self._folder / name)
        except Unreadable as error:
            self.problems[name] = error.why
            return None

    def read(self, name: str) -> dict[str, Any]:
        """A document; empty if it is absent or cannot be read."""
        return self.load(name) or {}


def _unreadable(name: str, why: str) -> str:
    """The reason of a run of which a file is there that cannot be read, or is not there that must be (``why`` is empty)."""
    return (f"unreadable: {name}: {why}" if why else f"{name} is missing") + ": see cronsemble fsck"


def data_note(record: dict[str, Any]) -> str:
    """What had changed since a run's data was read, or why it was read again, as its record says it; empty for neither."""
    return str((record.get("data") or {}).get("note") or "")


def degraded_reason(record: dict[str, Any]) -> str:
    """In what a published result is less than was asked for, on one line, as its record says it; empty for a whole one.

    Of a training what went wrong in it; of an ensemble the members that it left out, those whose training was degraded, and those
    whose newest one was refused; of both what its gate could not judge.
    """
    reasons = [str(record.get("degraded") or "")]
    not_judged = (record.get("gate") or {}).get("not_judged")
    if not_judged:
        reasons.append(f"the gate could not judge {not_judged}")
    for member in record.get("members") or ():
        if member.get("left_out"):
            reasons.append(f"{member['member']} left out: {member['left_out']}")
        elif member.get("degraded"):
            reasons.append(f"the model of {member['member']} is degraded: {member['degraded']}")
        if refused := member.get("refused"):
            taken, newer = (_slot(record, member["member"], run) for run in (member.get("run"), refused.get("run")))
            why = f"which was refused: {refused.get('reason')}"
            reasons.append(f"{member['member']} took the model of {taken}, not of {newer}, {why}")
    return one_line("; ".join(filter(None, reasons)))


def _slot(record: dict[str, Any], member: str, name: object) -> str:
    """The slot of a member's training by the name of the run; the name itself where it is none."""
    run = parse_run_id(str(name), str(record.get("experiment")), member_task(member))
    return str(name) if run is None else slot_text(run.minute)


def _read_tries(documents: _Documents, folder: Path, names: list[str]) -> list[dict[str, Any]]:
    tries: list[dict[str, Any]] = []
    for name in names:
        if not name.startswith(TRY_PREFIX):
            continue
        start, end = documents.load(f"{name}/{START}"), documents.load(f"{name}/{END}")
        # A mark that is there but cannot be read shows that something happened, not what.
        damaged = END if f"{name}/{END}" in documents.problems else "" if start is not None else START
        tries.append({"name": name[len(TRY_PREFIX) :], "start": start or {}, "end": end, "damaged": damaged})
    return sorted(tries, key=lambda attempt: str(attempt["start"].get("time", "")))


def _overrides(observed: dict[str, Any], end: dict[str, Any]) -> bool:
    """Whether what was seen of a run's Job says more than how its last try ended: who stopped it, or that its time was over."""
    return bool(observed.get("status")) and (end.get("status") == Status.INTERRUPTED or observed.get("what") == Cause.DEADLINE)
