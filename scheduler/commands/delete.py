"""The command `delete`."""

from __future__ import annotations

import sys
from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated, Any

import typer

from scheduler.commands.heartbeat_session import pause_checks
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
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube import permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.revision_configmap import read_revisions
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import StoreLocation, locate
from scheduler.stores.revisions import record_deletion
from scheduler.sync.delete import deleted_state
from scheduler.sync.reconcile import Reconciler


def delete_experiment(name: str | None, file: Path, target: ClusterTarget, purge: bool, flags: SyncFlags) -> ExitStatus:
    """Remove the experiment of this name from the target's namespace; without a name that of the configuration file.

    Raises:
        CronsembleError: no namespace is given, the plan is refused or not confirmed, or an action failed.
    """
    location = locate(file, target=target)
    if name is None:
        experiment = location.require_experiment()
        name, namespace = experiment.name, experiment.cluster.namespace
    elif target.namespace is None:
        raise CronsembleError(f"delete {name}: which namespace? add --namespace NAME")
    else:
        namespace = target.namespace
    state = deleted_state(name, namespace, purge)
    reconciler = Reconciler(KubeClient(target.access()), {namespace: ()}, lambda: [state])
    purpose = Purpose("delete", f"experiment {name} from namespace {namespace}: ", "; its store stays")
    with reconciler.api, permissions.explain_denials(reconciler.api, [namespace]):
        revisions = read_revisions(reconciler.api, namespace, name)
        status = plan_and_execute(reconciler, flags, purpose)
    if status == ExitStatus.DONE:
        engine = f"cluster:{reconciler.api.access.server}/{namespace}"
        record_end(location, name, revisions, engine, reconciler.api.now().timestamp())
        declared = location.experiment
        status = pause_checks(name, declared.heartbeat if declared is not None and declared.name == name else None)
    return status


def record_end(location: StoreLocation, name: str, revisions: list[dict[str, Any]], engine: str, now: float) -> None:
    """Write into the experiment's store that it was deleted; what keeps it from that is printed, and what it means."""
    experiment = location.experiment
    if experiment is None or experiment.name != name:
        problem = f"{location.file} does not declare {name}"
        hint = "`cronsemble delete -f FILE` with its configuration writes it"
    elif not location.is_remote:
        return
    else:
        try:
            record_deletion(location, revisions, engine, now)
        except (CronsembleError, OSError) as error:
            problem, hint = str(error), "`cronsemble delete` again writes it"
        else:
            return
    print(
        f"the store of {name} does not say that it was deleted: {problem}\n"
        f"read without this cluster, its history shows later slots as missed: {hint}",
        file=sys.stderr,
    )


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
