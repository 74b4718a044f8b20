"""The command `plan`."""

from __future__ import annotations

from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated

import typer

from scheduler.commands.heartbeat_session import print_planned_checks
from scheduler.commands.options import DEFAULT_FILES, AsJson, Context, Files, ForceConflicts, Kubeconfig, Namespace
from scheduler.commands.plan_session import open_reconciler, print_plan
from scheduler.exit_status import ExitStatus
from scheduler.kube import permissions
from scheduler.kube.target import ClusterTarget
from scheduler.sync import describe
from scheduler.sync import plan as plans


def show_plan(
    files: list[Path], target: ClusterTarget, force: bool, as_json: bool, detailed: bool, out: Path | None
) -> ExitStatus:
    """Print what a sync of these files would do, and save it to ``out``.

    Returns the exit code: 0, or with ``detailed`` 2 where there is something to do. Raises CronsembleError.
    """
    reconciler = open_reconciler(files, target, force)
    with reconciler.api, permissions.explain_denials(reconciler.api, reconciler.namespaces, reading=True):
        plan = reconciler.plan()
        if not as_json:
            print_plan(plan)
        checks = False if as_json else print_planned_checks(reconciler)
    if out is not None:
        plans.save(plan, out)
    if as_json:
        print(describe.as_json(plan))
    elif out is not None:
        print(f"saved; next: cronsemble sync --plan {out}")
    return ExitStatus.DIFFERS if detailed and (plan.actions or checks) else ExitStatus.DONE


def plan(
    file: Files = DEFAULT_FILES,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Save the plan, for `sync --plan`.")] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 where there is something to do.")
    ] = False,
    force_conflicts: ForceConflicts = False,
    as_json: AsJson = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what `sync` would change on the cluster. Example: cronsemble plan -f config.yaml"""
    from scheduler.kube.target import ClusterTarget

    target = ClusterTarget(kubeconfig, context, namespace)
    raise typer.Exit(show_plan(file, target, force_conflicts, as_json, detailed_exitcode, out))
