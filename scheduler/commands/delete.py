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
from scheduler.commands.plan_session import Purpose, SyncFlags, plan_and_execute
from scheduler.config import load
from scheduler.config.namespace import in_namespace
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube import permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.target import ClusterTarget
from scheduler.sync.delete import deleted_state
from scheduler.sync.reconcile import Reconciler


def delete_experiment(name: str | None, file: Path, target: ClusterTarget, purge: bool, flags: SyncFlags) -> ExitStatus:
    """Remove the experiment of this name from the target's namespace; without a name that of the configuration file.

    Raises:
        CronsembleError: no namespace is given, the plan is refused or not confirmed, or an action failed.
    """
    if name is None:
        experiment = in_namespace(load(file), target.namespace)
        name, namespace = experiment.name, experiment.cluster.namespace
    elif target.namespace is None:
        raise CronsembleError(f"delete {name}: which namespace? add --namespace NAME")
    else:
        namespace = target.namespace
    state = deleted_state(name, namespace, purge)
    reconciler = Reconciler(KubeClient(target.access()), {namespace: ()}, lambda: [state])
    purpose = Purpose("delete", f"experiment {name} from namespace {namespace}: ", "; its store stays")
    with reconciler.api, permissions.explain_denials(reconciler.api, [namespace]):
        return plan_and_execute(reconciler, flags, purpose)


def delete(
    experiment: Annotated[
        str | None, typer.Argument(help="The name of the experiment; that of the configuration by default.")
    ] = None,
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
