"""The command `next`."""

from __future__ import annotations

import json

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cronjobs.experiment import Experiment
from cronjobs.fire_times.surprises import surprises
from scheduler.commands.options import (
    DEFAULT_FILES,
    AsJson,
    Context,
    Files,
    Kubeconfig,
)
from scheduler.config import load_all
from scheduler.console.messages import print_warnings
from scheduler.dialects.reading import Dialect
from scheduler.errors import CronsembleError
from scheduler.history import upcoming
from scheduler.stores.run_times import last_scheduled_slots, longest_durations, store_if_present

if TYPE_CHECKING:
    from scheduler.kube.target import ClusterTarget


def print_expression(expression: str, timezone: str, count: int, since: str | None, until: str | None, as_json: bool) -> None:
    """The fire times of any expression, and its warnings."""
    schedule = upcoming.read(expression, timezone)
    after = upcoming.parse_start("--from", since, timezone) if since else datetime.now(UTC)
    times = upcoming.fires_of_expression(schedule, timezone, after, _last(until, timezone), count)
    warnings = surprises(schedule, timezone, after)
    if as_json:
        fires = [upcoming.format_time(each) for each in times]
        print(json.dumps({"expression": expression, "timezone": timezone, "fires": fires, "warnings": warnings}, indent=1))
        return
    rows = [upcoming.Fire("", "", expression, timezone, each) for each in times]
    _table(rows, with_task=False, with_experiment=False)
    print_warnings("", warnings)


def print_dialect(
    dialect: Dialect, expression: str, timezone: str, count: int, since: str | None, until: str | None, as_json: bool
) -> bool:
    """What an expression means in its dialect and what to type here; whether both fire at the same times."""
    from scheduler.dialects import report
    from scheduler.dialects.advice import advise, coming, read
    from scheduler.dialects.reading import DialectError

    upcoming.check_timezone(timezone)
    after = upcoming.parse_start("--from", since, timezone) if since else datetime.now(UTC)
    last = _last(until, timezone)
    try:
        reading = read(dialect, expression, timezone)
        times = coming(reading, after, last, count)
        advice = advise(reading, after)
    except DialectError as error:
        raise CronsembleError(f"{expression!r}: {error}") from error
    if as_json:
        print(json.dumps(report.values(advice, times), indent=1))
        return advice.same
    for note in reading.notes:
        print(f"note: {note}")
    _table(
        [upcoming.Fire("", "", reading.given, reading.timezone, time) for time in times], with_task=False, with_experiment=False
    )
    print(*report.lines(advice), sep="\n")
    return advice.same


def print_tasks(
    files: list[Path], count: int, since: str | None, until: str | None, as_json: bool, cluster: ClusterTarget | None = None
) -> None:
    """The fire times of every task of the configurations, and their warnings; with ``cluster`` as its CronJobs have them."""
    now = datetime.now(UTC)
    experiments = load_all(files)
    fires: list[upcoming.Fire] = []
    warnings: list[tuple[str, str]] = []
    resting: list[tuple[str, str]] = []
    for experiment in experiments:
        after = upcoming.parse_start("--from", since, experiment.timezone) if since else now
        store = store_if_present(experiment)
        anchors, out = (last_scheduled_slots(store, experiment), {}) if cluster is None else _standing(experiment, cluster)
        found = upcoming.fires_of_experiment(experiment, after, _last(until, experiment.timezone), count, anchors)
        fires += [each for each in found if each.task not in out]
        warnings += [
            (experiment.name, each) for each in upcoming.warnings(experiment, after, longest_durations(store, experiment))
        ]
        resting += [(experiment.name, each) for each in (*upcoming.suspended_tasks(experiment), *out.values())]
    fires.sort(key=lambda each: (each.at, each.experiment, each.task))
    if as_json:
        told = {
            "fires": [upcoming.row(each) for each in fires],
            "resting": [f"{name}: {line}" for name, line in resting],
            "warnings": [f"{name}: {line}" for name, line in warnings],
        }
        print(json.dumps(told, indent=1))
        return
    _table(fires, with_task=True, with_experiment=len(experiments) > 1)
    for name, line in resting:
        print(f"{name}: {line}")
    for name, line in warnings:
        print_warnings(f"{name}: ", [line])


def _standing(experiment: Experiment, cluster: ClusterTarget) -> tuple[dict[str, datetime], dict[str, str]]:
    """By task since when a CronJob counts, and a line for each that would fire but does not on the cluster, and why."""
    from scheduler.observe.cluster_state import cronjob_states

    found = cronjob_states(experiment, cluster)
    out = {}
    for name, task in upcoming.tasks(experiment):
        if task.schedule is not None and not task.suspend:
            if name not in found:
                out[name] = f"{name}: is not on the cluster yet: cronsemble sync"
            elif found[name][1]:
                out[name] = f"{name}: is suspended on the cluster: cronsemble resume {name}"
    return {name: anchor for name, (anchor, _) in found.items()}, out


def _last(until: str | None, timezone: str) -> datetime | None:
    """A date stands for the whole day."""
    if until is None:
        return None
    found = upcoming.parse_time("--until", until, timezone)
    if len(until) != len("2026-11-20"):
        return found
    return upcoming.parse_time("--until", str(datetime.fromisoformat(until).date() + timedelta(days=1)), timezone) - timedelta(
        seconds=1
    )


def _table(fires: list[upcoming.Fire], with_task: bool, with_experiment: bool) -> None:
    if not fires:
        print("no fire times")
        return
    from scheduler.console.tables import Column, print_table

    now = datetime.now(UTC)
    columns = ["in", *(["experiment"] if with_experiment else []), *(["task"] if with_task else []), "local time", "zone", "UTC"]
    rows = []
    for each in fires:
        away = (each.at - now).total_seconds()
        names = [*([each.experiment] if with_experiment else []), *([each.task] if with_task else [])]
        local = f"{each.local:%a %Y-%m-%d %H:%M:%S}" if each.at.second else f"{each.local:%a %Y-%m-%d %H:%M}"
        offset = f"{each.local:%z}"
        how = upcoming.format_duration(away) if away >= 0 else f"{upcoming.format_duration(-away)} ago"
        rows.append([how, *names, f"{local} {offset[:3]}:{offset[3:5]}", each.timezone, upcoming.format_time(each.at)])
    print_table([Column(name) for name in columns], rows)


def next_(
    expression: Annotated[str | None, typer.Argument(help="A schedule; without one, those of the configuration.")] = None,
    file: Files = DEFAULT_FILES,
    timezone: Annotated[str | None, typer.Option(help="The expression's zone; UTC by default.")] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=1, max=100_000, help="Fire times of each task (3) or of the expression (10)."),
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="A date or time in the zone; now by default.")] = None,
    until: Annotated[str | None, typer.Option(help="A date (with its whole day) or time in the zone.")] = None,
    on_cluster: Annotated[
        bool, typer.Option("--cluster", help="As the cluster has it: what is suspended there, and since when @every counts.")
    ] = False,
    context: Context = None,
    namespace: Annotated[str | None, typer.Option("--namespace", help="The namespace; the configuration's by default.")] = None,
    kubeconfig: Kubeconfig = None,
    dialect: Annotated[
        Dialect | None, typer.Option(help="The expression is crontab's or Airflow's: when it fires there, and what to type here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the next fire times. Example: cronsemble next "0 9 * * 6" --timezone America/Santiago --from 2025-09-01"""

    if expression is None:
        if dialect is not None:
            raise typer.BadParameter("it goes with an expression, e.g. '0 9 * * 7'", param_hint="--dialect")
        if timezone is not None:
            raise typer.BadParameter(
                "it goes with an expression: a task's zone stands in the configuration", param_hint="--timezone"
            )
        from scheduler.kube.target import ClusterTarget

        cluster = ClusterTarget(kubeconfig, context, namespace) if on_cluster else None
        print_tasks(file, count or 3, since, until, as_json, cluster)
    elif dialect is not None:
        if not print_dialect(dialect, expression, timezone or "UTC", count or 10, since, until, as_json):
            raise typer.Exit(2)
    else:
        print_expression(expression, timezone or "UTC", count or 10, since, until, as_json)
