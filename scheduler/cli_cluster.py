"""The commands that need a cluster: options and help alone."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from scheduler.options import DEFAULT_FILE, DEFAULT_FILES, AsJson, Context, File, Files, Kubeconfig, Namespace

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before objects are removed.")]
Force = Annotated[bool, typer.Option("--force-conflicts", help="Take fields that others own, and what kubectl applied.")]
Wait = Annotated[str | None, typer.Option("--wait", help="How long to wait for another sync to end, e.g. 2m.")]
Tasks = Annotated[list[str] | None, typer.Argument(help="Tasks, e.g. train-jax or ensemble; all by default.")]
Kill = Annotated[bool, typer.Option("--kill-running", help="Remove CronJobs whose Jobs are running, and so end these.")]


def plan(
    file: Files = DEFAULT_FILES,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Save the plan, for `sync --plan`.")] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 where there is something to do.")
    ] = False,
    force_conflicts: Force = False,
    as_json: AsJson = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what `sync` would change on the cluster. Example: cronsemble plan -f config.yaml"""
    from scheduler.cluster.commands import show_plan
    from scheduler.cluster.reconcile import Target

    target = Target(kubeconfig, context, namespace)
    raise typer.Exit(show_plan(file, target, force_conflicts, as_json, detailed_exitcode, out))


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
    from scheduler.cluster.commands import Flags, sync_saved
    from scheduler.cluster.commands import sync as run
    from scheduler.cluster.reconcile import Target

    flags = Flags(yes, allow_empty, kill_running, force_conflicts, downgrade, create_namespace, _seconds(wait))
    target = Target(kubeconfig, context, namespace)
    raise typer.Exit(sync_saved(saved, target, flags) if saved else run(file, target, flags))


def status(
    file: Files = DEFAULT_FILES,
    as_json: AsJson = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show how each task stands on the cluster. Example: cronsemble status --json"""
    from scheduler.cluster.looking import show_status
    from scheduler.cluster.reconcile import Target

    raise typer.Exit(show_status(file, Target(kubeconfig, context, namespace), as_json))


def suspend(
    task: Tasks = None,
    file: File = DEFAULT_FILE,
    force_conflicts: Force = False,
    wait: Wait = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Let tasks rest on the cluster. Example: cronsemble suspend train-theano"""
    from scheduler.cluster.looking import set_suspended
    from scheduler.cluster.reconcile import Target

    target = Target(kubeconfig, context, namespace)
    raise typer.Exit(set_suspended(file, task or [], True, target, force_conflicts, _seconds(wait)))


def resume(
    task: Tasks = None,
    file: File = DEFAULT_FILE,
    force_conflicts: Force = False,
    wait: Wait = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Let suspended tasks fire again. Example: cronsemble resume train-theano"""
    from scheduler.cluster.looking import set_suspended
    from scheduler.cluster.reconcile import Target

    target = Target(kubeconfig, context, namespace)
    raise typer.Exit(set_suspended(file, task or [], False, target, force_conflicts, _seconds(wait)))


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
    from scheduler.cluster.commands import Flags
    from scheduler.cluster.looking import delete as run
    from scheduler.cluster.reconcile import Target

    flags = Flags(yes=yes, kill_running=kill_running, wait=_seconds(wait))
    raise typer.Exit(run(experiment, file, Target(kubeconfig, context, namespace), purge, flags))


def _seconds(duration: str | None) -> float:
    from scheduler.config.keys import Duration

    try:
        return Duration.read(duration) if duration else 0
    except ValueError as error:
        raise typer.BadParameter(f"{duration!r} {error}", param_hint="--wait") from error


def add_to(app: typer.Typer) -> None:
    """Make these commands the app's."""
    for command in (plan, sync, status, suspend, resume, delete):
        app.command()(command)
