"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Option("--file", "-f", help="The configuration file.")]
Files = Annotated[list[Path], typer.Option("--file", "-f", help="A configuration file, or a folder of them (repeat for more).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="The store, where no configuration tells it.")]
ExperimentName = Annotated[str | None, typer.Option("--experiment", help="The experiment, where no configuration tells it.")]
Offline = Annotated[bool, typer.Option("--offline", help="Do not look at the cluster.")]
DEFAULT_FILE = Path("config.yaml")
DEFAULT_FILES = [DEFAULT_FILE]
