"""The command `rerun`."""

from __future__ import annotations

import json
import sys
import tempfile

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.contract import Status
from jobs.store import Run
from scheduler.commands.engine_choice import ClusterRun, OnCluster, WaitOrDetach, cluster_run, open_engine
from scheduler.commands.options import DEFAULT_FILE, AsJson, Context, ExperimentName, File, Kubeconfig, Namespace, StoreFolder
from scheduler.console.run_display import run_display
from scheduler.errors import CronsembleError
from scheduler.rerun import compare, execute, selection
from scheduler.rerun import plan as repeats
from scheduler.rerun.verdict import CHANGED, describe
from scheduler.stores import find_run
from scheduler.stores.location import StoreLocation


def rerun_runs(
    what: str,
    place: StoreLocation,
    *,
    task: str | None,
    reuse: bool,
    current: bool,
    dry_run: bool,
    tolerance: float,
    jobs: int | None,
    as_json: bool,
    judge: bool = False,
    cluster: ClusterRun | None = None,
) -> int:
    """Repeat the runs that ``what`` names, or with ``judge`` only judge that repeat.

    0, 1 if something is missing or failed, 2 if something changed, 130.
    """
    if judge:
        return _judge(place, what, tolerance, as_json)
    found = selection.originals(place.store, place.name, what, task)
    if place.config_problem and not current:
        print(f"{place.config_problem}\ngoing on from what {place.store.root} kept", file=sys.stderr)
    if current and place.experiment is None:
        raise CronsembleError(
            f"--with-current-config needs a configuration without errors: {place.config_problem or 'give -f FILE'}"
        )
    with (
        run_display(on_stderr=as_json) as watcher,
        open_engine(place.store, place.experiment, watcher, jobs, cluster) as engine,
    ):
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
                work = execute.exact_work(engine, plan, Path(empty))
            else:
                assert place.experiment is not None
                work = execute.current_work(place.experiment, found, engine, reuse)
            outcomes = execute.execute(engine, work, tolerance)
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


def _judge(place: StoreLocation, what: str, tolerance: float, as_json: bool) -> int:
    """The verdict on a repeat that was left at work; it is kept beside it."""
    run = find_run.find_run(place.store, place.name, what)
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
    (outcome,) = compare.compare_repeats(place.store, [run], tolerance)
    for each in (*outcome.members.values(), outcome):
        if each.run is not None and each.run.id != each.original:
            compare.store_verdict(place.store, each, tolerance, lambda text: print(text, file=sys.stderr))
    told = [outcome.as_json()]
    if as_json:
        print(json.dumps({"experiment": place.name, "runs": told}, indent=1))
    else:
        _print_verdicts(told)
    return 2 if any(each["verdict"] == CHANGED for each in (told[0], *told[0].get("members", {}).values())) else 0


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


def _print_plan(found: list[Run], plan: repeats.RerunPlan | None, as_json: bool) -> int:
    """What would run, and what of it is missing; 1 if anything is."""
    rows: list[dict[str, Any]]
    if plan is None:
        rows = [{"repeats": str(run.id), "task": run.id.task, "in": "today's configuration", "missing": []} for run in found]
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


def rerun(
    what: Annotated[
        str, typer.Argument(help="A date (2026-11-20, in the experiment's zone), a slot (2026-11-20T06:00Z) or a run.")
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
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="CPUs to use; all by default.")] = None,
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
    from scheduler.kube.target import ClusterTarget
    from scheduler.stores.location import locate
    from scheduler.stores.open import open_store

    cluster = cluster_run(on_cluster or verdict, wait, file, store, kubeconfig, context, namespace)
    elsewhere = open_store(file, store, experiment, ClusterTarget(kubeconfig, context, namespace)) if cluster else None
    with elsewhere or nullcontext(locate(file, store, experiment)) as place:
        code = rerun_runs(
            what,
            place,
            task=task,
            reuse=reuse_models,
            current=with_current_config,
            dry_run=dry_run,
            tolerance=tolerance,
            jobs=jobs,
            as_json=as_json,
            judge=verdict,
            cluster=cluster,
        )
    raise typer.Exit(code)
