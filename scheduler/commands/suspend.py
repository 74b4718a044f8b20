"""The commands `suspend` and `resume`."""

from __future__ import annotations

from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import typer

from scheduler.commands.heartbeat_session import update_after
from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    File,
    ForceConflicts,
    Kubeconfig,
    Namespace,
    Tasks,
    WaitForLease,
    parse_wait,
)
from scheduler.commands.plan_session import hold_leases
from scheduler.config import load
from scheduler.config.namespace import in_namespace
from scheduler.console.messages import print_line
from scheduler.exit_status import ExitStatus
from scheduler.kube import permissions
from scheduler.kube.client import KubeClient
from scheduler.kube.target import ClusterTarget
from scheduler.sync import suspend as suspension
from scheduler.sync.next_fire import release_text, released_slot


def set_suspended(file: Path, tasks: list[str], value: bool, target: ClusterTarget, force: bool, wait: float) -> ExitStatus:
    """Suspend or resume tasks, by default all, and print which, and before that which past slots start at once; returns 0.

    Args:
        value: whether they are to be suspended.
        force: take a suspension that another field manager owns.
        wait: seconds to wait for the Lease.

    Raises:
        CronsembleError: a task is not there, another manager owns its suspension, or another sync holds the Lease.
    """
    experiment = in_namespace(load(file), target.namespace)
    api = KubeClient(target.access())
    namespace = experiment.cluster.namespace
    state = "suspended" if value else "resumed"
    with api, permissions.explain_denials(api, [namespace]):
        if not suspension.select_cronjobs(api, experiment, tasks, value):
            print(f"nothing to do: {', '.join(tasks) or 'all'} {state} already")
            return update_after(api, experiment.name, namespace, experiment.heartbeat)
        with hold_leases(api, [namespace], wait):
            cronjobs = suspension.select_cronjobs(api, experiment, tasks, value)
            for cronjob in [] if value else cronjobs:
                if fires := released_slot(cronjob, {**cronjob["spec"], "suspend": False}, api.now()):
                    print_line(f"{cronjob['metadata']['name']}: {release_text(fires)}")
            suspension.set_suspended(api, experiment, cronjobs, value, force)
        for cronjob in cronjobs:
            print_line(f"{state}: {cronjob['metadata']['name']}")
        return update_after(api, experiment.name, namespace, experiment.heartbeat)


def suspend(
    task: Tasks = None,
    file: File = DEFAULT_FILE,
    force_conflicts: ForceConflicts = False,
    wait: WaitForLease = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Suspend tasks on the cluster. Example: cronsemble suspend train-theano"""
    from scheduler.kube.target import ClusterTarget

    target = ClusterTarget(kubeconfig, context, namespace)
    raise typer.Exit(set_suspended(file, task or [], True, target, force_conflicts, parse_wait(wait)))


def resume(
    task: Tasks = None,
    file: File = DEFAULT_FILE,
    force_conflicts: ForceConflicts = False,
    wait: WaitForLease = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Resume suspended tasks on the cluster. Example: cronsemble resume train-theano"""
    from scheduler.kube.target import ClusterTarget

    target = ClusterTarget(kubeconfig, context, namespace)
    raise typer.Exit(set_suspended(file, task or [], False, target, force_conflicts, parse_wait(wait)))
