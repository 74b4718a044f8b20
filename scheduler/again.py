"""The commands that make dated runs afterwards: rerun and backfill. They read, call and print."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jobs.contract import ENSEMBLE_TASK
from jobs.store import Run, Store
from scheduler import backfill, judging, repeats, rerun, targets, terminal, views
from scheduler.config import Experiment, load
from scheduler.dates import minutes
from scheduler.errors import CronsembleError
from scheduler.manual import keep_context
from scheduler.orders import runtimes_of
from scheduler.verdict import CHANGED, describe
from scheduler.whereabouts import Place
from scheduler.working import OnCluster, placed, working


def rerun_runs(
    what: str,
    place: Place,
    *,
    task: str | None,
    reuse: bool,
    current: bool,
    dry_run: bool,
    tolerance: float,
    jobs: int | None,
    as_json: bool,
    judge: bool = False,
    cluster: OnCluster | None = None,
) -> int:
    """Repeat the runs that ``what`` names, or with ``judge`` only judge that repeat.

    0, 1 if something is missing or failed, 2 if something changed, 130.
    """
    if judge:
        return _judge(place, what, tolerance, as_json)
    found = targets.originals(place.store, place.name, what, task)
    if place.problem and not current:
        print(f"{place.problem}\ngoing on from what {place.store.root} kept", file=sys.stderr)
    if current and place.experiment is None:
        raise CronsembleError(f"--with-current-config needs a configuration without errors: {place.problem or 'give -f FILE'}")
    with terminal.watcher(apart=as_json) as watcher, working(place.store, place.experiment, watcher, jobs, cluster) as engine:
        plan = None if current else repeats.plan(place.store, found, reuse, engine.problems)
        if plan is not None:
            for each in plan.repeats:
                for note in each.notes:
                    print(f"{each.original.id}: {note}", file=sys.stderr)
        if dry_run:
            return _print_plan(found, plan, as_json)
        if plan is not None and plan.missing:
            raise CronsembleError(
                "\n".join([*plan.missing, "nothing was started: `cronsemble rerun --dry-run` shows the whole plan"])
            )
        with tempfile.TemporaryDirectory(prefix="cronsemble-") as empty:
            if plan is not None:
                work = rerun.exact(engine, plan, Path(empty))
            else:
                assert place.experiment is not None
                work = rerun.with_current(place.experiment, found, engine, reuse)
            outcomes = rerun.carry_out(engine, work, tolerance)
    told = [each.as_json() for each in outcomes]
    if as_json:
        print(json.dumps({"experiment": place.name, "runs": told}, indent=1))
    else:
        _print_verdicts(told)
    if engine.stopped:
        print("interrupted; the same command starts again" if not engine.outlives else "interrupted", file=sys.stderr)
        return 130
    flat = [inner for each in told for inner in (each, *each.get("members", {}).values())]
    good = ("succeeded", "running") if cluster is not None and not cluster.wait else ("succeeded",)
    if any(each["status"] not in good for each in flat if each["run"]):
        return 1
    return 2 if any(each["verdict"] == CHANGED for each in flat) else 0


def _judge(place: Place, what: str, tolerance: float, as_json: bool) -> int:
    """The verdict on a repeat that was left at work; it is kept beside it."""
    run = views.find(place.store, place.name, what)
    original = judging.repeated(run)
    if original is None:
        why = "it is still at work" if run.status == "running" else f"it {run.status}" if not run.record else "it repeats no run"
        raise CronsembleError(f"{run.id}: {why}: there is nothing to compare")
    (outcome,) = judging.repeats(place.store, [run], tolerance)
    for each in (*outcome.members.values(), outcome):
        if each.run is not None and each.run.id != each.original:
            judging.keep(place.store, each, tolerance, lambda text: print(text, file=sys.stderr))
    told = [outcome.as_json()]
    if as_json:
        print(json.dumps({"experiment": place.name, "runs": told}, indent=1))
    else:
        _print_verdicts(told)
    return 2 if any(each["verdict"] == CHANGED for each in (told[0], *told[0].get("members", {}).values())) else 0


def _print_verdicts(told: list[dict[str, Any]]) -> None:
    for each in told:
        for name, member in each.get("members", {}).items():
            print(f"{name}: {_made(member)}{describe(member)}")
        print(f"{_made(each)}{describe(each)}")


def _made(told: dict[str, Any]) -> str:
    run, original = told["run"], told["repeats"]
    if run is None or original is None:
        return f"{run or original}: " if run or original else ""
    return f"{run}, taken again: " if run == original else f"{run} repeats {original}: "


def _print_plan(found: list[Run], plan: repeats.Plan | None, as_json: bool) -> int:
    """What would run, and what of it is missing; 1 if anything is."""
    rows: list[dict[str, Any]]
    if plan is None:
        rows = [{"repeats": str(run.id), "task": run.id.task, "in": "today's configuration", "missing": []} for run in found]
    else:
        rows = [
            {
                "repeats": str(each.original.id),
                "task": each.original.id.task,
                "in": each.made_in.get("image") or each.made_in.get("python") or "",
                "missing": list(each.missing),
                "notes": list(each.notes),
                "members": {name: str(taken) for name, taken in each.members.items()},
            }
            for each in plan.repeats
        ]
    missing = sum(len(row["missing"]) for row in rows)
    if as_json:
        print(json.dumps({"runs": rows, "missing": missing}, indent=1))
        return 1 if missing else 0
    for row in rows:
        print(f"{row['repeats']} again, in {row['in'] or 'what is not known'}")
        for problem in row["missing"]:
            print(f"  missing: {problem}")
        for name, taken in row.get("members", {}).items():
            model = "its archived model" if plan is not None and plan.reuse else "the model trained again"
            print(f"  {name}: {taken if ' ' in taken else f'{model} of {taken}'}")
    print(f"runs: {len(rows)}; missing: {missing or 'nothing'}")
    return 1 if missing else 0


def backfill_slots(
    file: Path,
    period: str,
    *,
    tasks: list[str],
    dry_run: bool,
    parallel: int,
    jobs: int | None,
    as_json: bool,
    folder: Path | None = None,
    cluster: OnCluster | None = None,
) -> int:
    """Make up for the slots of a period; 0, 1 if any did not succeed, 130 if it was stopped."""
    experiment, now = load(file), time.time()
    with placed(file, folder, None, cluster) as place:
        return _backfill(place.store, experiment, period, now, tasks, dry_run, parallel, jobs, as_json, cluster)


def _backfill(
    store: Store,
    experiment: Experiment,
    period: str,
    now: float,
    tasks: list[str],
    dry_run: bool,
    parallel: int,
    jobs: int | None,
    as_json: bool,
    cluster: OnCluster | None,
) -> int:
    low, high = _period(period, experiment.timezone, now)
    found = backfill.gaps(store, experiment, low, high, now, tasks)
    if dry_run or not found:
        return _print_gaps(found, as_json)
    rows = []
    with terminal.watcher(apart=as_json) as watcher, working(store, experiment, watcher, jobs, cluster) as engine:
        context = keep_context(engine, experiment)
        names = {name for gap in found for name in runtimes_of(context, gap.run.task)}
        runtimes = engine.runtimes(experiment, names)
        for gap, run in backfill.fill(engine, context, found, runtimes, parallel):
            status = "not started" if run is None else run.status
            reason = "" if run is None else run.reason
            rows.append({"slot": gap.slot, "task": gap.run.task, "run": str(gap.run), "status": status, "reason": reason})
    if as_json:
        print(json.dumps({"experiment": experiment.name, "slots": rows}, indent=1))
    for row in rows:
        if not as_json and row["status"] == "succeeded" and row["task"] == ENSEMBLE_TASK:
            print(f"{row['slot']}: archived")
        elif row["status"] not in ("succeeded", "running"):
            print(f"{row['run']}: {row['status']}{': ' if row['reason'] else ''}{row['reason']}", file=sys.stderr)
    if engine.stopped:
        print("stopped; the same command goes on with what is left", file=sys.stderr)
        return 130
    good = ("succeeded", "running") if cluster is not None and not cluster.wait else ("succeeded",)
    return 0 if all(row["status"] in good for row in rows) else 1


def _period(text: str, timezone: str, now: float) -> tuple[int, int]:
    """The minutes of FROM..TO, both included; whole days in the zone where dates are given."""
    first, dots, last = text.partition("..")
    if not dots or not first or not last:
        raise CronsembleError(f"{text}: type the first and the last day, e.g. 2026-11-01..2026-11-20")
    low, high = minutes(first, timezone, now, "FROM")[0], minutes(last, timezone, now, "TO")[1]
    if high < low:
        raise CronsembleError(f"{text}: it ends before it begins: type {last}..{first}")
    if low * 60 > now:
        raise CronsembleError(f"{text}: it lies in the future: slots that are still to come run by themselves")
    return low, high


def _print_gaps(found: list[backfill.Gap], as_json: bool) -> int:
    if as_json:
        slots = [{"slot": gap.slot, "task": gap.run.task, "run": str(gap.run), "why": gap.why} for gap in found]
        print(json.dumps({"slots": slots}, indent=1))
        return 0
    for gap in found:
        print(f"{gap.slot} {gap.run.task}: {gap.why}; would be {gap.run}")
    print(f"slots to make up for: {len(found)}" if found else "nothing to make up for: every slot has succeeded or is at work")
    return 0
