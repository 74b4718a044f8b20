"""The command `metrics`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from scheduler.commands.options import (
    DEFAULT_FILES,
    Context,
    ExperimentName,
    Files,
    Kubeconfig,
    LongNamespace,
    Offline,
    StoreFolder,
)
from scheduler.config.load import configuration_files
from scheduler.console.messages import print_line
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.history.observed_runs import ClusterObservation
from scheduler.kube.target import ClusterTarget
from scheduler.metrics.exposition import metrics_text
from scheduler.metrics.values import ExperimentMetrics, read_metrics
from scheduler.stores.history_reader import HistoryReader
from scheduler.stores.location import StoreLocation, locate
from scheduler.stores.workspace import Workspace, open_workspace

ALERTS, DASHBOARD = "alerts.yaml", "dashboard.json"
"""Files of the package ``scheduler.metrics``."""


@dataclass(frozen=True)
class MetricsSource:
    """Which experiments: those of configuration files, or one of a store's folder; and the cluster that has their stores."""

    paths: Iterable[Path]
    store: Path | None
    name: str | None
    target: ClusterTarget

    def locations(self) -> list[StoreLocation]:
        """Where the stores are; a configuration that is broken shows it by its own lines."""
        return [locate(path, self.store, self.name, self.target) for path in configuration_files(self.paths)]


def read_all(source: MetricsSource) -> tuple[list[ExperimentMetrics], list[str]]:
    """The metrics of every experiment whose store can be read, and why those of the others are missing.

    Raises CronsembleError where several files stand for one experiment.
    """
    read: dict[str, ExperimentMetrics] = {}
    problems = []
    for location in source.locations():
        try:
            with open_workspace(location, may_be_new=True) as workspace:
                metrics = read_metrics(_reader(workspace))
        except CronsembleError as error:
            problems += str(error).splitlines()
            continue
        except OSError as error:
            problems.append(f"{location.file}: {error.filename or 'its store'}: {error.strerror}")
            continue
        if metrics.experiment in read:
            raise CronsembleError(f"{location.file}: another file declares {metrics.experiment} too: give one of them")
        read[metrics.experiment] = metrics
    return list(read.values()), problems


def _reader(workspace: Workspace) -> HistoryReader:
    """The history from the store alone, and from the revisions that were read with it."""
    observation = ClusterObservation("", time.time(), revisions=workspace.cluster_revisions)
    return HistoryReader(workspace.store, workspace.name, workspace.timezone, observation.time, observation, workspace.store_time)


def write_text(data: bytes, out: Path | None) -> None:
    """Write a whole file at once, to be read by whoever reads its folder, or to the standard output. Raises CronsembleError."""
    if out is None or str(out) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    from jobs.store.files import replace_file

    out = out.resolve()
    if not out.parent.is_dir():
        raise CronsembleError(f"--out {out}: there is no folder {out.parent}: make it, or name another file")
    if out.is_dir():
        raise CronsembleError(f"--out {out}: it is a folder: name a file in it, e.g. cronsemble.prom")
    try:
        replace_file(out, data, durable=False)
    except OSError as error:
        raise CronsembleError(f"--out {out}: {error.strerror}") from error


def show_metrics(source: MetricsSource, out: Path | None) -> ExitStatus:
    """Write the metrics; an error if any are missing. Nothing is written in the place of a file if all are."""
    experiments, problems = read_all(source)
    for problem in problems:
        print_line(problem, sys.stderr)
    if experiments or not problems:
        write_text(metrics_text(experiments), out)
    return ExitStatus.ERROR if problems else ExitStatus.DONE


def metrics(
    file: Files = DEFAULT_FILES,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write, e.g. cronsemble.prom where a textfile collector reads; - for the standard output."),
    ] = None,
    alerts: Annotated[bool, typer.Option("--alerts", help="Write Prometheus' alert rules for these metrics instead.")] = False,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Write a Grafana dashboard of these metrics instead.")] = False,
    offline: Offline = False,
    context: Context = None,
    namespace: LongNamespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Print the state of each task as metrics for Prometheus. Example: cronsemble metrics --out cronsemble.prom"""
    if alerts and dashboard:
        raise typer.BadParameter("type --alerts or --dashboard", param_hint="--dashboard")
    if alerts or dashboard:
        write_text(files("scheduler.metrics").joinpath(DASHBOARD if dashboard else ALERTS).read_bytes(), out)
        return
    if (store or experiment) and len(file) > 1:
        raise typer.BadParameter("give one -f FILE with it, or none", param_hint="--store" if store else "--experiment")
    source = MetricsSource(file, store, experiment, ClusterTarget(kubeconfig, context, namespace, offline))
    raise typer.Exit(show_metrics(source, out))
