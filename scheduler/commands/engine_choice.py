"""Which engine a command works with: this machine's, or a cluster's; and what it says of runs that it leaves at work."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cronjobs.experiment import Experiment
from jobs.store import Store
from scheduler.commands.options import DEFAULT_FILE
from scheduler.config import load
from scheduler.console.run_display import RunDisplay
from scheduler.engines.base import Engine
from scheduler.engines.local import CpuBudget, LocalEngine, cpu_count
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import StoreLocation, local_store
from scheduler.stores.open import open_store

if TYPE_CHECKING:
    from scheduler.engines.kubernetes import KubernetesEngine
    from scheduler.kube.target import ClusterTarget


@dataclass(frozen=True)
class ClusterRun:
    """That a command's runs are made on a cluster; ``wait``: until they have ended. ``typed`` are options to type again."""

    target: ClusterTarget
    wait: bool = True
    options_text: str = ""


def options_text(file: Path, store: Path | None, target: ClusterTarget) -> str:
    """The options that say where, as another command needs them; with a blank before them."""
    given: dict[str, object] = {"-f": file if file != DEFAULT_FILE else None, "--store": store, "--kubeconfig": target.kubeconfig}
    given |= {"--context": target.context, "--namespace": target.namespace}
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None)


@contextmanager
def open_for_runs(file: Path, folder: Path | None, name: str | None, cluster: ClusterRun | None) -> Iterator[StoreLocation]:
    """Where runs are made of what a file declares: ``folder``, even one without runs, or what the file says.

    A store that only the cluster can mount is reached for runs on the cluster alone.
    """
    if cluster is not None and folder is None:
        target = cluster.target
        with open_store(file, None, name, target) as place:
            yield place
        return
    experiment = load(file)
    store = Store(folder.resolve()) if folder is not None else local_store(experiment)
    yield StoreLocation(store, experiment.name, experiment)


@contextmanager
def open_engine(
    store: Store, experiment: Experiment | None, watcher: RunDisplay, jobs: int | None, cluster: ClusterRun | None
) -> Iterator[Engine]:
    """The engine, which Ctrl-C and SIGTERM stop."""
    if cluster is None:
        engine = LocalEngine(store, watcher, CpuBudget(jobs or cpu_count()))
        stop_on_signals(engine)
        yield engine
        return
    from scheduler.config.namespace import in_namespace
    from scheduler.engines.kubernetes import KubernetesEngine
    from scheduler.kube import permissions
    from scheduler.kube.client import KubeClient

    if experiment is None:
        raise CronsembleError("--cluster needs a configuration without errors: give -f FILE")
    placed = in_namespace(experiment, cluster.target.namespace)
    namespace = str(placed.cluster["namespace"])
    with KubeClient(cluster.target.access()) as api, permissions.explain_denials(api, [namespace], needed=permissions.RUNS):
        there = KubernetesEngine(api, store, placed, watcher, detached=not cluster.wait)
        stop_on_signals(there)
        try:
            yield there
        finally:
            there.close()
            print_detached_runs(there, cluster)


def print_detached_runs(engine: KubernetesEngine, cluster: ClusterRun) -> None:
    """How to look again at what was left at work, and how to end it."""
    if not engine.left:
        return
    runs = " ".join(map(str, sorted(engine.left)))
    where = cluster.options_text + ("" if "--store" not in cluster.options_text else " --cluster")
    print(f"at work on the cluster: {runs}", file=sys.stderr)
    print(f"look again: cronsemble logs {sorted(engine.left)[-1]} -f{where}", file=sys.stderr)
    print(f"cancel: cronsemble cancel {runs}{where}", file=sys.stderr)


def stop_on_signals(engine: Engine) -> None:
    """Have Ctrl-C and SIGTERM stop the engine and, on this machine, its children."""

    def interrupt(_: int, __: FrameType | None) -> None:
        engine.watcher.say("leaving; what was begun goes on" if engine.outlives else "stopping")
        engine.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


OnCluster = Annotated[bool, typer.Option("--cluster", help="Make the runs on the cluster.")]
WaitOrDetach = Annotated[
    bool, typer.Option("--wait/--detach", help="With --cluster: follow the runs to their end, or only submit them.")
]


def cluster_run(
    wanted: bool, wait: bool, file: Path, store: Path | None, kubeconfig: Path | None, context: str | None, namespace: str | None
) -> Any:
    """Which cluster runs are made on, if they are."""
    if not wanted:
        for name, given in (("--context", context), ("--namespace", namespace), ("--kubeconfig", kubeconfig)):
            if given is not None:
                raise typer.BadParameter("it goes with --cluster", param_hint=name)
        if not wait:
            raise typer.BadParameter("it goes with --cluster", param_hint="--detach")
        return None
    from scheduler.kube.target import ClusterTarget

    target = ClusterTarget(kubeconfig, context, namespace)
    return ClusterRun(target, wait, options_text(file, store, target))
