"""Everything about one slot, as values and as lines: why it ran when it did, each attempt and try, and the models taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobs.contract import ENSEMBLE_TASK, RunId, Status, parse_time
from jobs.expected_slots import expected
from jobs.schedule_periods import RevisionPeriod, at
from jobs.store import Run
from jobs.store.tries import describe_try
from scheduler.history.observed_runs import ObservedJob
from scheduler.history.query import ExperimentHistory
from scheduler.history.revision_changes import Snapshots, revision_changes
from scheduler.history.slots import DEGRADED, Row
from scheduler.times import format_duration

TAIL_LINES = 5
"""Lines of a failed try's output that are shown."""


@dataclass(frozen=True)
class RejectedModel:
    """A training that an ensemble run did not take, and why."""

    run: str
    reason: str


@dataclass(frozen=True)
class MemberModel:
    """Which model of a member an ensemble run took.

    ``run``: the training; None where the member was left out, for which ``left_out`` is the reason. ``not_taken``: each newer
    training; ``older``: how many older ones there are.
    """

    member: str
    run: str | None
    accuracy: float | None
    weight: float | None
    left_out: str | None
    not_taken: Sequence[RejectedModel]
    older: int


@dataclass(frozen=True)
class RunDetails:
    """What the store holds of a run beyond its row: the run with its tries, its verdict, and an ensemble's models."""

    run: Run
    verdict: Mapping[str, Any] | None = None
    models: Sequence[MemberModel] = ()


def slot_report(history: ExperimentHistory, rows: Sequence[Row], details: Mapping[str, RunDetails]) -> dict[str, Any]:
    """All that is known of one task's slot.

    ``rows``: its rows of the history, newest first, at least one. ``details``: by run id, those of every row with a run.
    """
    newest = rows[0]
    return {
        "slot": newest.slot,
        "local": newest.local,
        "task": newest.task,
        "expected": _expected(history, newest.task, newest.minute),
        "note": dict(history.notes.slots.get((newest.task, newest.minute), {})) or None,
        "attempts": [_attempt(history, row, details[row.run]) for row in reversed(rows) if row.run is not None],
        "outcome": [
            {"status": row.status, "why": row.why, "reason": row.reason, "evidence": row.evidence}
            for row in reversed(rows)
            if row.run is None
        ],
    }


def _expected(history: ExperimentHistory, task: str, minute: int) -> dict[str, Any] | None:
    """The schedule and the revision that expect a slot; None if none does."""
    for _, period in expected(history.schedule_periods.get(task, ()), minute * 60 - 1, minute * 60 + 59):
        revision_period = at(history.scheduling_periods, minute * 60 - 1)
        schedule = period.task_schedule
        return {
            "schedule": schedule.schedule,
            "timezone": schedule.timezone,
            "suspend": schedule.suspend,
            "concurrency": schedule.concurrency,
            "starting_deadline": schedule.starting_deadline,
            "engine": period.engine,
            "revision": revision_period.revision["revision"] if revision_period else None,
            "since": history.clock.local(int(period.start // 60)),
            "by": period.by,
        }
    return None


def _attempt(history: ExperimentHistory, row: Row, details: RunDetails) -> dict[str, Any]:
    run = details.run
    report: dict[str, Any] = {
        "run": row.run,
        "attempt": row.attempt,
        "kind": row.kind,
        "why": row.why,
        "status": row.status,
        "degraded": row.degraded,
        "reason": row.reason,
        "evidence": row.evidence,
        "accuracy": row.accuracy,
        "loss": row.loss,
        "items_accuracy": row.items_accuracy,
        "items_loss": row.items_loss,
        "tries": tries(run, observed_job(history, run.id)),
    }
    gate = dict(run.record.get("gate") or {})
    beside = (("gate", gate), ("decisions", [dict(decision) for decision in run.decisions]))
    for key, value in (("observed", run.observed), ("removed", run.removed), ("verdict", details.verdict), *beside):
        if value:
            report[key] = value
    if row.task == ENSEMBLE_TASK:
        report["models"] = [asdict(model) for model in details.models]
    return report


def observed_job(history: ExperimentHistory, run: RunId) -> ObservedJob | None:
    """What the cluster showed of a run just now."""
    return history.observation.jobs.get((run.task, run.minute, run.attempt))


def tries(run: Run, job: ObservedJob | None) -> list[dict[str, Any]]:
    """Each try of a run as it recorded it itself, else as it was observed: now (``job``), or by an earlier command."""
    observed: dict[str, Mapping[str, Any]] = {pod["try"]: pod for pod in run.observed.get("tries") or []}
    observed |= {pod.uid: pod.to_json() for pod in (job.pods if job else ())}
    reports = [_try(recorded, observed.pop(recorded["name"], {})) for recorded in run.tries]
    if run.record:
        reports.append(_published_try(run))
        observed.pop(str(run.record.get("try")), None)
    # Those that left nothing in the store.
    reports += [_try({"name": name, "start": {}, "end": None}, pod) for name, pod in observed.items()]
    most = run.max_tries
    in_order = sorted(reports, key=lambda one_try: str(one_try["started"] or "~"))
    return [{"number": number, "max_tries": most, **one_try} for number, one_try in enumerate(in_order, 1)]


def _try(recorded: Mapping[str, Any], observed: Mapping[str, Any]) -> dict[str, Any]:
    start, end = recorded["start"], recorded["end"]
    if end is None and observed:
        end = {"time": observed.get("ended"), "step": observed.get("container"), "status": observed.get("state", Status.FAILED)}
        end["reason"] = observed.get("reason")
    end = end or {}
    return {
        "try": recorded["name"],
        "started": start.get("time") or observed.get("started"),
        "ended": end.get("time"),
        "host": (start.get("process") or {}).get("host") or observed.get("pod"),
        "step": end.get("step"),
        "status": end.get("status"),
        "reason": end.get("reason"),
        "said": (end.get("tail") or [])[-TAIL_LINES:],
    }


def _published_try(run: Run) -> dict[str, Any]:
    record = run.record
    return {
        "try": record.get("try"),
        "started": record.get("started"),
        "ended": record.get("finished"),
        "host": record.get("host"),
        "step": None,
        "status": Status.SUCCEEDED,
        "reason": None,
        "said": [],
    }


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A slot's report for people."""
    yield f"{report['task']}, slot {report['slot']} ({report['local']})"
    schedule = report["expected"]
    if schedule is None:
        yield "  expected: no revision expected it"
    else:
        suspended = ", suspended" if schedule["suspend"] else ""
        yield (
            f"  expected: {schedule['schedule']} {schedule['timezone']}{suspended}, revision {schedule['revision']} of "
            f"{schedule['engine']}, since {schedule['since']} by {schedule['by'] or 'unknown'}"
        )
    if report["note"]:
        note = report["note"]
        yield f"  note: {note.get('event')}: {note.get('reason', '')} ({note.get('time')})"
    for outcome in report["outcome"]:
        yield f"  {outcome['status']}: {outcome['reason'] or '-'} ({outcome['evidence']})"
    for attempt in report["attempts"]:
        yield from _attempt_lines(attempt)


def _attempt_lines(attempt: Mapping[str, Any]) -> Iterator[str]:
    why = attempt["why"] or "on time, by its schedule"
    numbers = "" if attempt["accuracy"] is None else f", accuracy {attempt['accuracy']:.4f}"
    if attempt["items_accuracy"] not in (None, attempt["accuracy"]):
        numbers += f", on the ensemble's items {attempt['items_accuracy']:.4f}"
    status = attempt["status"] + (f", {DEGRADED}" if attempt["degraded"] else "")
    reasons = "; ".join(filter(None, (attempt["degraded"], attempt["reason"])))
    reason = f": {reasons}" if reasons else ""
    yield f"  attempt {attempt['attempt']}: {attempt['run']}: {status}{numbers}{reason} ({attempt['evidence']})"
    yield f"    why it ran: {why}"
    if "observed" in attempt:
        observed = attempt["observed"]
        what = (
            " ".join(filter(None, (observed.get("what"), observed.get("reason")))) or "tries that did not record why they ended"
        )
        yield f"    observed: {what} (by {observed.get('by')} at {observed.get('time')})"
    yield from (f"    decided: {text}" for text in map(decision_text, attempt.get("decisions", ())))
    if "verdict" in attempt:
        differences = "; ".join(attempt["verdict"].get("differs") or [])
        yield f"    verdict: {attempt['verdict'].get('verdict')}" + (f" ({differences})" if differences else "")
    for removal in attempt.get("removed", {}).get("files") or []:
        yield f"    removed by gc: {removal.get('path')}"
    for one_try in attempt["tries"]:
        yield f"    try {try_line(one_try)}"
        for line in one_try["said"] if one_try["status"] == Status.FAILED else []:
            yield f"      | {line}"
    for model in attempt.get("models", []):
        weight = "" if model["weight"] is None else f", weight {model['weight']:.3f}"
        yield f"    {model['member']}: " + (
            f"left out: {model['left_out']}" if model["left_out"] else f"took {model['run']}{weight}"
        )
        for rejected in model["not_taken"]:
            yield f"      not {rejected['run']}: {rejected['reason']}"
        if model["older"]:
            yield f"      not the {model['older']} before it: older"


def gate_lines(run: Run) -> Iterator[str]:
    """What the gate of a run has judged, for people: limits, the comparison with an earlier run, what it refused or could not."""
    gate = run.record.get("gate") or {}
    if gate.get("limits"):
        limits = ", ".join(f"{name} {limit:g}" for name, limit in gate["limits"].items() if limit is not None)
        yield f"{limits}: {'refused' if gate.get('refused') else 'accepted'}"
    if gate.get("previous") and gate.get("drop") is not None:
        drop, low_high = gate["drop"], " to ".join(f"{bound:.4f}" for bound in gate.get("interval") or ())
        yield (
            f"drop {drop:.4f} since {gate['previous']} (95 % interval {low_high}): of {gate.get('items')} items "
            f"{gate.get('lost')} only that has right, {gate.get('gained')} only this; p {gate.get('p_value') or 0.0:.3g}"
        )
    if gate.get("learnt_before"):
        yield f"{gate['learnt_before']} more items are left out: only the earlier model was trained on them"
    for name in ("note", "not_judged", "refused", "accepted"):
        if gate.get(name):
            yield f"{name.replace('_', ' ')}: {gate[name]}"


def decision_lines(run: Run) -> Iterator[str]:
    """What was decided of a run by hand, oldest first."""
    return map(decision_text, run.decisions)


def decision_text(decision: Mapping[str, Any]) -> str:
    """What was decided by hand, by whom, when and why."""
    reason = f": {decision['reason']}" if decision.get("reason") else ""
    return f"{decision.get('decision')} by {decision.get('by') or 'hand'} at {decision.get('time')}{reason}"


def try_line(one_try: Mapping[str, Any]) -> str:
    """A try for people: which of how many, its name, where, from when, how long, and how it ended."""
    since = f" from {one_try['started']}{_duration(one_try)}" if one_try["started"] else ""
    step = f" in {one_try['step']}" if one_try["step"] else ""
    reason = f"{step}: {one_try['reason']}" if one_try["reason"] else ""
    number = describe_try(one_try["number"], one_try["max_tries"])
    return f"{number}: {one_try['try']} on {one_try['host'] or 'unknown'}{since}: {one_try['status'] or 'no end'}{reason}"


def _duration(one_try: Mapping[str, Any]) -> str:
    ended, started = parse_time(one_try["ended"]), parse_time(one_try["started"])
    return "" if ended is None or started is None else f", {format_duration(ended - started)}"


def revision_report(history: ExperimentHistory, period: RevisionPeriod, snapshots: Snapshots) -> dict[str, Any]:
    """A revision and what it changed, in words."""
    revision = period.revision
    return {
        "revision": revision["revision"],
        "time": revision["time"],
        "local": history.clock.local(int(period.start // 60)),
        "what": revision.get("what", "sync"),
        "by": revision.get("by", ""),
        "engine": period.engine,
        "tool": revision.get("tool"),
        "folded": revision.get("folded", 1),
        "changes": revision_changes(period.before, period.tasks, snapshots),
        "tasks": period.tasks,
    }
