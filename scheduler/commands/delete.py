"""The command `delete`."""

from __future__ import annotations

from pathlib import Path

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated

import typer

from scheduler.commands.options import DEFAULT_FILE, Context, File, Kill, Kubeconfig, Namespace, Wait, Yes, _seconds
from scheduler.commands.plan_session import Flags, finish, print_plan, refuse, run_plan, say
from scheduler.config import load
from scheduler.config.namespace import in_namespace
from scheduler.console.prompts import confirm
from scheduler.errors import CronsembleError
from scheduler.kube import permissions
from scheduler.kube.client import Api
from scheduler.kube.target import ClusterTarget
from scheduler.signals import stopped_by_terminate
from scheduler.sync import delete as removal
from scheduler.sync import reconcile


def delete_experiment(name: str | None, file: Path, target: ClusterTarget, purge: bool, flags: Flags) -> int:
    """Of the experiment named, in the namespace given; or of the configuration's."""
    if name is None:
        experiment = in_namespace(load(file), target.namespace)
        name, namespace = experiment.name, experiment.cluster["namespace"]
    elif target.namespace is None:
        raise CronsembleError(f"delete {name}: say in which namespace: --namespace NAME")
    else:
        namespace = target.namespace
    api = Api(target.access())
    with api, permissions.explained(api, [namespace]), stopped_by_terminate():
        plan = removal.plan_removal(api, namespace, name, purge)
        print_plan(plan, flags)
        if not plan.actions:
            return 0
        refuse(plan, flags)
        confirm(f"This removes experiment {name} from namespace {namespace}; its store stays.", flags.yes)
        with reconcile.leases(api, [namespace], flags.wait, say) as held:
            again = removal.plan_removal(api, namespace, name, purge)
            refuse(again, flags)
            if not {action.key for action in again.actions} <= {action.key for action in plan.actions}:
                raise reconcile.Stale("the cluster has changed meanwhile: delete again")
            return finish(run_plan(api, again, held, "delete"))


def delete(
    experiment: Annotated[str | None, typer.Argument(help="An experiment's name; the configuration's by default.")] = None,
    file: File = DEFAULT_FILE,
    yes: Yes = False,
    kill_running: Kill = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its revisions too.")] = False,
    wait: Wait = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Remove an experiment from the cluster, but never its store. Example: cronsemble delete digits -n experiments"""
    from scheduler.commands.plan_session import Flags
    from scheduler.kube.target import ClusterTarget

    flags = Flags(yes=yes, kill_running=kill_running, wait=_seconds(wait))
    raise typer.Exit(delete_experiment(experiment, file, ClusterTarget(kubeconfig, context, namespace), purge, flags))
