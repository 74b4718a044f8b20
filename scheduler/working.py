"""Which engine a command works with: this machine's, or a cluster's; and what it says of runs that it leaves at work."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cronjobs.resolved import Experiment
from jobs.store import Store
from scheduler.config import load
from scheduler.engine import Budget, LocalEngine, cpu_count
from scheduler.engines import Engine
from scheduler.errors import CronsembleError
from scheduler.options import DEFAULT_FILE
from scheduler.terminal import Watcher
from scheduler.whereabouts import Cluster, Place, local_store, opened

if TYPE_CHECKING:
    from scheduler.cluster.engine import ClusterEngine
    from scheduler.cluster.reconcile import Target


@dataclass(frozen=True)
class OnCluster:
    """That a command's runs are made on a cluster; ``wait``: until they have ended. ``typed`` are options to type again."""

    target: Target
    wait: bool = True
    typed: str = ""


def typed(file: Path, store: Path | None, target: Target) -> str:
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
        with opened(file, None, name, Cluster(target.kubeconfig, target.context, target.namespace)) as place:
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
    from scheduler.cluster import rights
    from scheduler.cluster.api import Api
    from scheduler.cluster.engine import ClusterEngine
    from scheduler.cluster.reconcile import place

    if experiment is None:
        raise CronsembleError("--cluster needs a configuration without errors: give -f FILE")
    (placed,) = place([experiment], cluster.target.namespace)
    namespace = str(placed.cluster["namespace"])
    with Api(cluster.target.access()) as api, rights.explained(api, [namespace], needed=rights.RUNS):
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
