"""The command `logs`."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from scheduler.commands.completion import complete_runs
from scheduler.commands.options import (
    DEFAULT_FILE,
    NAMES_OF_RUNS,
    AskCluster,
    Context,
    ExperimentName,
    Kubeconfig,
    Namespace,
    Offline,
    OfTask,
    StoreFolder,
)


def logs(
    run: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]", help=f"The run: {NAMES_OF_RUNS}; the newest by default.", autocompletion=complete_runs),
    ] = None,
    follow: Annotated[int, typer.Option("--follow", "-f", count=True, help="Print what is added, until the run ends.")] = 0,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of what there is only the last N lines, of the newest try.")
    ] = None,
    task: OfTask = None,
    file: Annotated[Path | None, typer.Option("--file", help="The configuration file; -f FILE.yaml too, as elsewhere.")] = None,
    on_cluster: AskCluster = False,
    offline: Offline = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Print the log of a run, or follow it. Example: cronsemble logs digits-train-theano-29924640 --follow"""
    from scheduler.kube.target import ClusterTarget
    from scheduler.observe.stored_logs import print_logs
    from scheduler.stores.location import locate
    from scheduler.stores.workspace import open_workspace

    names, files, follows = _parse_arguments(run or [], follow)
    path = file or (files[0] if files else DEFAULT_FILE)
    location = locate(path, store, experiment, ClusterTarget(kubeconfig, context, namespace, offline))
    with open_workspace(location) as workspace:
        name = names[0] if names else None
        if follows and not offline and (on_cluster or location.is_remote):
            from scheduler.observe.pod_logs import follow as follow_pods

            code = follow_pods(workspace, name, tail, task)
        else:
            code = print_logs(workspace, name, follows, tail, task)
    raise typer.Exit(code)


def _parse_arguments(arguments: list[str], follow: int) -> tuple[list[str], list[Path], bool]:
    """Runs, files and whether to follow: `-f` follows as with every `logs`, and `-f FILE.yaml` names the file as elsewhere."""
    files = [Path(argument) for argument in arguments if follow and argument.endswith((".yaml", ".yml"))]
    names = [argument for argument in arguments if not (follow and argument.endswith((".yaml", ".yml")))]
    if len(names) > 1 or len(files) > 1:
        raise typer.BadParameter(f"one at a time: {' '.join(names[1:] or map(str, files[1:]))}", param_hint="NAME")
    return names, files, follow > len(files)
