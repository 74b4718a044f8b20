"""The command `cancel`."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated

import typer

from scheduler.commands.completion import complete_running
from scheduler.commands.options import DEFAULT_FILE, AskCluster, Context, ExperimentName, File, Kubeconfig, Namespace, StoreFolder


def cancel(
    target: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|TASK|TIME...",
            help="Running runs, or tasks, dates or times (today) whose running runs are meant.",
            autocompletion=complete_running,
        ),
    ],
    file: File = DEFAULT_FILE,
    on_cluster: AskCluster = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """End running runs. Example: cronsemble cancel digits-train-theano-29924640"""
    from scheduler.kube.target import ClusterTarget
    from scheduler.stores.location import locate
    from scheduler.stores.workspace import open_workspace

    location = locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace))
    with open_workspace(location) as workspace:
        if on_cluster or location.is_remote:
            from scheduler.engines.cancel_jobs import cancel_cluster_runs

            code = cancel_cluster_runs(workspace, target)
        else:
            from scheduler.engines.cancel import cancel_local_runs

            code = cancel_local_runs(workspace, target)
    raise typer.Exit(code)
