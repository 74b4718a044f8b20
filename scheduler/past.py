"""What `history` does: reads the store and looks at the cluster, calls and prints."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from jobs.contract import RunId
from scheduler import calendar_view, story, tables, views
from scheduler.dates import is_time, minutes
from scheduler.errors import CronsembleError, UnknownRun
from scheduler.history import History, Wish
from scheduler.identity import who
from scheduler.sighting import Sight, iso
from scheduler.slots import STATUSES, Row
from scheduler.whereabouts import Place

COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "died": "red",
    "no quorum": "red",
    "missed": "red",
    "unknown": "red",
    "interrupted": "yellow",
    "skipped": "yellow",
    "suspended": "dim",
    "running": "cyan",
    "due": "cyan",
    "not yet due": "dim",
}
_TABLE = [
    tables.Column("task"),
    tables.Column("status"),
    tables.Column("accuracy", right=True, rank=1),
    tables.Column("loss", right=True, rank=3),
    tables.Column("seconds", right=True, rank=2),
    tables.Column("attempt", right=True, rank=4),
    tables.Column("reason"),
]


@dataclass(frozen=True)
class Shown:
    """How the rows are printed."""

    as_json: bool = False
    as_csv: bool = False
    calendar: bool = False


def history_of(place: Place) -> tuple[History, str]:
    """The history of an experiment as of now, and its zone: without a configuration that of its newest run.

    Where the experiment runs on a cluster it is looked at, and what was seen of runs that have ended is kept in the store.
    """
    if place.problem:
        print(f"{place.problem}\ngoing on from what {place.store.root} kept", file=sys.stderr)
    timezone = place.experiment.timezone if place.experiment else _last_zone(place)
    history = History(place.store, place.name, timezone, time.time(), _sight(place))
    _keep(history)
    return history, timezone


def _sight(place: Place) -> Sight:
    """What is to be seen on the cluster now; where none is looked at, the revisions that were seen last."""
    cluster, found = place.cluster, None
    if cluster is not None and not cluster.offline and place.experiment is not None and isinstance(place.experiment.store, dict):
        from scheduler.cluster import witness
        from scheduler.cluster.reconcile import Target

        is_named = any((cluster.kubeconfig, cluster.context, cluster.namespace))
        found = witness.look(place.experiment, Target(cluster.kubeconfig, cluster.context, cluster.namespace), is_named)
    return found or Sight("", time.time(), revisions=place.more)


def _keep(history: History) -> None:
    """Write down what was seen: Kubernetes' objects vanish. Who cannot write has seen it all the same."""
    for seen in history.news():
        try:
            history.store.observe(seen.run, {"time": iso(history.sight.time), "by": who(), **seen.facts()})
        except (OSError, CronsembleError):
            return


def _last_zone(place: Place) -> str:
    for task in place.store.tasks(place.name):
        for run in place.store.run_ids(place.name, task):
            told = place.store.task_of(place.store.result(run) or {}).get("timezone")
            if told:
                return str(told)
    return "UTC"


def wish_of(
    history: History, timezone: str, since: str | None, until: str | None, tasks: Sequence[str], statuses: Sequence[str]
) -> Wish:
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
    low = minutes(since, timezone, history.now, "--since")[0] if since else None
    high = minutes(until, timezone, history.now, "--until")[1] if until else None
    if low is not None and high is not None and low > high:
        raise CronsembleError(f"--since {since} --until {until}: the end is before the beginning")
    return Wish(low, high, tuple(tasks), tuple(names))


def print_history(
    place: Place,
    since: str | None,
    until: str | None,
    tasks: Sequence[str],
    statuses: Sequence[str],
    shown: Shown,
    limit: int,
) -> None:
    history, timezone = history_of(place)
    wish = wish_of(history, timezone, since, until, tasks, statuses)
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
    elif wish == Wish():
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
    colours = [COLOURS.get(row.status) for row in rows]
    for line in tables.lines(columns, map(_cells, rows), tables.width(), colours):
        print(line)


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


def print_story(place: Place, slot: str, tasks: Sequence[str], as_json: bool) -> None:
    """The whole story of a slot, of each task that has it, or of the slot of one run."""
    history, timezone = history_of(place)
    if is_time(slot):
        low, high = minutes(slot, timezone, history.now, "SLOT")
        wish = wish_of(history, timezone, None, None, tasks, ())
        rows = history.rows(replace(wish, low=low, high=high))
        if not rows:
            raise CronsembleError(f"{slot}: no slot and no run then: `cronsemble history --since {slot[:10]}` lists them")
    else:
        run = run_named(history, slot)
        rows = history.rows(Wish(run.minute, run.minute, (run.task,)))
    keys = sorted({(row.minute, row.task) for row in rows})
    stories = [
        story.tell(history, task, minute, [r for r in rows if (r.minute, r.task) == (minute, task)]) for minute, task in keys
    ]
    if as_json:
        print(json.dumps(stories, indent=1))
        return
    for n, each in enumerate(stories):
        if n:
            print()
        for line in story.lines(each):
            print(tables.clean(line))


def run_named(history: History, name: str) -> RunId:
    """The run of that id in the store, else of a Job that has left nothing in it; raises UnknownRun."""
    try:
        return views.find(history.store, history.experiment, name).id
    except UnknownRun:
        found = [seen.run for seen in history.sight.seen.values() if name in str(seen.run)]
        exact = [run for run in found if str(run) == name] or found
        if len(exact) != 1:
            raise
        return exact[0]


def print_revisions(place: Place, as_json: bool) -> None:
    """Every revision with what it changed, newest first."""
    history, _ = history_of(place)
    told = [story.revision(history, held) for held in reversed(history.revisions())]
    if as_json:
        print(json.dumps(told, indent=1))
        return
    if not told:
        print(f"no revisions of {history.experiment}: `cronsemble run`, `serve` and `sync` record them")
    for each in told:
        print(tables.clean(f"{each['local']}  {each['what']} by {each['by']} on {each['engine']}, revision {each['revision']}"))
        for line in each["changes"] or ["nothing changed"]:
            print(f"  {tables.clean(line)}")
