"""The command `rerun`."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated, Any

import typer

from jobs.contract import RunId, Status
from jobs.store import Run
from jobs.temporary import TemporaryFolder
from scheduler.commands.completion import complete_runs, complete_tasks
from scheduler.commands.engine_choice import RunOptions, StopSignals, check_cluster_options, open_engine, print_interrupted
from scheduler.commands.options import (
    DEFAULT_FILE,
    NAMES_OF_RUNS,
    AsJson,
    Context,
    DryRun,
    ExperimentName,
    File,
    Jobs,
    Kubeconfig,
    Namespace,
    OnCluster,
    StoreFolder,
    WaitOrDetach,
)
from scheduler.comparison import repeats
from scheduler.comparison.repeats import RepeatOutcome
from scheduler.comparison.verdict import CHANGED, describe, difference_lines, flip_lines
from scheduler.console.json_output import print_json
from scheduler.console.messages import print_line
from scheduler.console.run_display import run_display
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget
from scheduler.rerun import execute, selection
from scheduler.rerun import plan as plans
from scheduler.stores import find_run
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace

_FLIPS = 10
"""Items whose label flipped that are printed of a run."""


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
    """Repeat the runs that ``what`` names, without those that cannot be repeated: each is named on stderr with the reason.

    Returns an error if a run failed, DIFFERS if a result changed. Raises CronsembleError if none can be repeated.
    """
    originals = selection.originals(workspace.store, workspace.name, what, task, workspace.timezone)
    if workspace.config_problem and not current:
        print(f"{workspace.config_problem}\nonly the store is used: {workspace.store.root}", file=sys.stderr)
    experiment = workspace.require_experiment("--with-current-config") if current else None
    with (
        run_display(on_stderr=as_json) as display,
        open_engine(workspace, display, options, signals, is_dry_run=dry_run) as engine,
    ):
        plan = None if experiment else plans.plan(workspace.store, originals, reuse, engine.problems)
        if plan is not None:
            problems = plan.problems()
            for repeat in plan.repeats:
                for note in repeat.notes:
                    print_line(f"{repeat.original.id}: {note}", sys.stderr)
        else:
            assert experiment is not None
            current_problems = {run.id: execute.current_problem(experiment, run, reuse) for run in originals}
            problems = {run: [problem] for run, problem in current_problems.items() if problem}
        left = [run for run in originals if run.id not in problems]
        if dry_run:
            return _print_plan(originals, plan, problems, as_json)
        lines = [f"{run.id}: left out: {problem}" for run in originals for problem in problems.get(run.id, ())]
        if not left:
            raise CronsembleError(*lines, "nothing was started: `cronsemble rerun --dry-run` shows the whole plan")
        for line in lines:
            print_line(line, sys.stderr)
        with TemporaryFolder("rerun") as empty:
            if plan is not None:
                work = execute.exact_work(engine, plan.possible([run.id for run in left]), empty)
            else:
                assert experiment is not None
                work = execute.current_work(experiment, left, engine, reuse)
            number = len(work.trainings) + len(work.ensembles)
            if len(left) > 1:
                display.expect(number)
            outcomes = execute.execute(engine, work, tolerance)
    _print_outcomes(outcomes, workspace.name, as_json)
    rows = [outcome.as_json() for outcome in outcomes]
    if engine.stopped:
        return print_interrupted(engine)
    if any(not options.is_success(row["status"]) for row in _with_members(rows) if row["run"]):
        return ExitStatus.ERROR
    return _status_of(rows)


def print_verdict(workspace: Workspace, name: str, tolerance: float, as_json: bool) -> ExitStatus:
    """Compare a repeat that has ended meanwhile with its original; store the verdict beside it, and print it."""
    run = find_run.find_run(workspace.store, workspace.name, name, timezone=workspace.timezone)
    if repeats.repeated_run(run) is None:
        if run.status == Status.RUNNING:
            reason = "it is still running"
        else:
            reason = "it repeats no run" if run.record else f"its status is {run.status}"
        raise CronsembleError(f"{run.id}: {reason}: there is nothing to compare")
    outcome = repeats.compare_repeat(workspace.store, run, tolerance)
    for repeat in (*outcome.members.values(), outcome):
        if repeat.run is not None and repeat.run.id != repeat.original:
            repeats.store_verdict(workspace.store, repeat, tolerance, lambda text: print_line(text, sys.stderr))
    _print_outcomes([outcome], workspace.name, as_json)
    return _status_of([outcome.as_json()])


def _with_members(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and those of their members."""
    return [inner for row in rows for inner in (row, *row.get("members", {}).values())]


def _status_of(rows: list[dict[str, Any]]) -> ExitStatus:
    return ExitStatus.DIFFERS if any(row["verdict"] == CHANGED for row in _with_members(rows)) else ExitStatus.DONE


def _print_outcomes(outcomes: Sequence[RepeatOutcome], experiment: str, as_json: bool) -> None:
    if as_json:
        print_json({"experiment": experiment, "runs": [outcome.as_json() for outcome in outcomes]})
        return
    for outcome in outcomes:
        row = outcome.as_json()
        for name, member in row.get("members", {}).items():
            print_line(f"{name}: {_runs_text(member)}{describe(member)}")
        print_line(f"{_runs_text(row)}{describe(row)}")
        run = outcome.original or (outcome.run.id if outcome.run else None)
        for line in difference_lines(row, run.task if run else ""):
            print_line(f"  differs: {line}")
        for line in flip_lines(row, _FLIPS):
            print_line(f"  flipped: {line}")


def _runs_text(row: dict[str, Any]) -> str:
    run, original = row["run"], row["repeats"]
    if run is None or original is None:
        return f"{run or original}: " if run or original else ""
    return f"{run}, used again: " if run == original else f"{run} repeats {original}: "


def _print_plan(
    originals: list[Run], plan: plans.RerunPlan | None, problems: Mapping[RunId, list[str]], as_json: bool
) -> ExitStatus:
    """What would run, and what would be left out for which ``problems``; an error if nothing would run."""
    rows: list[dict[str, Any]]
    if plan is None:
        rows = [
            {"repeats": str(run.id), "task": run.id.task, "in": "today's configuration", "missing": problems.get(run.id, [])}
            for run in originals
        ]
    else:
        rows = [
            {
                "repeats": str(repeat.original.id),
                "task": repeat.original.id.task,
                "in": repeat.environment.get("image") or repeat.environment.get("python") or "",
                "missing": problems.get(repeat.original.id, []),
                "notes": list(repeat.notes),
                "members": {name: str(model) for name, model in repeat.members.items()},
            }
            for repeat in plan.repeats
        ]
    left = [run.id for run in originals if run.id not in problems]
    possible = set(map(str, left if plan is None else (repeat.original.id for repeat in plan.possible(left).repeats)))
    rows = [{**row, "left_out": row["repeats"] not in possible} for row in rows]
    status = ExitStatus.DONE if left else ExitStatus.ERROR
    missing = sum(len(row["missing"]) for row in rows)
    if as_json:
        print_json({"runs": rows, "missing": missing})
        return status
    for row in rows:
        print_line(f"{row['repeats']} {'left out' if row['left_out'] else 'again'}, in {row['in'] or 'an unknown runtime'}")
        for problem in row["missing"]:
            print_line(f"  missing: {problem}")
        for name, model in row.get("members", {}).items():
            source = "its archived model" if plan is not None and plan.reuse else "the model trained again"
            print_line(f"  {name}: {model if ' ' in model else f'{source} of {model}'}")
    left_out = f"; {len(rows) - len(possible)} left out" if len(possible) < len(rows) else ""
    print(f"runs: {len(possible)}{left_out}; missing: {missing or 'nothing'}")
    return status


def rerun(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FROM..TO", help=f"The runs: {NAMES_OF_RUNS}, or a period FROM..TO.", autocompletion=complete_runs
        ),
    ],
    file: File = DEFAULT_FILE,
    task: Annotated[
        str | None, typer.Option(help="The runs of this task, instead of the ensemble's.", autocompletion=complete_tasks)
    ] = None,
    reuse_models: Annotated[bool, typer.Option("--reuse-models", help="Use the archived models; train nothing.")] = False,
    with_current_config: Annotated[
        bool, typer.Option("--with-current-config", help="Run today's configuration, code and data in the old slots.")
    ] = False,
    dry_run: DryRun = False,
    verdict: Annotated[
        bool, typer.Option("--verdict", help="Run nothing: compare this repeat, which has ended meanwhile, with its original.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="The largest difference of a probability that counts as equal.")
    ] = 1e-6,
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
    if not math.isfinite(tolerance):
        raise typer.BadParameter(f"{tolerance} is no difference: type a number, e.g. 1e-6", param_hint="--tolerance")
    if not on_cluster and not verdict:
        check_cluster_options(wait, target)
    with (
        StopSignals() as signals,
        open_workspace(locate(file, store, experiment, target), through_cluster=on_cluster or verdict) as workspace,
    ):
        if verdict:
            raise typer.Exit(print_verdict(workspace, what, tolerance, as_json))
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
