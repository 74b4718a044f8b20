"""The command `report`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scheduler.commands.completion import complete_dates, complete_runs
from scheduler.commands.options import (
    DEFAULT_FILE,
    NAMES_OF_RUNS,
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
from scheduler.times import format_bytes, format_local, parse_period

STANDARD_OUTPUT = Path("-")


class ReportFormat(StrEnum):
    """What `report` writes."""

    html = "html"
    svg = "svg"
    png = "png"


class ChartName(StrEnum):
    """The charts that can be written alone."""

    accuracy = "accuracy"
    loss = "loss"
    ages = "ages"
    durations = "durations"


@dataclass(frozen=True)
class ReportOptions:
    """What is shown: the dates or times of ``since`` and ``until``, and two names of runs side by side.

    ``live`` is the state that a page of `serve` shows.
    """

    since: str | None = None
    until: str | None = None
    names: tuple[str, str] | None = None
    live: str = ""


def render_report(reader: HistoryReader, options: ReportOptions, form: ReportFormat, chart: ChartName) -> bytes:
    """The page, or one chart of it. Raises CronsembleError for a date, a time or a name that is wrong."""
    from scheduler.comparison.run_comparison import RunComparer
    from scheduler.comparison.selection import compare_names
    from scheduler.report.page import render_page
    from scheduler.report.report import read_charts, read_report
    from scheduler.report.single_chart import render_png, render_svg

    history = reader.history
    since, until = options.since, options.until
    low = parse_period(since, history.timezone, history.now, "--since")[0] if since else None
    high = parse_period(until, history.timezone, history.now, "--until")[1] if until else None
    if low is not None and high is not None and low > high:
        raise CronsembleError(f"--since {since} --until {until}: the end is before the beginning")
    if form is not ReportFormat.html:
        found = {each.key: each for each in read_charts(reader, low, high)}
        now = format_local(history.clock.local(int(history.now // 60)), history.timezone)
        svg = render_svg(found.get(chart.value), chart.value, history.experiment, now)
        return svg.encode() if form is ReportFormat.svg else render_png(svg)
    compared = []
    if options.names is not None:
        comparer = RunComparer(reader.store, timezone=history.timezone)
        compared = [compare_names(comparer, history.experiment, *options.names)]
    return render_page(read_report(reader, low, high, compared), options.live).encode()


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
    out: Annotated[
        Path | None, typer.Option(help="The file to write, by default report.html; - for the standard output.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the web browser.")] = False,
    since: Annotated[
        str | None, typer.Option(help="From this date or time on, or how long ago (90d).", autocompletion=complete_dates)
    ] = None,
    until: Annotated[str | None, typer.Option(help="Until this date or time.", autocompletion=complete_dates)] = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="The whole page, or one chart as a picture for a mail or a chat.")
    ] = ReportFormat.html,
    chart: Annotated[ChartName, typer.Option(help="With --format svg or png: which chart.")] = ChartName.accuracy,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help=f"Show two runs side by side: {NAMES_OF_RUNS}.", autocompletion=complete_runs),
    ] = None,
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
        data = render_report(open_history(workspace), ReportOptions(since, until, compare, live), form, chart)
    out = out or Path(f"report.{form.value}")
    write_output(data, out)
    if open_ and out != STANDARD_OUTPUT:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())
