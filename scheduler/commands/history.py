"""The command `history`."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from typing import Annotated, Any

import msgspec
import typer

from cronjobs.experiment import Experiment
from cronjobs.objects.config_maps import revisions_name
from cronjobs.revisions import revisions
from scheduler.commands.options import DEFAULT_FILE, AsJson, Context, ExperimentName, File, Kubeconfig, Offline, StoreFolder
from scheduler.console import tables
from scheduler.console.colours import STATUS_COLOURS
from scheduler.errors import CronsembleError
from scheduler.history import calendar as calendar_view
from scheduler.history import slot_report
from scheduler.history.query import History, HistoryQuery
from scheduler.history.slots import STATUSES, Row
from scheduler.kube import kinds, permissions, revision_configmap
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import NotFound
from scheduler.kube.target import ClusterTarget
from scheduler.observe.open_history import history_of, run_named
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace
from scheduler.sync import describe
from scheduler.times import is_time, parse_period

_TABLE = [
    tables.Column("task"),
    tables.Column("status", coloured=True),
    tables.Column("accuracy", right=True, rank=1),
    tables.Column("loss", right=True, rank=3),
    tables.Column("seconds", right=True, rank=2),
    tables.Column("attempt", right=True, rank=4),
    tables.Column("reason"),
]


@dataclass(frozen=True)
class OutputFormat:
    """How the rows are printed."""

    as_json: bool = False
    as_csv: bool = False
    calendar: bool = False


def parse_query(
    history: History, timezone: str, since: str | None, until: str | None, tasks: Sequence[str], statuses: Sequence[str]
) -> HistoryQuery:
    """The rows that the options ask for; raises CronsembleError for one that is wrong."""
    names = [each.replace("-", " ") for each in statuses]
    for name in names:
        if name not in STATUSES:
            raise CronsembleError(f"--status {name}: no status: type one of {', '.join(STATUSES)}")
    known = history.tasks()
    for task in tasks:
        if task not in known:
            there = f"there are {', '.join(known)}" if known else "it is empty"
            raise CronsembleError(f"--task {task}: no such task in the history: {there}")
    low = parse_period(since, timezone, history.now, "--since")[0] if since else None
    high = parse_period(until, timezone, history.now, "--until")[1] if until else None
    if low is not None and high is not None and low > high:
        raise CronsembleError(f"--since {since} --until {until}: the end is before the beginning")
    return HistoryQuery(low, high, tuple(tasks), tuple(names))


def print_history(
    workspace: Workspace,
    since: str | None,
    until: str | None,
    tasks: Sequence[str],
    statuses: Sequence[str],
    shown: OutputFormat,
    limit: int,
) -> None:
    history, timezone = history_of(workspace)
    wish = parse_query(history, timezone, since, until, tasks, statuses)
    if shown.calendar:
        days = calendar_view.days(history, wish, timezone)
        if shown.as_json or shown.as_csv:
            _print_values(calendar_view.Cell, calendar_view.cells(days), shown.as_json)
        else:
            calendar_view.print_days(days)
        return
    rows = history.rows(replace(wish, limit=limit))
    if shown.as_json or shown.as_csv:
        _print_values(Row, rows, shown.as_json)
    elif rows:
        print_rows(rows, timezone)
    elif wish == HistoryQuery():
        print(f"no runs of {history.experiment} yet; next: cronsemble run")
    else:
        print("nothing in the history is like that")


def _print_values(kind: type[msgspec.Struct], values: Sequence[msgspec.Struct], as_json: bool) -> None:
    """A JSON array with a value a line, or CSV: the same fields in the same order."""
    sys.stdout.flush()
    out = sys.stdout.buffer
    if as_json:
        # A line break stands nowhere inside a value.
        lines = msgspec.json.Encoder().encode_lines(values)
        out.write(b"[" + lines.rstrip(b"\n").replace(b"\n", b",\n ") + b"]\n")
    else:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(kind.__struct_fields__)
        writer.writerows(map(msgspec.structs.astuple, values))
        out.write(text.getvalue().encode())
    out.flush()


def print_rows(rows: Sequence[Row], timezone: str) -> None:
    """The rows as a table that fits the terminal; slots by the experiment's clock."""
    columns = [tables.Column(f"slot ({timezone})"), *_TABLE]
    colours = [STATUS_COLOURS.get(row.status) for row in rows]
    tables.print_table(columns, map(_cells, rows), colours)


def _cells(row: Row) -> list[str]:
    return [
        row.local[:-6].replace("T", " "),
        row.task,
        row.status,
        "" if row.accuracy is None else f"{row.accuracy:.4f}",
        "" if row.loss is None else f"{row.loss:.4f}",
        "" if row.duration is None else f"{row.duration:.1f}",
        "" if row.attempt is None else str(row.attempt),
        "; ".join(filter(None, (row.why, row.reason))),
    ]


def print_slot(workspace: Workspace, slot: str, tasks: Sequence[str], as_json: bool) -> None:
    """The whole story of a slot, of each task that has it, or of the slot of one run."""
    history, timezone = history_of(workspace)
    if is_time(slot):
        low, high = parse_period(slot, timezone, history.now, "SLOT")
        wish = parse_query(history, timezone, None, None, tasks, ())
        rows = history.rows(replace(wish, low=low, high=high))
        if not rows:
            raise CronsembleError(f"{slot}: no slot and no run then: `cronsemble history --since {slot[:10]}` lists them")
    else:
        run = run_named(history, slot)
        rows = history.rows(HistoryQuery(run.minute, run.minute, (run.task,)))
    keys = sorted({(row.minute, row.task) for row in rows})
    stories = [
        slot_report.slot_report(history, task, minute, [r for r in rows if (r.minute, r.task) == (minute, task)])
        for minute, task in keys
    ]
    if as_json:
        print(json.dumps(stories, indent=1))
        return
    for n, each in enumerate(stories):
        if n:
            print()
        for line in slot_report.lines(each):
            print(tables.clean(line))


def print_revisions(workspace: Workspace, as_json: bool) -> None:
    """Every revision with what it changed, newest first."""
    history, _ = history_of(workspace)
    told = [slot_report.revision(history, held) for held in reversed(history.revisions())]
    if as_json:
        print(json.dumps(told, indent=1))
        return
    if not told:
        print(f"no revisions of {history.experiment}: `cronsemble run`, `serve` and `sync` record them")
    for each in told:
        print(tables.clean(f"{each['local']}  {each['what']} by {each['by']} on {each['engine']}, revision {each['revision']}"))
        for line in each["changes"] or ["nothing changed"]:
            print(f"  {tables.clean(line)}")


def print_cluster_revisions(experiment: Experiment, target: ClusterTarget, as_json: bool) -> int:
    namespace = experiment.cluster.namespace
    with KubeClient(target.access()) as api, permissions.explain_denials(api, [namespace], reading=True):
        try:
            data = api.get(kinds.CONFIGMAP, namespace, revisions_name(experiment.name)).get("data") or {}
        except NotFound:
            data = {}
    found = revision_configmap.read(data)
    if as_json:
        print(json.dumps(found, indent=1))
    elif not found:
        print(f"no revisions of {experiment.name} in namespace {namespace} yet; next: cronsemble sync")
    else:
        sys.stdout.writelines(f"{line}\n" for line in revision_lines(found))
    return 0


def revision_lines(found: list[dict[str, Any]]) -> list[str]:
    """Newest first: when, who and what, then every task's fields old → new."""
    told: list[list[str]] = []
    for revision, before, after in revisions.states(found):
        folded = f" (stands for {revision['folded']})" if revision.get("folded") else ""
        lines = [f"revision {revision['revision']}  {revision['time']}  {revision['what']} by {revision['by']}{folded}"]
        for name in sorted({*before, *after}):
            if name not in after:
                lines.append(f"    {name}: removed")
                continue
            changes = describe.leaf_differences(before.get(name, {}), after[name])
            lines += [
                f"    {name}{path}: {describe.format_value(old)} → {describe.format_value(new)}"
                for path, old, new in changes
                if old or new
            ]
        told.append(lines)
    return [line for lines in reversed(told) for line in lines]


def history(
    slot: Annotated[
        str | None, typer.Argument(help="Tell the whole story of this slot: a time, a date, a run's id or a part of it.")
    ] = None,
    file: File = DEFAULT_FILE,
    since: Annotated[str | None, typer.Option(help="From this date or time on, or for so long (7d).")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this date or time; in the future too.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task (repeat for more).")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only this status (repeat for more).")] = None,
    calendar: Annotated[bool, typer.Option("--calendar", help="A cell for each day and task.")] = False,
    revisions: Annotated[
        bool, typer.Option("--revisions", help="List what was run, served and synced, and what changed.")
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Rows; 0 for all.")] = 50,
    on_cluster: Annotated[
        bool, typer.Option("--cluster", help="With --revisions: the cluster's; the default where the store is a volume.")
    ] = False,
    offline: Offline = False,
    context: Context = None,
    namespace: Annotated[str | None, typer.Option("--namespace", help="The namespace of a cluster's store.")] = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Print what became of every slot, newest first, and why. Example: cronsemble history --since 7d --status missed"""
    location = locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace, offline))
    if revisions and (on_cluster or (location.is_remote and not offline)):
        raise typer.Exit(print_cluster_revisions(location.require_experiment(), location.target, as_json))
    with open_workspace(location) as workspace:
        if revisions:
            print_revisions(workspace, as_json)
        elif slot is not None:
            print_slot(workspace, slot, task or [], as_json)
        else:
            print_history(workspace, since, until, task or [], status or [], OutputFormat(as_json, as_csv, calendar), limit)
