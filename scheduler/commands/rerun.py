"""The command `rerun`."""

from __future__ import annotations

import json
import sys
import tempfile

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.contract import Status
from jobs.store import Run
from scheduler.commands.engine_choice import RunOptions, StopSignals, check_cluster_options, open_engine
from scheduler.commands.options import (
    DEFAULT_FILE,
    AsJson,
    Context,
    ExperimentName,
    File,
    Jobs,
    Kubeconfig,
    Namespace,
    OnCluster,
    StoreFolder,
    WaitOrDetach,
)
from scheduler.console.run_display import run_display
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget
from scheduler.rerun import compare, execute, selection
from scheduler.rerun import plan as repeats
from scheduler.rerun.verdict import CHANGED, describe
from scheduler.stores import find_run
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace


def rerun_runs(
    workspace: Workspace,
    what: str,
    *,
    task: str | None,
    reuse: bool,
    current: bool,
    dry_run: bool,
    tolerance: float,
    as_json: bool,
    options: RunOptions,
    signals: StopSignals,
) -> ExitStatus:
    """Repeat the runs that ``what`` names; an error if something is missing or failed, CHANGES if a result changed."""
    originals = selection.originals(workspace.store, workspace.name, what, task)
    if workspace.config_problem and not current:
        print(f"{workspace.config_problem}\ngoing on from what {workspace.store.root} kept", file=sys.stderr)
    experiment = workspace.require_experiment("--with-current-config") if current else None
    with (
        run_display(on_stderr=as_json) as display,
        open_engine(workspace, display, options, signals) as engine,
    ):
        plan = None if experiment else repeats.plan(workspace.store, originals, reuse, engine.problems)
        if plan is not None:
            for each in plan.repeats:
                for note in each.notes:
                    print(f"{each.original.id}: {note}", file=sys.stderr)
        if dry_run:
            return _print_plan(originals, plan, as_json)
        if plan is not None and plan.missing:
            raise CronsembleError(
                "\n".join([*plan.missing, "nothing was started: `cronsemble rerun --dry-run` shows the whole plan"])
            )
        with tempfile.TemporaryDirectory(prefix="cronsemble-") as empty:
            if plan is not None:
                work = execute.exact_work(engine, plan, Path(empty))
            else:
                assert experiment is not None
                work = execute.current_work(experiment, originals, engine, reuse)
            outcomes = execute.execute(engine, work, tolerance)
    told = [each.as_json() for each in outcomes]
    if as_json:
        print(json.dumps({"experiment": workspace.name, "runs": told}, indent=1))
    else:
        _print_verdicts(told)
    if engine.stopped:
        print("interrupted; the same command starts again" if not engine.outlives else "interrupted", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    if any(not options.is_success(each["status"]) for each in _flat(told) if each["run"]):
        return ExitStatus.ERROR
    return _changes(told)


def _flat(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outcomes, and those of their members."""
    return [inner for each in told for inner in (each, *each.get("members", {}).values())]


def _changes(told: list[dict[str, Any]]) -> ExitStatus:
    return ExitStatus.CHANGES if any(each["verdict"] == CHANGED for each in _flat(told)) else ExitStatus.DONE


def judge_repeat(workspace: Workspace, what: str, tolerance: float, as_json: bool) -> ExitStatus:
    """The verdict on a repeat that was left at work; it is kept beside it."""
    run = find_run.find_run(workspace.store, workspace.name, what)
    original = compare.repeated_run(run)
    if original is None:
        why = (
            "it is still at work"
            if run.status == Status.RUNNING
            else f"it {run.status}"
            if not run.record
            else "it repeats no run"
        )
        raise CronsembleError(f"{run.id}: {why}: there is nothing to compare")
    (outcome,) = compare.compare_repeats(workspace.store, [run], tolerance)
    for each in (*outcome.members.values(), outcome):
        if each.run is not None and each.run.id != each.original:
            compare.store_verdict(workspace.store, each, tolerance, lambda text: print(text, file=sys.stderr))
    told = [outcome.as_json()]
    if as_json:
        print(json.dumps({"experiment": workspace.name, "runs": told}, indent=1))
    else:
        _print_verdicts(told)
    return _changes(told)


def _print_verdicts(told: list[dict[str, Any]]) -> None:
    for each in told:
        for name, member in each.get("members", {}).items():
            print(f"{name}: {_runs_text(member)}{describe(member)}")
        print(f"{_runs_text(each)}{describe(each)}")


def _runs_text(told: dict[str, Any]) -> str:
    run, original = told["run"], told["repeats"]
    if run is None or original is None:
        return f"{run or original}: " if run or original else ""
    return f"{run}, taken again: " if run == original else f"{run} repeats {original}: "


def _print_plan(originals: list[Run], plan: repeats.RerunPlan | None, as_json: bool) -> ExitStatus:
    """What would run, and what of it is missing; an error if anything is."""
    rows: list[dict[str, Any]]
    if plan is None:
        rows = [{"repeats": str(run.id), "task": run.id.task, "in": "today's configuration", "missing": []} for run in originals]
    else:
        rows = [
            {
                "repeats": str(each.original.id),
                "task": each.original.id.task,
                "in": each.environment.get("image") or each.environment.get("python") or "",
                "missing": list(each.missing),
                "notes": list(each.notes),
                "members": {name: str(taken) for name, taken in each.members.items()},
            }
            for each in plan.repeats
        ]
    missing = sum(len(row["missing"]) for row in rows)
    if as_json:
        print(json.dumps({"runs": rows, "missing": missing}, indent=1))
        return ExitStatus.ERROR if missing else ExitStatus.DONE
    for row in rows:
        print(f"{row['repeats']} again, in {row['in'] or 'what is not known'}")
        for problem in row["missing"]:
            print(f"  missing: {problem}")
        for name, taken in row.get("members", {}).items():
            model = "its archived model" if plan is not None and plan.reuse else "the model trained again"
            print(f"  {name}: {taken if ' ' in taken else f'{model} of {taken}'}")
    print(f"runs: {len(rows)}; missing: {missing or 'nothing'}")
    return ExitStatus.ERROR if missing else ExitStatus.DONE


def rerun(
    what: Annotated[
        str,
        typer.Argument(help="A date or time in the experiment's zone (2026-11-20, 2026-11-20T06:00Z), FROM..TO, or a run."),
    ],
    file: File = DEFAULT_FILE,
    task: Annotated[str | None, typer.Option(help="The runs of this task, instead of the ensemble's.")] = None,
    reuse_models: Annotated[bool, typer.Option("--reuse-models", help="Take the archived models; train nothing.")] = False,
    with_current_config: Annotated[
        bool, typer.Option("--with-current-config", help="Ask what today's configuration would have said.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run and what is missing.")] = False,
    verdict: Annotated[bool, typer.Option("--verdict", help="Make nothing: judge this repeat, which was left at work.")] = False,
    tolerance: Annotated[float, typer.Option(min=0.0, help="The largest difference that is still equal.")] = 1e-6,
    jobs: Jobs = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
    as_json: AsJson = False,
    on_cluster: OnCluster = False,
    wait: WaitOrDetach = True,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Repeat a dated run exactly, and compare the results. Example: cronsemble rerun 2026-11-20"""
    target = ClusterTarget(kubeconfig, context, namespace)
    if not on_cluster and not verdict:
        check_cluster_options(wait, target)
    with (
        StopSignals() as signals,
        open_workspace(locate(file, store, experiment, target), through_cluster=on_cluster or verdict) as workspace,
    ):
        if verdict:
            raise typer.Exit(judge_repeat(workspace, what, tolerance, as_json))
        code = rerun_runs(
            workspace,
            what,
            task=task,
            reuse=reuse_models,
            current=with_current_config,
            dry_run=dry_run,
            tolerance=tolerance,
            as_json=as_json,
            options=RunOptions(on_cluster, wait, jobs),
            signals=signals,
        )
    raise typer.Exit(code)
