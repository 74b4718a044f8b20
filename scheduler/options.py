"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
