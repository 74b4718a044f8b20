"""Which engine a command's runs are made by, this machine's or a cluster's; and what is said of runs that go on without us."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import typer

from jobs.contract import Status
from scheduler.commands.options import DEFAULT_FILE
from scheduler.console.run_display import RunDisplay
from scheduler.engines.base import Engine
from scheduler.engines.local import CpuBudget, LocalEngine, cpu_count
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import StoreLocation
from scheduler.stores.workspace import Workspace

if TYPE_CHECKING:
    from scheduler.engines.kubernetes import KubernetesEngine


@dataclass(frozen=True)
class RunOptions:
    """Where runs are made, whether the command waits for their end, and how many CPUs of this machine they may take."""

    on_cluster: bool = False
    wait: bool = True
    cpus: int | None = None

    def is_success(self, status: str) -> bool:
        """Whether a run with this status is what was asked for: a detached one may still be running."""
        return status == Status.SUCCEEDED or (status == Status.RUNNING and self.on_cluster and not self.wait)


def check_cluster_options(wait: bool, target: ClusterTarget) -> None:
    """Raise typer.BadParameter for options of a cluster where none is asked for."""
    given = {"--context": target.context, "--namespace": target.namespace, "--kubeconfig": target.kubeconfig}
    given["--detach"] = None if wait else "given"
    for option, value in given.items():
        if value is not None:
            raise typer.BadParameter("it goes with --cluster", param_hint=option)


def options_text(location: StoreLocation) -> str:
    """The options that name this configuration, store and cluster to another command, each with a blank before it."""
    target = location.target
    options: dict[str, object] = {"-f": location.file if location.file != DEFAULT_FILE else None, "--store": location.folder}
    options |= {"--kubeconfig": target.kubeconfig, "--context": target.context, "--namespace": target.namespace}
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None)


@contextmanager
def open_engine(workspace: Workspace, display: RunDisplay, options: RunOptions) -> Iterator[Engine]:
    """The engine that makes the runs; Ctrl-C and SIGTERM stop it."""
    if not options.on_cluster:
        engine = LocalEngine(workspace.require_local_store(), display, CpuBudget(options.cpus or cpu_count()))
        stop_on_signals(engine)
        yield engine
        return
    from scheduler.engines.kubernetes import KubernetesEngine
    from scheduler.kube import permissions
    from scheduler.kube.client import KubeClient

    experiment = workspace.require_experiment("--cluster")
    namespace = experiment.cluster.namespace
    with (
        KubeClient(workspace.target.access()) as api,
        permissions.explain_denials(api, [namespace], needed=permissions.RUNS),
    ):
        cluster_engine = KubernetesEngine(api, workspace.store, experiment, display, detached=not options.wait)
        stop_on_signals(cluster_engine)
        try:
            yield cluster_engine
        finally:
            cluster_engine.close()
            print_detached_runs(cluster_engine, workspace.location)


def print_detached_runs(engine: KubernetesEngine, location: StoreLocation) -> None:
    """How to look again at the runs that were left running, and how to end them."""
    if not engine.left:
        return
    runs = " ".join(map(str, sorted(engine.left)))
    where = options_text(location) + ("" if location.folder is None else " --cluster")
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
