"""The command `sync`."""

from __future__ import annotations

from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated

import typer

from scheduler.commands.heartbeat_session import update_after_sync
from scheduler.commands.options import (
    DEFAULT_FILES,
    Context,
    Files,
    ForceConflicts,
    KillRunning,
    Kubeconfig,
    Namespace,
    WaitForLease,
    Yes,
    parse_wait,
)
from scheduler.commands.plan_session import (
    Purpose,
    SyncFlags,
    confirm_removals,
    create_namespaces,
    execute_plan,
    hold_leases,
    open_reconciler,
    plan_and_execute,
    print_plan,
    raise_refusals,
)
from scheduler.exit_status import ExitStatus
from scheduler.kube import permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.target import ClusterTarget
from scheduler.sync import describe, reconcile
from scheduler.sync import plan as plans


def sync_files(files: list[Path], target: ClusterTarget, flags: SyncFlags) -> ExitStatus:
    """Make the cluster what these files say; 0 once it is. Raises CronsembleError."""
    reconciler = open_reconciler(files, target, flags.force_conflicts)
    with reconciler.api, permissions.explain_denials(reconciler.api, reconciler.namespaces):
        return plan_and_execute(reconciler, flags, Purpose())


def sync_saved(path: Path, target: ClusterTarget, flags: SyncFlags) -> ExitStatus:
    """Execute exactly this saved plan, or nothing; 0 once it is done. Raises CronsembleError."""
    plan = plans.load(path)
    api = KubeClient(target.access())
    print_plan(plan, flags)
    raise_refusals(plan, flags)
    with api, permissions.explain_denials(api, plan.namespaces):
        if not plan.actions:
            reconcile.check_saved(api, plan)
            return update_after_sync(api, plan)
        for line in describe.new_releases(plan, reconcile.check_saved(api, plan)):
            print(line, flush=True)
        confirm_removals(plan, flags, Purpose())
        rest = create_namespaces(api, plan)
        with hold_leases(api, reconcile.changed_namespaces(rest), flags.wait) as leases:
            reconcile.check_saved(api, rest)
            status = execute_plan(api, rest, leases, "sync")
        return max(status, update_after_sync(api, plan))


def sync(
    file: Files = DEFAULT_FILES,
    saved: Annotated[Path | None, typer.Option("--plan", help="Execute this saved plan, and refuse if it is stale.")] = None,
    yes: Yes = False,
    force_conflicts: ForceConflicts = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Remove the last CronJob of an experiment too.")] = False,
    kill_running: KillRunning = False,
    create_namespace: Annotated[
        bool, typer.Option("--create-namespace", help="Create the namespace if it does not exist.")
    ] = False,
    downgrade: Annotated[bool, typer.Option("--downgrade", help="Sync although a newer cronsemble synced last.")] = False,
    wait: WaitForLease = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make the cluster what the configuration says. Example: cronsemble sync -f config.yaml"""
    from scheduler.commands.plan_session import SyncFlags
    from scheduler.kube.target import ClusterTarget

    flags = SyncFlags(yes, allow_empty, kill_running, force_conflicts, downgrade, create_namespace, parse_wait(wait))
    target = ClusterTarget(kubeconfig, context, namespace)
    raise typer.Exit(sync_saved(saved, target, flags) if saved else sync_files(file, target, flags))
