"""The commands `accept` and `refuse`."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.commands.completion import complete_runs
from scheduler.commands.options import (
    DEFAULT_FILE,
    NAMES_OF_RUNS,
    AsJson,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    OfTask,
    StoreFolder,
)

if TYPE_CHECKING:
    from scheduler.kube.target import ClusterTarget

_RunName = Annotated[str, typer.Argument(metavar="RUN", help=f"The run: {NAMES_OF_RUNS}.", autocompletion=complete_runs)]


def accept(
    run: _RunName,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who read its history.")] = "",
    file: File = DEFAULT_FILE,
    task: OfTask = None,
    as_json: AsJson = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Accept a run that was refused. Example: cronsemble accept train-jax-29924640 --reason "new labels" """
    from scheduler.kube.target import ClusterTarget

    _decide("accepted", run, reason, file, task, as_json, ClusterTarget(kubeconfig, context, namespace), store, experiment)


def refuse(
    run: _RunName,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who read its history.")],
    file: File = DEFAULT_FILE,
    task: OfTask = None,
    as_json: AsJson = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Refuse a published run: no ensemble takes it. Example: cronsemble refuse train-jax-29924640 --reason "wrong labels" """
    from scheduler.kube.target import ClusterTarget

    if not reason.strip():
        raise typer.BadParameter("a reason is needed, for those who read its history", param_hint="--reason")
    _decide("refused", run, reason, file, task, as_json, ClusterTarget(kubeconfig, context, namespace), store, experiment)


def _decide(
    decision: str,
    name: str,
    reason: str,
    file: Path,
    task: str | None,
    as_json: bool,
    target: "ClusterTarget",
    store: Path | None,
    experiment: str | None,
) -> None:
    from scheduler.console.json_output import print_json
    from scheduler.console.messages import print_line
    from scheduler.stores.decide import decide
    from scheduler.stores.find_run import find_run
    from scheduler.stores.location import locate
    from scheduler.stores.workspace import open_workspace

    with open_workspace(locate(file, store, experiment, target)) as workspace:
        run = find_run(workspace.store, workspace.name, name, task, timezone=workspace.timezone)
        outcome = decide(workspace.store, run, decision, reason)
    if as_json:
        print_json(outcome.to_json())
        return
    if not outcome.is_changed:
        why = outcome.refused_before or (f"by {outcome.by} at {outcome.time}" if outcome.by else "")
        print_line(f"{run.id} is {decision} already" + (f": {why}" if why else ""))
        return
    before = f" (it was refused: {outcome.refused_before})" if outcome.refused_before else ""
    print_line(f"{run.id}: {decision}{before}")
    for effect in outcome.effects:
        print_line(effect)
