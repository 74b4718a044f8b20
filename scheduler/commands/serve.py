"""The command `serve`."""

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from enum import StrEnum
from typing import Annotated

import typer

from scheduler.commands.options import DEFAULT_FILES, Files, Jobs


class LogFormat(StrEnum):
    """How `serve` writes its journal."""

    plain = "plain"
    json = "json"


def serve(
    file: Files = DEFAULT_FILES,
    jobs: Jobs = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Serve the report, /metrics and /healthz at this address, e.g. 127.0.0.1:9000."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --listen: a name of this machine that others type (repeat for more)."),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="How the journal is written: lines for people, or JSON objects.")
    ] = LogFormat.plain,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Become the owner of experiments that another serve or a cluster runs.")
    ] = False,
) -> None:
    """Run the schedules on this machine, as Kubernetes would. Example: cronsemble serve -f a.yaml -f b.yaml"""
    from scheduler.config import load_all
    from scheduler.engines.local import cpu_count
    from scheduler.server.journal import Journal
    from scheduler.server.loop import serve as run_schedules

    journal = Journal(log_format is LogFormat.json)
    raise typer.Exit(run_schedules(load_all(file), jobs or cpu_count(), journal, listen, take_over, allow_host or []))
