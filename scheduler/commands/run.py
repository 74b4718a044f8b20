"""The command `run`."""

from __future__ import annotations

import sys
from collections.abc import Callable

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated

import typer

from cronjobs.experiment import Experiment, Member
from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.commands.completion import complete_members
from scheduler.commands.engine_choice import RunOptions, StopSignals, check_cluster_options, open_engine, print_interrupted
from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    File,
    Jobs,
    Kubeconfig,
    Namespace,
    OnCluster,
    StoreFolder,
    WaitOrDetach,
)
from scheduler.console.messages import print_line
from scheduler.console.run_display import run_display
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import StoreLocation, locate
from scheduler.stores.workspace import open_workspace


def run_now(
    location: StoreLocation,
    members: list[str],
    ensemble: bool | None,
    publish: bool,
    skip_unavailable: bool,
    fresh_data: bool,
    options: RunOptions,
    signals: StopSignals,
) -> ExitStatus:
    """Run members and ensemble; an error if any run did not succeed, unless it goes on because of --detach."""
    from scheduler.engines.manual_run import run_members

    experiment = location.require_experiment()
    for name in members:
        if name not in experiment.members:
            raise CronsembleError(f"--member {name}: no such member; there are {', '.join(experiment.members)}")
    chosen = [member for name, member in experiment.members.items() if not members or name in members]
    with_ensemble = experiment.ensemble is not None and (not members if ensemble is None else ensemble)
    with (
        open_workspace(location, through_cluster=options.on_cluster, may_be_new=True) as workspace,
        run_display() as display,
        open_engine(workspace, display, options, signals) as engine,
    ):
        if skip_unavailable:
            chosen = _available(experiment, chosen, display.say)
        runs = run_members(engine, experiment, chosen, with_ensemble, publish, engine.now(), fresh_data)
    if engine.stopped:
        return print_interrupted(engine)
    _print_outcome(workspace.store, runs, display.degraded)
    return ExitStatus.DONE if all(options.is_success(run.status) for run in runs) else ExitStatus.ERROR


def _available(experiment: Experiment, members: list[Member], say: Callable[[str], None]) -> list[Member]:
    """The members whose runtime is available on this machine; which are left out, and why, is printed."""
    from scheduler.runtimes.runtime import find_runtime

    for runtime in sorted({member.runtime for member in members}):
        try:
            find_runtime(experiment, runtime, say)
        except RuntimeUnavailable as error:
            left_out = [member.name for member in members if member.runtime == runtime]
            members = [member for member in members if member.runtime != runtime]
            say(f"left out: {', '.join(left_out)}: {error}")
    return members


def _print_outcome(store: Store, runs: list[Run], degraded_reason: Callable[[Run], str]) -> None:
    """Where the ensemble's predictions are, and what did not succeed; last, what succeeded with less than was asked for."""
    degraded = []
    for run in runs:
        if run.status == Status.SUCCEEDED:
            if reason := degraded_reason(run):
                degraded.append(f"{run.id.task}: {reason}")
            if run.refused:
                print_line(f"{run.id}: refused: {run.refused}; to accept it: cronsemble accept {run.id}", sys.stderr)
            if run.id.task == c.ENSEMBLE_TASK:
                print_line(f"archived: {store.files.display_path(store.archive_path(run.id, run.record))}")
        elif run.status != Status.RUNNING:
            print_line(f"{run.id}: {run.status}: {run.reason}; see: cronsemble logs {run.id}", sys.stderr)
    print_line(f"succeeded, degraded: {'; '.join(degraded)}; next: cronsemble show" if degraded else "next: cronsemble history")


def run(
    file: File = DEFAULT_FILE,
    member: Annotated[
        list[str] | None, typer.Option(help="Train only this member (repeat for more).", autocompletion=complete_members)
    ] = None,
    ensemble: Annotated[
        bool | None, typer.Option(help="Run the ensemble after them; the default unless --member is given.")
    ] = None,
    jobs: Jobs = None,
    publish: Annotated[bool, typer.Option(help="Let scheduled ensembles use these models too.")] = False,
    skip_unavailable: Annotated[
        bool, typer.Option(help="Leave out members whose runtime is not available on this machine.")
    ] = False,
    fresh_data: Annotated[
        bool, typer.Option(help="Read the data anew for these runs; else those of a date share the first reading.")
    ] = False,
    on_cluster: OnCluster = False,
    wait: WaitOrDetach = True,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Run the experiment now, on this machine or on the cluster. Example: cronsemble run --jobs 2"""

    target = ClusterTarget(kubeconfig, context, namespace)
    if not on_cluster:
        check_cluster_options(wait, target)
    options = RunOptions(on_cluster, wait, jobs)
    with StopSignals() as signals:
        location = locate(file, store, None, target)
        code = run_now(location, member or [], ensemble, publish, skip_unavailable, fresh_data, options, signals)
    raise typer.Exit(code)
