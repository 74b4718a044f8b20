"""The command `sync`."""

from __future__ import annotations

from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated

import typer

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
    SyncFlags,
    confirm_removals,
    create_namespaces,
    open_reconciler,
    print_outcome,
    print_plan,
    print_progress,
    raise_refusals,
    run_plan,
)
from scheduler.kube import permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.target import ClusterTarget
from scheduler.signals import stopped_by_terminate
from scheduler.sync import plan as plans
from scheduler.sync import reconcile
from scheduler.sync.plan import SyncPlan
from scheduler.sync.reconcile import Reconciler, StalePlan


def sync_files(files: list[Path], target: ClusterTarget, flags: SyncFlags) -> int:
    """`sync`: 0 when the cluster is as the configuration says, 1 otherwise."""
    session = open_reconciler(files, target, flags.force_conflicts)
    with session.api, permissions.explain_denials(session.api, session.namespaces):
        plan = session.plan()
        print_plan(plan, flags)
        raise_refusals(plan, flags)
        if not plan.actions:
            return 0
        confirm_removals(plan, flags)
        with stopped_by_terminate():
            return _sync(session, plan, flags)


def _sync(session: Reconciler, shown: SyncPlan, flags: SyncFlags) -> int:
    rest = create_namespaces(session.api, shown)
    with reconcile.leases(session.api, reconcile.changed_namespaces(rest), flags.wait, print_progress) as held:
        plan = session.plan()
        if not plan.same_work(rest):
            print("the cluster has changed meanwhile; this is the plan now:")
            print_plan(plan, flags)
            raise_refusals(plan, flags)
            if not reconcile.changed_namespaces(plan) <= set(held):
                raise StalePlan("a namespace has to be changed whose Lease is not held: sync again")
            confirm_removals(plan, flags)
        return print_outcome(run_plan(session.api, plan, held))


def sync_saved(path: Path, target: ClusterTarget, flags: SyncFlags) -> int:
    """`sync --plan`: exactly that plan, or nothing."""
    plan = plans.load(path)
    api = KubeClient(target.access())
    print_plan(plan, flags)
    raise_refusals(plan, flags)
    if not plan.actions:
        return 0
    with api, permissions.explain_denials(api, plan.namespaces), stopped_by_terminate():
        reconcile.check_saved(api, plan)
        confirm_removals(plan, flags)
        rest = create_namespaces(api, plan)
        with reconcile.leases(api, reconcile.changed_namespaces(rest), flags.wait, print_progress) as held:
            reconcile.check_saved(api, rest)
            return print_outcome(run_plan(api, rest, held))


def sync(
    file: Files = DEFAULT_FILES,
    saved: Annotated[Path | None, typer.Option("--plan", help="Execute this saved plan, and refuse if it is stale.")] = None,
    yes: Yes = False,
    force_conflicts: ForceConflicts = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Remove the last CronJob of an experiment too.")] = False,
    kill_running: KillRunning = False,
    create_namespace: Annotated[bool, typer.Option("--create-namespace", help="Make the namespace if it is not there.")] = False,
    downgrade: Annotated[bool, typer.Option("--downgrade", help="Sync what a newer cronsemble has synced.")] = False,
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
