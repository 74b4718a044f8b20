"""The command `sync`."""

from __future__ import annotations

from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.commands.options import DEFAULT_FILES, Context, Files, Force, Kill, Kubeconfig, Namespace, Wait, Yes, _seconds
from scheduler.commands.plan_session import (
    Flags,
    _confirm,
    _make_namespaces,
    finish,
    open_session,
    print_plan,
    refuse,
    run_plan,
    say,
)
from scheduler.kube import permissions
from scheduler.kube.client import Api
from scheduler.kube.target import ClusterTarget
from scheduler.signals import stopped_by_terminate
from scheduler.sync import plan as plans
from scheduler.sync import reconcile
from scheduler.sync.plan import Plan
from scheduler.sync.reconcile import Session, Stale

if TYPE_CHECKING:
    pass


def sync_files(files: list[Path], target: ClusterTarget, flags: Flags) -> int:
    """`sync`: 0 when the cluster is as the configuration says, 1 otherwise."""
    session = open_session(files, target, flags.force_conflicts)
    with session.api, permissions.explained(session.api, session.namespaces):
        plan = session.plan()
        print_plan(plan, flags)
        refuse(plan, flags)
        if not plan.actions:
            return 0
        _confirm(plan, flags)
        with stopped_by_terminate():
            return _sync(session, plan, flags)


def _sync(session: Session, shown: Plan, flags: Flags) -> int:
    rest = _make_namespaces(session.api, shown)
    with reconcile.leases(session.api, reconcile.touched(rest), flags.wait, say) as held:
        plan = session.plan()
        if not plan.same_work(rest):
            print("the cluster has changed meanwhile; this is the plan now:")
            print_plan(plan, flags)
            refuse(plan, flags)
            if not reconcile.touched(plan) <= set(held):
                raise Stale("a namespace has to be changed whose Lease is not held: sync again")
            _confirm(plan, flags)
        return finish(run_plan(session.api, plan, held))


def sync_saved(path: Path, target: ClusterTarget, flags: Flags) -> int:
    """`sync --plan`: exactly that plan, or nothing."""
    plan = plans.load(path)
    api = Api(target.access())
    print_plan(plan, flags)
    refuse(plan, flags)
    if not plan.actions:
        return 0
    with api, permissions.explained(api, plan.namespaces), stopped_by_terminate():
        reconcile.check_saved(api, plan)
        _confirm(plan, flags)
        rest = _make_namespaces(api, plan)
        with reconcile.leases(api, reconcile.touched(rest), flags.wait, say) as held:
            reconcile.check_saved(api, rest)
            return finish(run_plan(api, rest, held))


def sync(
    file: Files = DEFAULT_FILES,
    saved: Annotated[Path | None, typer.Option("--plan", help="Execute this saved plan, and refuse if it is stale.")] = None,
    yes: Yes = False,
    force_conflicts: Force = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Remove the last CronJob of an experiment too.")] = False,
    kill_running: Kill = False,
    create_namespace: Annotated[bool, typer.Option("--create-namespace", help="Make the namespace if it is not there.")] = False,
    downgrade: Annotated[bool, typer.Option("--downgrade", help="Sync what a newer cronsemble has synced.")] = False,
    wait: Wait = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make the cluster what the configuration says. Example: cronsemble sync -f config.yaml"""
    from scheduler.commands.plan_session import Flags
    from scheduler.kube.target import ClusterTarget

    flags = Flags(yes, allow_empty, kill_running, force_conflicts, downgrade, create_namespace, _seconds(wait))
    target = ClusterTarget(kubeconfig, context, namespace)
    raise typer.Exit(sync_saved(saved, target, flags) if saved else sync_files(file, target, flags))
