"""The command `backfill`."""

from __future__ import annotations

import json
import sys
import time

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from cronjobs.experiment import Experiment
from jobs.contract import ENSEMBLE_TASK, Status
from jobs.store import Store
from scheduler.commands.engine_choice import ClusterRun, OnCluster, WaitOrDetach, cluster_run, open_engine, open_for_runs
from scheduler.commands.options import DEFAULT_FILE, AsJson, Context, File, Kubeconfig, Namespace, StoreFolder
from scheduler.config import load
from scheduler.console.run_display import run_display
from scheduler.engines.manual_run import store_context
from scheduler.engines.run_spec import runtimes_of
from scheduler.errors import CronsembleError
from scheduler.rerun.backfill import Gap, fill, gaps
from scheduler.times import parse_period


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
    cluster: ClusterRun | None = None,
) -> int:
    """Make up for the slots of a period; 0, 1 if any did not succeed, 130 if it was stopped."""
    experiment, now = load(file), time.time()
    with open_for_runs(file, folder, None, cluster) as place:
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
    cluster: ClusterRun | None,
) -> int:
    low, high = _period(period, experiment.timezone, now)
    found = gaps(store, experiment, low, high, now, tasks)
    if dry_run or not found:
        return _print_gaps(found, as_json)
    rows = []
    with run_display(on_stderr=as_json) as watcher, open_engine(store, experiment, watcher, jobs, cluster) as engine:
        context = store_context(engine, experiment)
        names = {name for gap in found for name in runtimes_of(context, gap.run.task)}
        runtimes = engine.runtimes(experiment, names)
        for gap, run in fill(engine, context, found, runtimes, parallel):
            status = "not started" if run is None else run.status
            reason = "" if run is None else run.reason
            rows.append({"slot": gap.slot, "task": gap.run.task, "run": str(gap.run), "status": status, "reason": reason})
    if as_json:
        print(json.dumps({"experiment": experiment.name, "slots": rows}, indent=1))
    for row in rows:
        if not as_json and row["status"] == Status.SUCCEEDED and row["task"] == ENSEMBLE_TASK:
            print(f"{row['slot']}: archived")
        elif row["status"] not in (Status.SUCCEEDED, Status.RUNNING):
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
    low, high = parse_period(first, timezone, now, "FROM")[0], parse_period(last, timezone, now, "TO")[1]
    if high < low:
        raise CronsembleError(f"{text}: it ends before it begins: type {last}..{first}")
    if low * 60 > now:
        raise CronsembleError(f"{text}: it lies in the future: slots that are still to come run by themselves")
    return low, high


def _print_gaps(found: list[Gap], as_json: bool) -> int:
    if as_json:
        slots = [{"slot": gap.slot, "task": gap.run.task, "run": str(gap.run), "why": gap.why} for gap in found]
        print(json.dumps({"slots": slots}, indent=1))
        return 0
    for gap in found:
        print(f"{gap.slot} {gap.run.task}: {gap.why}; would be {gap.run}")
    print(f"slots to make up for: {len(found)}" if found else "nothing to make up for: every slot has succeeded or is at work")
    return 0


def backfill(
    period: Annotated[
        str, typer.Argument(metavar="FROM..TO", help="Dates or times, both included, e.g. 2026-11-01..2026-11-20.")
    ],
    file: File = DEFAULT_FILE,
    task: Annotated[list[str] | None, typer.Option(help="Only this task (repeat for more).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the slots and why each is made up for.")] = False,
    parallel: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="CPUs to use; all by default.")] = None,
    as_json: AsJson = False,
    on_cluster: OnCluster = False,
    wait: WaitOrDetach = True,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Run the slots that never ran or failed. Example: cronsemble backfill 2026-11-01..2026-11-20 --dry-run"""

    code = backfill_slots(
        file,
        period,
        tasks=task or [],
        dry_run=dry_run,
        parallel=parallel,
        jobs=jobs,
        as_json=as_json,
        folder=store,
        cluster=cluster_run(on_cluster, wait, file, store, kubeconfig, context, namespace),
    )
    raise typer.Exit(code)
