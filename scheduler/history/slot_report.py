"""The whole story of one slot as values and as lines: why it ran when it did, each attempt and try, and the models taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from cronjobs.revisions.expected import expected
from cronjobs.revisions.revisions import RevisionPeriod, at, differences, scheduling_periods
from jobs.contract import ENSEMBLE_TASK, PROBABILITIES, SELECTION, START, VERDICT, Status, member_task, parse_run_id
from jobs.store import Run
from jobs.store.files import read_json
from jobs.store.latest_model import rejection_reason
from scheduler.history.query import History
from scheduler.history.slots import Row, format_duration

NAMED = 20
"""Models of a member that are named one by one as not taken."""


def slot_report(history: History, task: str, minute: int, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that the store tells of one task's slot; ``rows`` are its rows of the history."""
    newest = rows[0]
    return {
        "slot": newest.slot,
        "local": newest.local,
        "task": task,
        "expected": _expected(history, task, minute),
        "note": dict(history.notes.slots.get((task, minute), {})) or None,
        "attempts": [_attempt(history, row) for row in reversed(rows) if row.run is not None],
        "outcome": [
            {"status": row.status, "why": row.why, "reason": row.reason, "evidence": row.evidence}
            for row in reversed(rows)
            if row.run is None
        ],
    }


def _expected(history: History, task: str, minute: int) -> dict[str, Any] | None:
    spans = history.spans.get(task, ())
    for _, span in expected(spans, minute * 60 - 1, minute * 60 + 59):
        held = at(scheduling_periods(history.given, history.now), minute * 60 - 1)
        plan = span.plan
        return {
            "schedule": plan.schedule,
            "timezone": plan.timezone,
            "suspend": plan.suspend,
            "concurrency": plan.concurrency,
            "starting_deadline": plan.starting_deadline,
            "engine": span.engine,
            "revision": held.revision["revision"] if held else None,
            "since": history.days.local(int(span.start // 60)),
            "by": span.by,
        }
    return None


def _attempt(history: History, row: Row) -> dict[str, Any]:
    run_id = parse_run_id(str(row.run), history.experiment, row.task)
    assert run_id is not None
    history.store.download(run_id, f"*/{SELECTION}", f"*/{PROBABILITIES}/*/{START}")
    run = history.store.read(run_id)
    told: dict[str, Any] = {
        "run": row.run,
        "attempt": row.attempt,
        "kind": row.kind,
        "why": row.why,
        "status": row.status,
        "reason": row.reason,
        "evidence": row.evidence,
        "accuracy": row.accuracy,
        "loss": row.loss,
        "tries": tries(history, run),
    }
    for key, value in (("observed", run.observed), ("removed", run.removed), ("verdict", read_json(run.folder / VERDICT))):
        if value:
            told[key] = value
    if row.task == ENSEMBLE_TASK:
        told["models"] = list(_models(history, run))
    return told


def tries(history: History, run: Run) -> list[dict[str, Any]]:
    """Each try of a run as it told it itself, else as it was seen on the cluster: now, or by a command that looked in time."""
    seen = history.sight.seen.get((run.id.task, run.id.minute, run.id.attempt))
    observed = {each["try"]: each for each in run.observed.get("tries", [])}
    observed |= {each.name: asdict(each) for each in (seen.tries if seen else ())}
    told = [_try(each, observed.pop(each["name"], {})) for each in run.tries]
    if run.record:
        told.append(_committed(run))
        observed.pop(str(run.record.get("try")), None)
    # Those that left nothing in the store.
    told += [_try({"name": name, "start": {}, "end": None}, each) for name, each in observed.items()]
    return sorted(told, key=lambda each: str(each["started"] or "~"))


def _try(each: dict[str, Any], observed: Mapping[str, Any]) -> dict[str, Any]:
    start, end = each["start"], each["end"]
    if end is None and observed:
        end = {"time": observed.get("ended"), "step": observed.get("container"), "status": observed.get("state", "failed")}
        end["reason"] = observed.get("reason")
    end = end or {}
    return {
        "try": each["name"],
        "started": start.get("time") or observed.get("started"),
        "ended": end.get("time"),
        "host": (start.get("process") or {}).get("host") or observed.get("pod"),
        "step": end.get("step"),
        "status": end.get("status"),
        "reason": end.get("reason"),
        "said": end.get("tail", [])[-5:],
    }


def _committed(run: Run) -> dict[str, Any]:
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


def _models(history: History, run: Run) -> Iterator[dict[str, Any]]:
    """Which model each member gave, and why each newer one of it was not taken."""
    store, record = history.store, run.record
    weights = (record.get("ensemble") or {}).get("members") or {}
    max_age = store.task_configuration(record).get("max_age")
    for each in store.model_selection(run):
        member, taken = str(each.get("member")), each.get("run")
        not_taken: list[dict[str, str]] = []
        older = 0
        is_past_it = False
        for candidate in store.run_ids(run.id.experiment, member_task(member)):
            if candidate.minute > run.id.minute:
                continue
            if str(candidate) == taken:
                is_past_it = True
            elif is_past_it or len(not_taken) == NAMED:
                older += 1
            else:
                when = store.model_chosen_at(run, member)
                reason = rejection_reason(store, run.id, candidate, max_age, str(record.get("invocation") or ""), when)
                not_taken.append({"run": str(candidate), "reason": reason or "it was there only after the choice"})
        yield {
            "member": member,
            "run": taken,
            "accuracy": each.get("accuracy"),
            "weight": (weights.get(member) or {}).get("weight"),
            "left_out": each.get("left_out"),
            "not_taken": not_taken,
            "older": older,
        }


def lines(told: dict[str, Any]) -> Iterator[str]:
    """The story for people."""
    yield f"{told['task']}, slot {told['slot']} ({told['local']})"
    plan = told["expected"]
    if plan is None:
        yield "  expected: no revision expected it"
    else:
        rests = ", suspended" if plan["suspend"] else ""
        yield (
            f"  expected: {plan['schedule']} {plan['timezone']}{rests}, revision {plan['revision']} of {plan['engine']}, "
            f"so since {plan['since']} by {plan['by'] or 'unknown'}"
        )
    if told["note"]:
        yield f"  noted: {told['note'].get('event')}: {told['note'].get('reason', '')} ({told['note'].get('time')})"
    for each in told["outcome"]:
        yield f"  {each['status']}: {each['reason'] or '-'} ({each['evidence']})"
    for attempt in told["attempts"]:
        yield from _lines_of(attempt)


def _lines_of(attempt: dict[str, Any]) -> Iterator[str]:
    why = attempt["why"] or "on time, by its schedule"
    accuracy = "" if attempt["accuracy"] is None else f", accuracy {attempt['accuracy']:.4f}"
    reason = f": {attempt['reason']}" if attempt["reason"] else ""
    yield f"  attempt {attempt['attempt']}: {attempt['run']}: {attempt['status']}{accuracy}{reason} ({attempt['evidence']})"
    yield f"    why it ran: {why}"
    if "observed" in attempt:
        seen = attempt["observed"]
        what = " ".join(filter(None, (seen.get("what"), seen.get("reason")))) or "tries that could not say why they ended"
        yield f"    observed: {what} (by {seen.get('by')} at {seen.get('time')})"
    if "verdict" in attempt:
        differs = "; ".join(attempt["verdict"].get("differs", []))
        yield f"    verdict: {attempt['verdict'].get('verdict')}" + (f" ({differs})" if differs else "")
    for removal in attempt.get("removed", {}).get("files", []):
        yield f"    removed by gc: {removal.get('path')}"
    for each in attempt["tries"]:
        yield f"    try {line_of_try(each)}"
        for line in each["said"] if each["status"] == Status.FAILED else []:
            yield f"      | {line}"
    for model in attempt.get("models", []):
        weight = "" if model["weight"] is None else f", weight {model['weight']:.3f}"
        yield f"    {model['member']}: " + (
            f"left out: {model['left_out']}" if model["left_out"] else f"took {model['run']}{weight}"
        )
        for other in model["not_taken"]:
            yield f"      not {other['run']}: {other['reason']}"
        if model["older"]:
            yield f"      not the {model['older']} before it: older"


def line_of_try(each: Mapping[str, Any]) -> str:
    """A try for people: where, from when, how long, and what it ended as."""
    since = f" from {each['started']}{_took(each)}" if each["started"] else ""
    step = f" in {each['step']}" if each["step"] else ""
    told = f"{step}: {each['reason']}" if each["reason"] else ""
    return f"{each['try']} on {each['host'] or 'unknown'}{since}: {each['status'] or 'no end'}{told}"


def _took(each: Mapping[str, Any]) -> str:
    try:
        seconds = (datetime.fromisoformat(each["ended"]) - datetime.fromisoformat(each["started"])).total_seconds()
    except (TypeError, ValueError):
        return ""
    return f", {format_duration(seconds)}"


def revision(history: History, held: RevisionPeriod) -> dict[str, Any]:
    """A revision and what it changed."""
    given = held.revision
    return {
        "revision": given["revision"],
        "time": given["time"],
        "local": history.days.local(int(held.start // 60)),
        "what": given.get("what", "sync"),
        "by": given.get("by", ""),
        "engine": held.engine,
        "tool": given.get("tool"),
        "folded": given.get("folded", 1),
        "changes": differences(held.before, held.tasks),
        "tasks": held.tasks,
    }
