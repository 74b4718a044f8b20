"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from scheduler.times import parse_duration

# Annotations are values here, not postponed: typer would evaluate their text at every start.


File = Annotated[Path, typer.Option("--file", "-f", help="The configuration file.")]
Files = Annotated[list[Path], typer.Option("--file", "-f", help="A configuration file, or a folder of them (repeat for more).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="The store, where no configuration tells it.")]
ExperimentName = Annotated[str | None, typer.Option("--experiment", help="The experiment, where no configuration tells it.")]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context; its current one by default.")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", help="The kubeconfig; KUBECONFIG or ~/.kube/config by default.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="The namespace; the configuration's cluster.namespace by default.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Do not look at the cluster; of its store, what was seen last.")]
DEFAULT_FILE = Path("config.yaml")
DEFAULT_FILES = [DEFAULT_FILE]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before objects are removed.")]
ForceConflicts = Annotated[bool, typer.Option("--force-conflicts", help="Take fields that others own, and what kubectl applied.")]
WaitForLease = Annotated[str | None, typer.Option("--wait", help="How long to wait for another sync to end, e.g. 2m.")]
Tasks = Annotated[list[str] | None, typer.Argument(help="Tasks, e.g. train-jax or ensemble; all by default.")]
KillRunning = Annotated[bool, typer.Option("--kill-running", help="Remove CronJobs whose Jobs are running, and so end these.")]


def parse_wait(duration: str | None) -> float:
    """The seconds of --wait."""
    try:
        return parse_duration(duration) if duration else 0
    except ValueError as error:
        raise typer.BadParameter(f"{duration!r} {error}", param_hint="--wait") from error
