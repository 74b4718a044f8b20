"""The command `report`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scheduler.commands.completion import complete_dates
from scheduler.commands.options import (
    DEFAULT_FILE,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    LongNamespace,
    Offline,
    StoreFolder,
)
from scheduler.console.messages import print_line
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget
from scheduler.observe.open_history import open_history
from scheduler.stores.history_reader import HistoryReader
from scheduler.stores.location import locate
from scheduler.stores.workspace import open_workspace
from scheduler.times import format_bytes, parse_period

STANDARD_OUTPUT = Path("-")


class ReportFormat(StrEnum):
    """What `report` writes."""

    html = "html"
    svg = "svg"


def render_report(reader: HistoryReader, since: str | None, until: str | None, live: str = "") -> bytes:
    """The page of the slots between two dates or times. Raises CronsembleError for one that is wrong."""
    from scheduler.report.page import render_page
    from scheduler.report.report import read_report

    history = reader.history
    low = parse_period(since, history.timezone, history.now, "--since")[0] if since else None
    high = parse_period(until, history.timezone, history.now, "--until")[1] if until else None
    if low is not None and high is not None and low > high:
        raise CronsembleError(f"--since {since} --until {until}: the end is before the beginning")
    return render_page(read_report(reader, low, high), live).encode()


def write_output(data: bytes, out: Path) -> None:
    """Write a whole file at once, or to the standard output for ``-``."""
    from jobs.store.files import replace_file

    if out == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if not out.resolve().parent.is_dir():
        raise CronsembleError(f"--out {out}: there is no folder {out.resolve().parent}: make it, or name another file")
    if out.is_dir():
        raise CronsembleError(f"--out {out}: it is a folder: name a file in it")
    replace_file(out.resolve(), data, durable=False)
    print_line(f"{out} ({format_bytes(len(data))})")


def report(
    file: File = DEFAULT_FILE,
    out: Annotated[Path, typer.Option(help="The file to write; - for the standard output.")] = Path("report.html"),
    open_: Annotated[bool, typer.Option("--open", help="Open it in the web browser.")] = False,
    since: Annotated[
        str | None, typer.Option(help="From this date or time on, or how long ago (90d).", autocompletion=complete_dates)
    ] = None,
    until: Annotated[str | None, typer.Option(help="Until this date or time.", autocompletion=complete_dates)] = None,
    offline: Offline = False,
    context: Context = None,
    namespace: LongNamespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
    live: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Write a page that shows how the experiment is doing, and why. Example: cronsemble report --since 90d --open"""
    with open_workspace(locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace, offline))) as workspace:
        data = render_report(open_history(workspace), since, until, live)
    write_output(data, out)
    if open_ and out != STANDARD_OUTPUT:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())
