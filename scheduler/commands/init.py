"""The commands `init` and `schema`: a starter configuration, and the schema of configurations."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from pathlib import Path
from typing import Annotated

import typer

from scheduler.commands.options import DEFAULT_FILE
from scheduler.config.schema import SCHEMA_FILE, schema_text
from scheduler.config.starter import starter
from scheduler.console.messages import print_line
from scheduler.errors import CronsembleError


def write_starter(file: Path) -> None:
    """Write the starter and the schema that it refers to; neither is ever overwritten. Raises CronsembleError."""
    schema_file = file.with_name(SCHEMA_FILE)
    try:
        with open(file, "x", encoding="utf-8") as out:
            out.write(starter())
    except FileExistsError as error:
        raise CronsembleError(f"{file} exists already: name another file, or remove it first") from error
    try:
        with open(schema_file, "x", encoding="utf-8") as out:
            out.write(schema_text())
    except FileExistsError:
        print_line(f"{schema_file} exists already and was not changed; `cronsemble schema` prints the current one")
    print_line(f"wrote {file}; next: cronsemble check -f {file}")


def init(file: Annotated[Path, typer.Argument(help="The file to write.")] = DEFAULT_FILE) -> None:
    """Write a commented starter configuration, and beside it its schema for editors. Example: cronsemble init config.yaml"""
    write_starter(file)


def schema() -> None:
    """Print the configuration's JSON Schema. Example: cronsemble schema > cronsemble.schema.json"""
    print(schema_text(), end="")
