"""Whether a result is accepted: the limits of its task's `gate`, judged before the result is published. Python 3.9.

What is refused is published all the same, with the reason and the numbers in its record. What cannot be judged is accepted, and
the record says why it could not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs import revisions
from jobs.contract import RunId, Status, parse_time
from jobs.store.accepted_runs import last_accepted
from jobs.store.decisions import REFUSED
from jobs.store.document_files import read_document
from jobs.store.files import to_json
from jobs.store.latest_model import is_model_removed
from jobs.store.regular_files import Unreadable
from jobs.supervisor.framework_process import UserCode, framework_env, run_child, warm_theano
from jobs.supervisor.paired_drop import PairedDrop
from jobs.supervisor.run_context import RunContext, StepError, notice
from jobs.temporary import TemporaryFolder

LONGEST = 600.0
"""Seconds that the comparison with an earlier model may take."""
_RESERVE = 10.0
"""Seconds of the run's deadline that are left to publish it."""
_JOB_RESERVE = 120.0
"""The same where a Job has the deadline: it began before its first pod did."""
MIN_ACCURACY, MAX_DROP, MAX_LOSS = "min_accuracy", "max_drop", "max_loss"
_COUNTS = ("items", "lost", "gained", "learnt_before", "previous_accuracy", "previous_loss")
_NUMBERS = ("previous", *_COUNTS, "drop", "interval", "p_value")
"""What is recorded of a comparison."""

Compare = Callable[[RunId, Mapping[str, Any], Path, float], "dict[str, Any]"]
"""Counts the items that only one of two results has right: (earlier run, its record, a temporary folder, seconds) -> counts.

Raises StepError where they cannot be compared.
"""


def judge_training(context: RunContext, data: Path, metrics: Mapping[str, Any], began: float) -> dict[str, Any]:
    """What its gate says of the model that this try has just trained; empty without a gate.

    ``data``: the prepared data; ``metrics``: of the training; ``began``: when the step did, by ``time.monotonic``.
    """

    def compare(earlier: RunId, record: Mapping[str, Any], scratch: Path, limit: float) -> dict[str, Any]:
        return _evaluate(context, data, earlier, record, scratch, limit)

    return _judge(context, metrics, None, compare, began)


def judge_ensemble(context: RunContext, data: Path, ensemble: Mapping[str, Any], began: float) -> dict[str, Any]:
    """The same of the ensemble that this try has just combined; ``ensemble``: its summary."""

    def compare(earlier: RunId, record: Mapping[str, Any], scratch: Path, limit: float) -> dict[str, Any]:
        return _compare_ensembles(context, data, earlier, record, scratch, limit)

    return _judge(context, ensemble, ensemble.get("items"), compare, began)


def _judge(context: RunContext, metrics: Mapping[str, Any], items: int | None, compare: Compare, began: float) -> dict[str, Any]:
    limits = {name: float(limit) for name, limit in (context.task.get("gate") or {}).items() if limit is not None}
    gate: dict[str, Any] = {"limits": limits} if limits else {}
    reasons, unknown = [], []
    accuracy, loss = metrics.get("accuracy"), metrics.get("loss")
    if limits:
        numbers = {"accuracy": accuracy, "loss": loss, "items": items}
        gate.update({name: value for name, value in numbers.items() if value is not None})
        for name in (MIN_ACCURACY, MAX_LOSS):
            value = accuracy if name == MIN_ACCURACY else loss
            if name not in limits:
                continue
            if value is None:
                unknown.append(f"{name}: the labels of its items are not known")
            elif _is_beyond(name, float(value), limits[name]):
                reasons.append(_limit_reason(name, float(value), limits[name]))
        if MAX_DROP in limits and accuracy is None:
            unknown.append(f"{MAX_DROP}: the labels of its items are not known")
        elif MAX_DROP in limits:
            try:
                reason, why = _judge_drop(context, limits[MAX_DROP], gate, compare, began)
            except Unreadable as error:  # what is damaged in the store costs no result
                reason, why = "", f"{error.filename}: {error.why}"
            if why and (as_original := _as_original(context, gate)):
                gate["note"], reason, why = f"it is not compared once more: {why}", as_original, ""
            reasons += [reason] if reason else []
            unknown += [f"{MAX_DROP}: {why}"] if why else []
    if reasons:
        gate["refused"] = "; ".join(reasons)
    try:
        _follow_decision(context, gate)
    except Unreadable as error:
        unknown.append(f"what was decided of the run that it repeats: {error.filename}: {error.why}")
    if unknown:
        gate["not_judged"] = "; ".join(unknown)
        notice(context, f"the gate could not judge {gate['not_judged']}")
    if gate.get("refused"):
        notice(context, f"refused: {gate['refused']}")
    return gate


def _is_beyond(name: str, value: float, limit: float) -> bool:
    # A value that is no number is beyond every limit.
    return not (value >= limit if name == MIN_ACCURACY else value <= limit)


def _limit_reason(name: str, value: float, limit: float) -> str:
    if name == MIN_ACCURACY:
        return f"accuracy {value:.4f} is less than {name} {limit:g}"
    return f"loss {value:.4f} is more than {name} {limit:g}"


# -- the drop since the last accepted run


def _judge_drop(context: RunContext, limit: float, gate: dict[str, Any], compare: Compare, began: float) -> tuple[str, str]:
    """Why the drop refuses the result, or why it cannot be judged; both empty where it passes. Adds its numbers to ``gate``."""
    repeated = _repeated(context)
    if repeated is not None and not context.other_configuration:
        original = context.store.result(repeated)
        if original is None:
            return "", f"{repeated}, which it repeats, has no result, so that it is unknown what that was compared with"
        judged = original.get("gate") or {}
        if MAX_DROP not in (judged.get("limits") or {}):
            return "", f"{repeated}, which it repeats, had no gate"
        if judged.get("not_judged") and judged.get("drop") is None:
            return "", f"{repeated}, which it repeats, could not be judged either: {judged['not_judged']}"
        named = judged.get("previous")
        if named is None:
            return "", ""
        previous = c.parse_run_id(str(named), context.run.experiment, context.run.task)
        record = None if previous is None else context.store.result(previous)
        if previous is None or record is None:
            return "", f"{named}, which {repeated} was compared with, is gone"
    else:
        start = read_document(context.folder / c.START) or {}
        accepted = last_accepted(context.store, context.run, start.get("kind"))
        if accepted is None:
            return "", ""
        previous, record = accepted
    gate["previous"] = str(previous)
    left = _seconds_left(context, began)
    if left < 1.0:
        return "", "too little is left of the run's deadline to compare it with the last accepted one"
    environment = context.environment
    try:
        with TemporaryFolder("step") as scratch:
            counts = compare(previous, record, scratch, left)
    except StepError as error:
        if error.status == Status.INTERRUPTED:
            raise
        return "", f"it cannot be compared with {previous}: {error}"
    finally:
        context.environment = environment  # the record's is that of what made the result
    if not counts["items"]:
        if counts.get("learnt_before"):
            return "", f"{previous} was trained on all of its validation items: give x_test and y_test that stay the same"
        return "", f"{previous} has predicted none of its items, or with other labels"
    drop = PairedDrop(counts["items"], counts["lost"], counts["gained"])
    gate.update(counts)
    gate["drop"], gate["interval"] = round(drop.drop, 12), [round(bound, 6) for bound in drop.interval]
    gate["p_value"] = float(f"{drop.p_value:.6g}")
    needed = drop.needed_items(limit)
    if drop.items < needed:
        gate["note"] = (
            f"{drop.items} items are few for {MAX_DROP} {limit:g}: it takes about {needed} to see a drop of {2 * limit:g} in "
            "95 % of nights"
        )
        if counts.get("learnt_before"):
            gate["note"] += (
                f"; {counts['learnt_before']} more are left out, for {previous} was trained on them: give x_test and y_test that "
                "stay the same"
            )
        notice(context, gate["note"])
    if not drop.exceeds(limit):
        return "", ""
    before = float(counts.get("previous_accuracy", 0.0))
    after = before - drop.drop
    low, high = drop.interval
    return (
        f"accuracy {after:.4f} is {drop.drop:.4f} less than the {before:.4f} of {previous} on the same {drop.items} items "
        f"(95 % interval {low:.4f} to {high:.4f}), more than {MAX_DROP} {limit:g}"
    ), ""


def _as_original(context: RunContext, gate: dict[str, Any]) -> str:
    """Why the drop refuses a repeat that cannot be compared once more: its original was refused for it. Else empty.

    Adds the original's numbers to ``gate``.
    """
    repeated = _repeated(context)
    if repeated is None or context.other_configuration:
        return ""
    judged = (context.store.result(repeated) or {}).get("gate") or {}
    limit = (judged.get("limits") or {}).get(MAX_DROP)
    if judged.get("drop") is None or limit is None or not judged.get("items"):
        return ""
    if not PairedDrop(judged["items"], judged.get("lost") or 0, judged.get("gained") or 0).exceeds(limit):
        return ""
    gate.update({name: judged[name] for name in _NUMBERS if name in judged})
    return (
        f"as {repeated}, which it repeats: accuracy {judged['drop']:.4f} less than that of {judged.get('previous')} on the same "
        f"{judged['items']} items, more than {MAX_DROP} {limit:g}"
    )


def _seconds_left(context: RunContext, began: float) -> float:
    """Seconds that the comparison may take: the run's own deadline must not end it."""
    limit = context.env.get(c.ENV_TIMEOUT)
    if limit:
        return min(LONGEST, float(limit) - (time.monotonic() - began) - _RESERVE)
    # In a pod the deadline is that of the Job, for all of its pods.
    deadlines: list[float | None] = [
        tasks[context.run.task].get("deadline")
        for chain in revisions.chains(revisions.merge(context.store.ledger.revisions(context.run.experiment)))
        for _, _, tasks in list(revisions.states(chain))[-1:]
        if context.run.task in tasks
    ]
    start = (read_document(context.folder / c.START) or {}).get("time")
    starts = [start, *(one_try["start"].get("time") for one_try in context.store.read(context.run).tries)]
    first = min(filter(None, map(parse_time, starts)), default=None)
    if first is None or not any(deadlines):
        return LONGEST
    return min(LONGEST, first + min(filter(None, deadlines)) - time.time() - _JOB_RESERVE)


def _evaluate(
    context: RunContext, data: Path, earlier: RunId, record: Mapping[str, Any], scratch: Path, limit: float
) -> dict[str, Any]:
    """How an earlier model does on the validation items of today's data, beside the one in this try's folder."""
    description = record.get("model")
    if not isinstance(description, dict) or not description.get("sha256"):
        raise StepError("its record does not say which model it has")
    if is_model_removed(context.store, earlier, dict(record)):
        raise StepError("its model was removed by gc")
    learnt = _data_learnt(context, data, record)
    described, out = scratch / c.MODEL, scratch / "comparison.json"
    described.write_bytes(to_json(description))
    arguments = ["--model", str(context.store.run_folder(earlier) / c.RESULT), "--description", str(described)]
    arguments += ["--data", str(data), "--validation", str(context.folder / c.VALIDATION), "--out", str(out)]
    arguments += ["--learnt", str(learnt)] if learnt not in (None, data) else []
    snapshot = record.get("snapshot") or {}
    if snapshot.get("task"):
        try:  # only models of earlier versions need it
            (scratch / "task.json").write_bytes(context.store.read_snapshot("task", str(snapshot["task"])))
            arguments += ["--task", str(scratch / "task.json")]
        except OSError:
            pass
    backend = str(description.get("backend") or context.task["backend"])  # another, where the member had that then
    warm_theano(context, backend)
    with UserCode(context, str(snapshot.get("code") or "")) as code:
        env = framework_env({**context.task, "backend": backend})
        run_child(context, "evaluate", [*arguments, "--code", code], env, limit)
    return _counts(out)


def _data_learnt(context: RunContext, data: Path, record: Mapping[str, Any]) -> Path | None:
    """The data that an earlier model was trained on, ``data`` if it is that of now; None where its record does not say it.

    Raises StepError for data that is gone or damaged.
    """
    pinned = record.get("data") or {}
    if not pinned.get("fingerprint"):
        return None
    path = context.store.dataset_path(str(pinned["fingerprint"]))
    problem = "" if path == data else context.store.data_problem(pinned)
    if problem:
        raise StepError(f"{problem}: it is not known which of the validation items that model was trained on")
    return path


def _compare_ensembles(
    context: RunContext, data: Path, earlier: RunId, record: Mapping[str, Any], scratch: Path, limit: float
) -> dict[str, Any]:
    """How an earlier ensemble did on the items of the one in this try's folder."""
    pinned = record.get("data") or {}
    problem = context.store.data_problem(pinned) if pinned.get("fingerprint") else "its record does not say which data it has"
    if problem:
        raise StepError(problem)
    csv = context.store.run_folder(earlier) / c.RESULT / c.CSV
    plan, out = scratch / "plan.json", scratch / "comparison.json"
    plan.write_bytes(
        to_json(
            {
                "earlier": {"predictions": str(csv), "data": str(context.store.dataset_path(str(pinned["fingerprint"])))},
                "new": {"predictions": str(context.folder / c.CSV), "data": str(data)},
            }
        )
    )
    run_child(context, "ensemble-drop", ["--plan", str(plan), "--out", str(out)], {}, limit)
    return _counts(out)


def _counts(path: Path) -> dict[str, Any]:
    counts = read_document(path) or {}
    numbers: list[Any] = [counts.get(name) for name in ("items", "lost", "gained")]
    are_counts = all(isinstance(number, int) and number >= 0 for number in numbers)
    if not are_counts or numbers[1] + numbers[2] > numbers[0]:
        raise StepError("the comparison wrote no counts")
    found = {name: counts[name] for name in _COUNTS if isinstance(counts.get(name), (int, float))}
    return {name: value for name, value in found.items() if value or name != "learnt_before"}


# -- what was decided of the run that it repeats


def _repeated(context: RunContext) -> RunId | None:
    name = context.env.get(c.ENV_REPEATS)
    return c.parse_run_id(name, context.run.experiment, context.run.task) if name else None


def _follow_decision(context: RunContext, gate: dict[str, Any]) -> None:
    """Decide as somebody did by hand of the run that this one repeats: it is the same once more."""
    repeated = _repeated(context)
    if repeated is None or context.other_configuration:
        return
    decisions = context.store.decisions(repeated)
    if not decisions:
        return
    last = decisions[-1]
    by = f"as {repeated}, which it repeats, by {last.get('by') or 'hand'}" + (f": {last['reason']}" if last.get("reason") else "")
    if last.get("decision") == REFUSED:
        gate["refused"] = "; ".join(filter(None, (by, gate.get("refused"))))
    else:
        overruled = gate.pop("refused", "")
        gate["accepted"] = by + (f" (its gate refused it: {overruled})" if overruled else "")
