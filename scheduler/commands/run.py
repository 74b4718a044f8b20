"""The command `run`."""

from __future__ import annotations

import sys
from collections.abc import Callable

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cronjobs.experiment import Experiment, Member
from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from scheduler.commands.engine_choice import OnCluster, WaitOrDetach, cluster_run
from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    File,
    Kubeconfig,
    Namespace,
    StoreFolder,
)
from scheduler.config import load
from scheduler.console.run_display import run_display
from scheduler.errors import CronsembleError, RuntimeUnavailable

if TYPE_CHECKING:
    from scheduler.commands.engine_choice import ClusterRun


def run_now(
    file: Path,
    names: list[str],
    ensemble: bool | None,
    jobs: int | None,
    publish: bool,
    skip_unavailable: bool,
    folder: Path | None = None,
    cluster: ClusterRun | None = None,
) -> int:
    """Run members and ensemble; 0 if all succeeded or were left at work as asked, 1 if any did not, 130 if interrupted."""
    from scheduler.commands.engine_choice import open_engine, open_for_runs
    from scheduler.engines.manual_run import run_members

    experiment = load(file)
    for name in names:
        if name not in experiment.members:
            raise CronsembleError(f"--member {name}: not a member; there are {', '.join(experiment.members)}")
    members = [member for name, member in experiment.members.items() if not names or name in names]
    with_ensemble = (not names) if ensemble is None else ensemble
    with (
        open_for_runs(file, folder, None, cluster) as place,
        run_display() as watcher,
        open_engine(place.store, experiment, watcher, jobs, cluster) as engine,
    ):
        if skip_unavailable:
            members = _available(experiment, members, watcher.say)
        also = with_ensemble and experiment.ensemble is not None
        runs = run_members(engine, experiment, members, also, publish, datetime.now(UTC))
    if engine.stopped:
        print("interrupted; the same command starts again" if not engine.outlives else "interrupted", file=sys.stderr)
        return 130
    _print_outcome(place.store, runs)
    good = ("succeeded", "running") if cluster is not None and not cluster.wait else ("succeeded",)
    return 0 if all(run.status in good for run in runs) else 1


def _available(experiment: Experiment, members: list[Member], say: Callable[[str], None]) -> list[Member]:
    """The members whose runtime can be had here."""
    from scheduler.runtimes.runtime import find_runtime

    for runtime in sorted({member.runtime for member in members}):
        try:
            find_runtime(experiment, runtime, say)
        except RuntimeUnavailable as error:
            out = [member.name for member in members if member.runtime == runtime]
            members = [member for member in members if member.runtime != runtime]
            say(f"left out: {', '.join(out)}: {error}")
    return members


def _print_outcome(store: Store, runs: list[Run]) -> None:
    for run in runs:
        if run.status == Status.SUCCEEDED:
            if run.id.task == c.ENSEMBLE_TASK:
                print(f"archived: {store.display_path(store.archive_path(run.id, run.record))}")
        elif run.status != Status.RUNNING:
            print(f"{run.id}: {run.status}: {run.reason}; see: cronsemble logs {run.id}", file=sys.stderr)
    print("next: cronsemble history")


def run(
    file: File = DEFAULT_FILE,
    member: Annotated[list[str] | None, typer.Option(help="Train this member only (repeat for more).")] = None,
    ensemble: Annotated[bool | None, typer.Option(help="Run the ensemble after; the default unless --member is given.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="CPUs to use; all by default.")] = None,
    publish: Annotated[bool, typer.Option(help="Let scheduled ensembles use these models too.")] = False,
    skip_unavailable: Annotated[
        bool, typer.Option(help="Leave out members whose runtime cannot be had here, and say so.")
    ] = False,
    on_cluster: OnCluster = False,
    wait: WaitOrDetach = True,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
) -> None:
    """Run the experiment now, on this machine or on the cluster. Example: cronsemble run --jobs 2"""

    cluster = cluster_run(on_cluster, wait, file, store, kubeconfig, context, namespace)
    raise typer.Exit(run_now(file, member or [], ensemble, jobs, publish, skip_unavailable, store, cluster))
