"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Option("--file", "-f", help="The configuration file.")]
Files = Annotated[list[Path], typer.Option("--file", "-f", help="A configuration file, or a folder of them (repeat for more).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_FILE = Path("config.yaml")
DEFAULT_FILES = [DEFAULT_FILE]
