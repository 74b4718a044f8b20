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
from scheduler.console.progress import Watcher
from scheduler.engines.base import Engine
from scheduler.engines.local import Budget, LocalEngine, cpu_count
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import Place, local_store
from scheduler.stores.open import opened

if TYPE_CHECKING:
    from scheduler.engines.kubernetes import ClusterEngine
    from scheduler.kube.target import ClusterTarget


@dataclass(frozen=True)
class OnCluster:
    """That a command's runs are made on a cluster; ``wait``: until they have ended. ``typed`` are options to type again."""

    target: ClusterTarget
    wait: bool = True
    typed: str = ""


def typed(file: Path, store: Path | None, target: ClusterTarget) -> str:
    """The options that say where, as another command needs them; with a blank before them."""
    given: dict[str, object] = {"-f": file if file != DEFAULT_FILE else None, "--store": store, "--kubeconfig": target.kubeconfig}
    given |= {"--context": target.context, "--namespace": target.namespace}
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None)


@contextmanager
def placed(file: Path, folder: Path | None, name: str | None, cluster: OnCluster | None) -> Iterator[Place]:
    """Where runs are made of what a file declares: ``folder``, even one without runs, or what the file says.

    A store that only the cluster can mount is reached for runs on the cluster alone.
    """
    if cluster is not None and folder is None:
        target = cluster.target
        with opened(file, None, name, target) as place:
            yield place
        return
    experiment = load(file)
    store = Store(folder.resolve()) if folder is not None else local_store(experiment)
    yield Place(store, experiment.name, experiment)


@contextmanager
def working(
    store: Store, experiment: Experiment | None, watcher: Watcher, jobs: int | None, cluster: OnCluster | None
) -> Iterator[Engine]:
    """The engine, which Ctrl-C and SIGTERM stop."""
    if cluster is None:
        engine = LocalEngine(store, watcher, Budget(jobs or cpu_count()))
        stop_on_signals(engine)
        yield engine
        return
    from scheduler.config.namespace import in_namespace
    from scheduler.engines.kubernetes import ClusterEngine
    from scheduler.kube import permissions
    from scheduler.kube.client import Api

    if experiment is None:
        raise CronsembleError("--cluster needs a configuration without errors: give -f FILE")
    placed = in_namespace(experiment, cluster.target.namespace)
    namespace = str(placed.cluster["namespace"])
    with Api(cluster.target.access()) as api, permissions.explained(api, [namespace], needed=permissions.RUNS):
        there = ClusterEngine(api, store, placed, watcher, detached=not cluster.wait)
        stop_on_signals(there)
        try:
            yield there
        finally:
            there.close()
            tell_left(there, cluster)


def tell_left(engine: ClusterEngine, cluster: OnCluster) -> None:
    """How to look again at what was left at work, and how to end it."""
    if not engine.left:
        return
    runs = " ".join(map(str, sorted(engine.left)))
    where = cluster.typed + ("" if "--store" not in cluster.typed else " --cluster")
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


MakeOnCluster = Annotated[bool, typer.Option("--cluster", help="Make the runs on the cluster.")]
WaitOrDetach = Annotated[
    bool, typer.Option("--wait/--detach", help="With --cluster: follow the runs to their end, or only submit them.")
]


def _cluster(
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
    return OnCluster(target, wait, typed(file, store, target))
