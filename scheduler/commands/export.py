"""The command `export`."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
import os
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jobs.contract import RunId
from scheduler.commands.completion import complete_dates
from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    Offline,
    OnlyTasks,
    StoreFolder,
)
from scheduler.console.messages import print_line
from scheduler.console.progress import Progress
from scheduler.errors import CronsembleError
from scheduler.export.exported_run import exported_ids
from scheduler.history.parse_query import parse_query
from scheduler.history.slots import Row
from scheduler.kube.target import ClusterTarget
from scheduler.notices import notify
from scheduler.observe.open_history import open_history
from scheduler.stores.history_reader import HistoryReader
from scheduler.stores.location import locate
from scheduler.stores.workspace import open_workspace


class Tool(StrEnum):
    """What runs are exported to."""

    MLFLOW = "mlflow"
    TENSORBOARD = "tensorboard"


def export_to_mlflow(
    reader: HistoryReader, runs: Sequence[tuple[RunId, Row]], uri: str | None, name: str | None, with_artifacts: bool
) -> None:
    """Export runs to the MLflow store at ``uri`` and print how many; raises CronsembleError."""
    from scheduler.export.mlflow_export import MlflowExport, exclusive, shown

    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    if not uri:
        raise CronsembleError(
            "export mlflow: no MLflow store is named: type its URI, e.g. sqlite:///mlflow.db or http://127.0.0.1:5000, "
            "or set MLFLOW_TRACKING_URI"
        )
    with exclusive(uri), Progress(f"exporting to {shown(uri)}", len(runs)) as progress:
        experiment = MlflowExport(uri, name or reader.history.experiment)
        done = experiment.export(reader.store, reader.history, runs, with_artifacts, progress.advance)
    print_line(f"{shown(uri)}: {done.new} runs are new, {done.updated} brought up to date, {done.unchanged} were there")


def export_to_tensorboard(reader: HistoryReader, runs: Sequence[tuple[RunId, Row]], folder: str | None) -> None:
    """Write the event files of runs and print how many; raises CronsembleError."""
    from scheduler.export import tensorboard_export

    if not folder:
        raise CronsembleError("export tensorboard: no folder is named: type one, e.g. cronsemble export tensorboard events")
    with Progress(f"exporting to {folder}", len(runs)) as progress:
        written, unchanged = tensorboard_export.export(Path(folder), reader.store, reader.history, runs, progress.advance)
    print_line(f"{folder}: {written} event files written, {unchanged} were there; next: tensorboard --logdir {folder}")


def export(
    tool: Annotated[Tool, typer.Argument(help="mlflow or tensorboard.")],
    where: Annotated[
        str | None,
        typer.Argument(help="MLflow's tracking URI (else MLFLOW_TRACKING_URI), or the folder of TensorBoard's event files."),
    ] = None,
    file: File = DEFAULT_FILE,
    since: Annotated[
        str | None, typer.Option(help="Slots from this date or time on, or how long ago (7d).", autocompletion=complete_dates)
    ] = None,
    until: Annotated[str | None, typer.Option(help="Slots until this date or time.", autocompletion=complete_dates)] = None,
    task: OnlyTasks = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="To MLflow: each result's files too (models, predictions, logs).")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="The name of MLflow's experiment; this experiment's by default.")
    ] = None,
    offline: Offline = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Export runs to MLflow or TensorBoard, each once. Example: cronsemble export mlflow sqlite:///mlflow.db"""
    if tool is Tool.TENSORBOARD and (artifacts or name):
        raise CronsembleError("--artifacts and --name are for MLflow: leave them out")
    with open_workspace(locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace, offline))) as workspace:
        reader = open_history(workspace)
        rows = reader.rows(replace(parse_query(reader.history, since, until, task or [], ()), limit=0))
        for why in reader.unreadable.values():
            notify(f"unreadable: {why}: see cronsemble fsck")
        runs = list(exported_ids(rows, workspace.name))
        if tool is Tool.MLFLOW:
            export_to_mlflow(reader, runs, where, name, artifacts)
        else:
            export_to_tensorboard(reader, runs, where)
