"""The command `delete`."""

from __future__ import annotations

from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated

import typer

from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    File,
    KillRunning,
    Kubeconfig,
    Namespace,
    WaitForLease,
    Yes,
    parse_wait,
)
from scheduler.commands.plan_session import SyncFlags, print_outcome, print_plan, print_progress, raise_refusals, run_plan
from scheduler.config import load
from scheduler.config.namespace import in_namespace
from scheduler.console.prompts import confirm
from scheduler.errors import CronsembleError
from scheduler.kube import permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.target import ClusterTarget
from scheduler.signals import stopped_by_terminate
from scheduler.sync import delete as removal
from scheduler.sync import reconcile


def delete_experiment(name: str | None, file: Path, target: ClusterTarget, purge: bool, flags: SyncFlags) -> int:
    """Of the experiment named, in the namespace given; or of the configuration's."""
    if name is None:
        experiment = in_namespace(load(file), target.namespace)
        name, namespace = experiment.name, experiment.cluster["namespace"]
    elif target.namespace is None:
        raise CronsembleError(f"delete {name}: say in which namespace: --namespace NAME")
    else:
        namespace = target.namespace
    api = KubeClient(target.access())
    with api, permissions.explain_denials(api, [namespace]), stopped_by_terminate():
        plan = removal.plan_removal(api, namespace, name, purge)
        print_plan(plan, flags)
        if not plan.actions:
            return 0
        raise_refusals(plan, flags)
        confirm(f"This removes experiment {name} from namespace {namespace}; its store stays.", flags.yes)
        with reconcile.leases(api, [namespace], flags.wait, print_progress) as held:
            again = removal.plan_removal(api, namespace, name, purge)
            raise_refusals(again, flags)
            if not {action.key for action in again.actions} <= {action.key for action in plan.actions}:
                raise reconcile.StalePlan("the cluster has changed meanwhile: delete again")
            return print_outcome(run_plan(api, again, held, "delete"))


def delete(
    experiment: Annotated[str | None, typer.Argument(help="An experiment's name; the configuration's by default.")] = None,
    file: File = DEFAULT_FILE,
    yes: Yes = False,
    kill_running: KillRunning = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its revisions too.")] = False,
    wait: WaitForLease = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Remove an experiment from the cluster, but never its store. Example: cronsemble delete digits -n experiments"""
    from scheduler.commands.plan_session import SyncFlags
    from scheduler.kube.target import ClusterTarget

    flags = SyncFlags(yes=yes, kill_running=kill_running, wait=parse_wait(wait))
    raise typer.Exit(delete_experiment(experiment, file, ClusterTarget(kubeconfig, context, namespace), purge, flags))
