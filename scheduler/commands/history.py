"""The command `history`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import isinf
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from jobs import strict_json
from jobs.contract import parse_run_id
from jobs.csv_text import csv_text
from jobs.text import single_line
from scheduler.commands.completion import complete_columns, complete_dates, complete_runs, complete_statuses
from scheduler.commands.options import (
    DEFAULT_FILE,
    NAMES_OF_RUNS,
    AsJson,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    LongNamespace,
    Offline,
    OnlyTasks,
    StoreFolder,
)
from scheduler.console import tables
from scheduler.console.colours import outcome_colour, paint
from scheduler.console.json_output import as_ascii, print_json
from scheduler.console.messages import print_line
from scheduler.errors import CronsembleError
from scheduler.history import calendar as calendar_view
from scheduler.history import slot_report
from scheduler.history.columns import DEFAULT, HistoryColumn, RowSource, choose_columns, sort_rows
from scheduler.history.parse_query import parse_query
from scheduler.history.query import ExperimentHistory, HistoryQuery
from scheduler.history.slots import Row
from scheduler.kube.target import ClusterTarget
from scheduler.observe.open_history import find_run_or_job, open_history
from scheduler.stores.history_reader import HistoryReader
from scheduler.stores.location import local_store, locate
from scheduler.stores.revision_snapshots import RevisionSnapshots
from scheduler.stores.run_details import read_run_details
from scheduler.stores.workspace import open_workspace
from scheduler.times import dates, format_local, is_time, parse_slots

if TYPE_CHECKING:
    from cronjobs.experiment import Experiment
    from scheduler.history.revision_changes import Snapshots

_HINT = "choose with --columns"
_NOTHING_FOUND = "no slot and no run matches"
BLOCK = 5000
"""Rows that are written at a time."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class OutputFormat:
    """How the rows are printed: which columns, and sorted by which; none means as they are by default."""

    as_json: bool = False
    as_csv: bool = False
    calendar: bool = False
    columns: Sequence[str] = ()
    sort: str = ""


def print_history(reader: HistoryReader, query: HistoryQuery, output: OutputFormat, limit: int) -> None:
    """Print the rows that a query asks for as a table, JSON, CSV or a calendar."""
    history = reader.history
    if output.calendar:
        _print_calendar(reader, query, output)
        _print_unreadable(reader)
        return
    source = _row_source(reader)
    everything, query = replace(query, limit=0), replace(query, limit=limit)
    by_sort: list[Row] | None = None
    if output.sort:
        (column,) = choose_columns([output.sort.removeprefix("-")], reader.stream(everything), source, "--sort")
        by_sort = sort_rows(reader.stream(everything), column, output.sort.startswith("-"), limit)

    def rows() -> Iterator[Row]:
        return reader.stream(query) if by_sort is None else iter(by_sort)

    columns = choose_columns(output.columns or DEFAULT, rows(), source)
    if output.as_json or output.as_csv:
        if output.columns:
            _print_columns(rows(), columns, output.as_json)
        else:
            _print_values(Row, rows(), output.as_json)
    elif not _print_table(rows(), columns, ["tries"] if not output.columns else []):
        print(_nothing(history, everything))
    _print_unreadable(reader)


def _print_unreadable(reader: HistoryReader) -> None:
    """Say which folders could not be listed: what ran there is unknown, and what no schedule expects has no rows."""
    for why in dict.fromkeys(reader.unreadable.values()):
        print_line(f"unreadable: {why}: see cronsemble fsck", sys.stderr)


def _nothing(history: ExperimentHistory, query: HistoryQuery) -> str:
    """What is printed where a query has no rows."""
    return f"no runs of {history.experiment} yet; next: cronsemble run" if query == HistoryQuery() else _NOTHING_FOUND


def _print_calendar(reader: HistoryReader, query: HistoryQuery, output: OutputFormat) -> None:
    history = reader.history
    bounded = calendar_view.calendar_query(query, history.timezone, history.now)
    days = calendar_view.calendar_days(reader.stream(bounded), bounded, history.timezone)
    if output.as_json or output.as_csv:
        _print_values(calendar_view.Cell, calendar_view.cells(days), output.as_json)
    elif days.names():
        for line in calendar_view.lines(days, tables.width(), paint):
            print(line)
    else:
        print(_nothing(history, query))


def _print_values(kind: type[msgspec.Struct], values: Iterable[msgspec.Struct], as_json: bool) -> None:
    """A JSON array with a value a line, or CSV: the same fields in the same order."""
    if as_json:
        # A line break stands nowhere inside a value.
        lines = (as_ascii(_json_lines(block)).rstrip("\n").replace("\n", ",\n ") for block in _blocks(values))
        _write(_json_array(lines))
        return
    rows = ([single_line(cell) if isinstance(cell, str) else cell for cell in msgspec.structs.astuple(row)] for row in values)
    _write(csv_text(block) for block in _blocks(chain([kind.__struct_fields__], rows)))


def _blocks(values: Iterable[_T]) -> Iterator[list[_T]]:
    """The values some at a time: those of years need not be held."""
    values = iter(values)
    while block := list(islice(values, BLOCK)):
        yield block


def _json_array(blocks: Iterable[str]) -> Iterator[str]:
    """An array of lines, of which some are given at a time."""
    yield "["
    for n, block in enumerate(blocks):
        yield f",\n {block}" if n else block
    yield "]\n"


def _write(parts: Iterable[str]) -> None:
    """Write parts of an answer for programs, as they come."""
    sys.stdout.flush()
    out = sys.stdout.buffer
    for part in parts:
        out.write(part.encode())
    out.flush()


def _json_lines(values: Sequence[msgspec.Struct]) -> str:
    try:
        return msgspec.json.Encoder().encode_lines(values).decode()
    except UnicodeEncodeError:  # half of a pair of surrogates in a text
        return "".join(strict_json.dumps(msgspec.to_builtins(value)) + "\n" for value in values)


def _row_source(reader: HistoryReader) -> RowSource:
    """What the columns need beside the rows."""
    decoded: dict[str, dict[str, Any]] = {"": {}}

    def hyperparameters(row: Row) -> dict[str, Any]:
        fact = reader.fact(row) if row.run is not None else None
        text = "" if fact is None else fact.hyperparameters
        if text not in decoded:
            decoded[text] = msgspec.json.decode(text, type=dict[str, Any])
        return decoded[text]

    history = reader.history
    return RowSource(history.experiment, history.timezone, history.tasks(), hyperparameters, reader.attempts)


def _print_columns(rows: Iterable[Row], columns: Sequence[HistoryColumn], as_json: bool) -> None:
    """The chosen columns as a JSON array with a row a line, or as CSV."""
    names = [column.name for column in columns]
    values = ([column.value(row) for column in columns] for row in rows)
    if as_json:
        _write(_json_array(as_ascii(strict_json.dumps(dict(zip(names, own, strict=True)))) for own in values))
    else:
        cells = ([_csv_cell(value) for value in own] for own in values)
        _write(csv_text(block) for block in _blocks(chain([names], cells)))


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return strict_json.dumps(value)
    return single_line(value) if isinstance(value, str) else value


def _print_table(rows: Iterator[Row], columns: Sequence[HistoryColumn], unneeded: Collection[str]) -> bool:
    """The rows as a table that fits the terminal, slots by the experiment's clock; False, and nothing, if there are none.

    ``unneeded``: columns without which the table does if each run needed one try: most do, and a terminal is narrow.
    """
    first = next(rows, None)
    if first is None:
        return False
    colours: list[str | None] = []
    left_out = set(unneeded)

    def cells() -> Iterator[list[str]]:
        for row in chain([first], rows):
            colours.append(outcome_colour(row.status, row.degraded))
            if (row.try_number or 1) > 1:
                left_out.clear()
            yield [column.text(row) for column in columns]

    tables.print_table([column.printed for column in columns], cells(), colours, _HINT, left_out)
    return True


def print_slot(reader: HistoryReader, slot: str, tasks: Sequence[str], as_json: bool) -> None:
    """Print everything about a slot, of each task that has it, or about the slot of one run."""
    history = reader.history
    if is_time(slot):
        query = parse_query(history, None, None, tasks, ())
        periods = parse_slots(slot, history.timezone, history.now, "SLOT")
        rows = [row for low, high in reversed(periods) for row in reader.rows(replace(query, low=low, high=high))]
        if not rows:
            (day,) = dates(periods[0].first, periods[0].first, history.timezone)
            raise CronsembleError(f"{slot}: no slot and no run then: `cronsemble history --since {day}` lists them")
    else:
        run = find_run_or_job(reader, slot, tasks[0] if len(tasks) == 1 else None)
        rows = reader.rows(HistoryQuery(run.minute, run.minute, (run.task,)))
    by_slot: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        by_slot.setdefault((row.minute, row.task), []).append(row)
    reports = [slot_report.slot_report(history, by_slot[key], _details(reader, by_slot[key])) for key in sorted(by_slot)]
    if as_json:
        print_json(reports)
        return
    for n, report in enumerate(reports):
        if n:
            print()
        for line in slot_report.lines(report):
            print_line(line)


def _details(reader: HistoryReader, rows: Sequence[Row]) -> dict[str, slot_report.RunDetails]:
    """By run id, what the store holds of the runs of a slot's rows."""
    ids = [(row.run, parse_run_id(row.run, reader.history.experiment, row.task)) for row in rows if row.run is not None]
    return {name: read_run_details(reader.store, run) for name, run in ids if run is not None}


def print_revisions(reader: HistoryReader, as_json: bool) -> None:
    """Print every revision with what it changed, newest first."""
    history, snapshots = reader.history, RevisionSnapshots(reader.store)
    reports = [slot_report.revision_report(history, period, snapshots) for period in reversed(history.revision_periods)]
    if as_json:
        print_json(reports)
        return
    if not reports:
        print(f"no revisions of {history.experiment}: `cronsemble run`, `serve` and `sync` record them")
    for report in reports:
        what = f"{report['what']} by {report['by']} on {report['engine']}, revision {report['revision']}"
        print_line(f"{format_local(report['local'], history.timezone)}  {what}")
        for line in report["changes"] or ["nothing changed"]:
            print_line(f"  {line}")


def print_revision(reader: HistoryReader, name: str, as_json: bool) -> None:
    """Print the configuration of the revision that a name means, as a file could declare it."""
    from scheduler.history import revision_configuration
    from scheduler.history.find_revision import find_revision

    history, snapshots = reader.history, RevisionSnapshots(reader.store)
    period = find_revision(history, name)
    configuration, missing = revision_configuration.revision_configuration(history.experiment, period.tasks, snapshots)
    until = None if isinf(period.end) else history.clock.local(int(period.end // 60))
    report = slot_report.revision_report(history, period, snapshots)
    report |= {"until": until, "configuration": configuration, "missing": missing}
    if as_json:
        print_json(report)
        return
    for line in revision_configuration.lines(report):
        print(line)


def print_cluster_revisions(experiment: Experiment, target: ClusterTarget, as_json: bool) -> None:
    """Print the revisions in the cluster's ConfigMap, with what each changed, newest first."""
    # Late: most histories need no cluster.
    from cronjobs.objects.config_maps import revisions_name
    from scheduler.kube import kinds, permissions, revision_configmap
    from scheduler.kube.client import KubeClient
    from scheduler.kube.errors import NotFound

    namespace = experiment.cluster.namespace
    with KubeClient(target.access()) as api, permissions.explain_denials(api, [namespace], reading=True):
        try:
            data = api.get(kinds.CONFIGMAP, namespace, revisions_name(experiment.name)).get("data") or {}
        except NotFound:
            data = {}
    recorded = revision_configmap.read(data)
    if as_json:
        print_json(recorded)
    elif not recorded:
        print(f"no revisions of {experiment.name} in namespace {namespace} yet; next: cronsemble sync")
    else:
        for line in revision_lines(recorded, _mirrored_snapshots(experiment, target)):
            print_line(line)


def _mirrored_snapshots(experiment: Experiment, target: ClusterTarget) -> Snapshots:
    """What this machine has of the snapshots in a store that only the cluster mounts: what the last command read."""
    from jobs.store import LocalStore
    from scheduler.stores.remote.connect import mirror_folder

    is_folder = isinstance(experiment.store, str)
    return RevisionSnapshots(local_store(experiment) if is_folder else LocalStore(mirror_folder(experiment, target.access())))


def revision_lines(recorded: list[dict[str, Any]], snapshots: Snapshots) -> list[str]:
    """Newest first: when, who and what, then what each changed, in words as far as there are ``snapshots``."""
    from cronjobs.revisions import revisions
    from scheduler.history.revision_changes import revision_changes

    blocks: list[list[str]] = []
    for revision, before, after in revisions.states(recorded):
        folded = f" (combines {revision['folded']})" if revision.get("folded") else ""
        changes = revision_changes(before, after, snapshots) or ["nothing changed"]
        header = f"revision {revision['revision']}  {revision['time']}  {revision['what']} by {revision['by']}{folded}"
        blocks.append([header, *(f"    {line}" for line in changes)])
    return [line for lines in reversed(blocks) for line in lines]


def history(
    slot: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help=f"Report on these slots alone: {NAMES_OF_RUNS}.", autocompletion=complete_runs),
    ] = None,
    file: File = DEFAULT_FILE,
    since: Annotated[
        str | None, typer.Option(help="From this date or time on, or how long ago (7d).", autocompletion=complete_dates)
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Until this date or time, which may be in the future.", autocompletion=complete_dates)
    ] = None,
    task: OnlyTasks = None,
    status: Annotated[
        list[str] | None, typer.Option(help="Only this status (repeat for more).", autocompletion=complete_statuses)
    ] = None,
    calendar: Annotated[bool, typer.Option("--calendar", help="Print a calendar: a cell for each day and task.")] = False,
    revisions: Annotated[
        bool,
        typer.Option(
            "--revisions",
            help="List the revisions: what was run, served and synced, and what each changed; with NAME (its number, latest, "
            "a date or time) print that revision's configuration.",
        ),
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            help="These columns, with commas between: names as in --json, headers, hyperparameters.",
            autocompletion=complete_columns,
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="Sort all rows by this column; with - before it, the highest first.", autocompletion=complete_columns),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many rows at most; 0 for all.")] = 50,
    on_cluster: Annotated[
        bool,
        typer.Option(
            "--cluster", help="With --revisions: those on the cluster; the default where only a cluster mounts the store."
        ),
    ] = False,
    offline: Offline = False,
    context: Context = None,
    namespace: LongNamespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Print what became of every slot, newest first, and why. Example: cronsemble history --since 7d --status missed"""
    location = locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace, offline))
    if revisions and slot is None and (on_cluster or (location.is_remote and not offline)):
        print_cluster_revisions(location.require_experiment(), location.target, as_json)
        return
    with open_workspace(location) as workspace:
        reader = open_history(workspace)
        if revisions and slot is not None:
            print_revision(reader, slot, as_json)
        elif revisions:
            print_revisions(reader, as_json)
        elif slot is not None:
            print_slot(reader, slot, task or [], as_json)
        else:
            query = parse_query(reader.history, since, until, task or [], status or [])
            names = [name.strip() for name in (columns or "").split(",") if name.strip()]
            print_history(reader, query, OutputFormat(as_json, as_csv, calendar, names, sort or ""), limit)
