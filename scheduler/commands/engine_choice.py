"""What `run`, `rerun` and `backfill` share: which engine makes their runs, what stops it, and what goes on without them."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from jobs.contract import Status
from jobs.text import one_line
from scheduler.commands.options import DEFAULT_FILE
from scheduler.console.run_display import RunDisplay
from scheduler.engines.base import Engine
from scheduler.engines.local import CpuBudget, LocalEngine, cpu_count
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget
from scheduler.signals import STOP_SIGNALS, install, leave_closed_terminal
from scheduler.stores.location import StoreLocation
from scheduler.stores.workspace import Workspace

if TYPE_CHECKING:
    from scheduler.engines.kubernetes import KubernetesEngine


NOTHING_STARTED = "stopped: no run was started"


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
    cluster_options = {"--context": target.context, "--namespace": target.namespace, "--kubeconfig": target.kubeconfig}
    cluster_options["--detach"] = None if wait else "given"
    for option, value in cluster_options.items():
        if value is not None:
            raise typer.BadParameter("it goes with --cluster", param_hint=option)


def options_text(location: StoreLocation) -> str:
    """The options that name this configuration, store and cluster to another command, each with a blank before it."""
    target = location.target
    options: dict[str, object] = {"-f": location.file if location.file != DEFAULT_FILE else None, "--store": location.folder}
    options |= {"--kubeconfig": target.kubeconfig, "--context": target.context, "--namespace": target.namespace}
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None)


class StopSignals:
    """Ctrl-C, SIGTERM and a closed terminal while a command makes runs; used as a context manager.

    They stop the command's engine: on this machine its runs, on a cluster only the watching. Before there is an engine
    they end the command, which says that no run was started.
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._install()
        return self

    def stop(self, engine: Engine) -> None:
        """Have the signals stop this engine from now on."""
        self._engine = engine
        self._install()

    def _install(self) -> None:
        for number in STOP_SIGNALS:
            handler = install(number, self._handle)
            if handler is not None:
                self._handlers.setdefault(number, handler)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if kind is KeyboardInterrupt and self._engine is None:
            print(NOTHING_STARTED, file=sys.stderr)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        leave_closed_terminal()
        if self._engine is None:
            raise KeyboardInterrupt
        # The terminal may be gone, or this thread in the middle of writing to it.
        with suppress(OSError, RuntimeError):
            self._engine.observer.say("stopping to watch; runs that were started go on" if self._engine.outlives else "stopping")
        self._engine.interrupt()


@contextmanager
def open_engine(
    workspace: Workspace, display: RunDisplay, options: RunOptions, signals: StopSignals, is_dry_run: bool = False
) -> Iterator[Engine]:
    """The engine that makes the runs; the signals stop it. Raises CronsembleError for a store that this user cannot write."""
    from scheduler.stores.degraded_run import degraded_reason

    display.degraded = lambda run: degraded_reason(workspace.store, workspace.timezone, run)
    if not options.on_cluster:
        store = workspace.require_local_store()
        if not is_dry_run and (problem := store.access_problem(workspace.name)):
            raise CronsembleError(problem)
        engine = LocalEngine(store, display, CpuBudget(options.cpus or cpu_count()))
        signals.stop(engine)
        try:
            yield engine
        finally:
            print_unwritten_ends(engine)
        return
    from scheduler.engines.kubernetes import KubernetesEngine
    from scheduler.kube import permissions
    from scheduler.kube.client import KubeClient

    experiment = workspace.require_experiment("--cluster")
    with (
        KubeClient(workspace.target.access()) as api,
        permissions.explain_denials(api, [experiment.cluster.namespace], needed=permissions.RUNS),
    ):
        cluster_engine = KubernetesEngine(api, workspace.store, experiment, display, detached=not options.wait)
        signals.stop(cluster_engine)
        try:
            yield cluster_engine
            if cluster_engine.stopped and not cluster_engine.has_started:
                print(NOTHING_STARTED, file=sys.stderr)
        finally:
            cluster_engine.close()
            print_unfinished_runs(cluster_engine, workspace.location)


def print_unwritten_ends(engine: LocalEngine) -> None:
    """Write the ends of tries that the store could not take when they ended; print those that it cannot take now."""
    problem = engine.ends.write()
    for end in engine.ends.unwritten() if problem else ():
        text = f"{end.run}: {end.end['status']}: {end.end['reason']}: this could not be written to the store: {problem}"
        print(one_line(text), file=sys.stderr)


def print_unfinished_runs(engine: KubernetesEngine, location: StoreLocation) -> None:
    """Which runs go on on the cluster, how to follow them and how to end them."""
    if not engine.unfinished:
        return
    runs = sorted(engine.unfinished)
    names = " ".join(map(str, runs))
    options = options_text(location) + ("" if location.folder is None else " --cluster")
    print(f"running on the cluster: {names}", file=sys.stderr)
    print(f"follow: cronsemble logs {runs[-1]} -f{options}", file=sys.stderr)
    print(f"cancel: cronsemble cancel {names}{options}", file=sys.stderr)


def print_interrupted(engine: Engine) -> ExitStatus:
    """That the command was stopped; how to go on, where its runs have ended with it."""
    print("interrupted" if engine.outlives else "interrupted; the same command starts them again", file=sys.stderr)
    return ExitStatus.INTERRUPTED
