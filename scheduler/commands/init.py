"""The commands `init` and `schema`."""

from __future__ import annotations

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from scheduler.commands.options import (
    DEFAULT_FILE,
)
from scheduler.config import SCHEMA_FILE, schema_text, starter
from scheduler.errors import CronsembleError


def write_starter(file: Path) -> None:
    """Write the starter and the schema that it refers to; neither is ever written over."""
    schema = file.with_name(SCHEMA_FILE)
    try:
        with open(file, "x", encoding="utf-8") as out:
            out.write(starter())
    except FileExistsError as error:
        raise CronsembleError(f"{file} exists already: name another file, or remove it first") from error
    try:
        with open(schema, "x", encoding="utf-8") as out:
            out.write(schema_text())
    except FileExistsError:
        print(f"{schema} exists already and was left as it is; `cronsemble schema` prints today's")
    print(f"wrote {file}; next: cronsemble check -f {file}")


def init(file: Annotated[Path, typer.Argument(help="The file to write.")] = DEFAULT_FILE) -> None:
    """Write a commented starter configuration, and beside it its schema for editors. Example: cronsemble init config.yaml"""

    write_starter(file)


def schema() -> None:
    """Print the configuration's JSON Schema. Example: cronsemble schema > cronsemble.schema.json"""
    from scheduler.config import schema_text

    print(schema_text(), end="")
