"""The command `backfill`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated

import typer

from cronjobs.experiment import Experiment
from jobs.contract import ENSEMBLE_TASK, Status
from jobs.store import Run
from scheduler.commands.completion import complete_dates
from scheduler.commands.engine_choice import RunOptions, StopSignals, check_cluster_options, open_engine
from scheduler.commands.options import (
    DEFAULT_FILE,
    AsJson,
    Context,
    DryRun,
    File,
    Jobs,
    Kubeconfig,
    Namespace,
    OnCluster,
    OnlyTasks,
    StoreFolder,
    WaitOrDetach,
)
from scheduler.console.json_output import print_json
from scheduler.console.messages import print_line
from scheduler.console.run_display import run_display
from scheduler.engines.base import Engine
from scheduler.engines.manual_run import store_context
from scheduler.engines.run_spec import runtimes_of
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget, server_time
from scheduler.rerun.backfill import Gap, fill, gaps
from scheduler.stores.location import StoreLocation, locate
from scheduler.stores.workspace import open_workspace
from scheduler.times import Period, parse_slots


def backfill_slots(
    location: StoreLocation,
    period: str,
    tasks: list[str],
    dry_run: bool,
    parallel: int,
    as_json: bool,
    options: RunOptions,
    signals: StopSignals,
) -> ExitStatus:
    """Run the slots of a period that never ran or failed; an error if any of these runs did not succeed."""
    experiment = location.require_experiment()
    now = server_time(location.target) if options.on_cluster else time.time()
    periods = parse_past_slots(period, experiment.timezone, now)
    with open_workspace(location, through_cluster=options.on_cluster, may_be_new=True) as workspace:
        missing = [gap for minutes in periods for gap in gaps(workspace.store, experiment, *minutes, now, tasks)]
        if dry_run or not missing:
            _print_gaps(missing, as_json)
            return ExitStatus.DONE
        with run_display(on_stderr=as_json) as display, open_engine(workspace, display, options, signals) as engine:
            display.expect(len(missing))
            rows = _fill(engine, experiment, missing, parallel, display.degraded)
        _print_rows(rows, experiment.name, as_json)
    if engine.stopped:
        print("interrupted; the same command goes on with the slots that are left", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    return ExitStatus.DONE if all(options.is_success(row["status"]) for row in rows) else ExitStatus.ERROR


def _fill(
    engine: Engine, experiment: Experiment, missing: list[Gap], parallel: int, degraded_reason: Callable[[Run], str]
) -> list[dict[str, str]]:
    """Make the runs; for each slot a row of what became of it."""
    context = store_context(engine, experiment)
    runtimes = engine.runtimes(experiment, runtimes_of(context, {gap.run.task for gap in missing}))
    rows = []
    for gap, run, problem in fill(engine, context, missing, runtimes, parallel):
        status, reason = ("not started", problem) if run is None else (str(run.status), run.reason)
        degraded = "" if run is None else degraded_reason(run)
        row = {"slot": gap.slot, "task": gap.run.task, "run": str(gap.run), "status": status, "reason": reason}
        rows.append({**row, "degraded": degraded, "refused": "" if run is None else run.refused})
    return rows


def _print_rows(rows: list[dict[str, str]], experiment: str, as_json: bool) -> None:
    if as_json:
        print_json({"experiment": experiment, "slots": rows})
    for row in rows:
        if not as_json and row["status"] == Status.SUCCEEDED and row["task"] == ENSEMBLE_TASK:
            outcomes = [f"{name}: {row[name]}" for name in ("refused", "degraded") if row[name]]
            print_line(", ".join([f"{row['slot']}: archived", *outcomes]))
        elif row["status"] not in (Status.SUCCEEDED, Status.RUNNING):
            print_line(f"{row['run']}: {row['status']}{': ' if row['reason'] else ''}{row['reason']}", sys.stderr)


def parse_past_slots(text: str, timezone: str, now: float) -> tuple[Period, ...]:
    """The minutes of a date or of FROM..TO, both included, that have at least begun; raises CronsembleError."""
    periods = parse_slots(text, timezone, now, "")
    if periods[0].first < 0:
        raise CronsembleError(f"{text}: slots are counted from 1970 on: type a later beginning")
    if periods[0].first * 60 > now:
        raise CronsembleError(f"{text}: it lies in the future: slots that are still to come run by themselves")
    return periods


def _print_gaps(missing: list[Gap], as_json: bool) -> None:
    if as_json:
        slots = [{"slot": gap.slot, "task": gap.run.task, "run": str(gap.run), "why": gap.why} for gap in missing]
        print_json({"slots": slots})
        return
    for gap in missing:
        print_line(f"{gap.slot} {gap.run.task}: {gap.why}; would be {gap.run}")
    print(f"slots to run: {len(missing)}" if missing else "nothing to run: every slot has succeeded or is running")


def backfill(
    period: Annotated[
        str,
        typer.Argument(
            metavar="DATE|FROM..TO",
            help="A date (2026-11-20, yesterday), or two dates or times: 2026-11-01..2026-11-20.",
            autocompletion=complete_dates,
        ),
    ],
    file: File = DEFAULT_FILE,
    task: OnlyTasks = None,
    dry_run: DryRun = False,
    parallel: Annotated[int, typer.Option(min=1, help="How many runs are made at a time.")] = 1,
    jobs: Jobs = None,
    as_json: AsJson = False,
    on_cluster: OnCluster = False,
    wait: WaitOrDetach = True,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Run the slots that never ran or failed. Example: cronsemble backfill 2026-11-01..2026-11-20 --dry-run"""
    target = ClusterTarget(kubeconfig, context, namespace)
    if not on_cluster:
        check_cluster_options(wait, target)
    options = RunOptions(on_cluster, wait, jobs)
    with StopSignals() as signals:
        location = locate(file, store, None, target)
        code = backfill_slots(location, period, task or [], dry_run, parallel, as_json, options, signals)
    raise typer.Exit(code)
