"""The command `next`."""

from __future__ import annotations

# Annotations are values here, not postponed: typer would evaluate their text at every start.
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cronjobs.experiment import Experiment
from cronjobs.tasks import tasks_of
from jobs.fire_times.surprises import surprises
from scheduler.commands.options import (
    DEFAULT_FILES,
    AsJson,
    Context,
    Files,
    Kubeconfig,
    LongNamespace,
)
from scheduler.config import load_all
from scheduler.console.json_output import print_json
from scheduler.console.messages import print_line, print_warnings
from scheduler.dialects.reading import Dialect
from scheduler.errors import CronsembleError
from scheduler.exit_status import ExitStatus
from scheduler.history import upcoming
from scheduler.stores.run_times import last_scheduled_slots, longest_durations, store_if_present
from scheduler.times import format_duration, format_time, is_date, parse_last_time, parse_time

if TYPE_CHECKING:
    from scheduler.kube.target import ClusterTarget


def print_expression(expression: str, timezone: str, count: int, since: str | None, until: str | None, as_json: bool) -> None:
    """Print the fire times of any expression, and its warnings."""
    now = datetime.now(UTC)
    schedule = upcoming.parse_expression(expression, timezone, now.date())
    after, last = _bounds(since, until, timezone, now)
    times = upcoming.fires_of_expression(schedule, timezone, after, last, count)
    warnings = surprises(schedule, timezone, after)
    if as_json:
        fires = [format_time(time) for time in times]
        print_json({"expression": expression, "timezone": timezone, "fires": fires, "warnings": warnings})
        return
    _print_table([upcoming.Fire("", "", expression, timezone, time) for time in times], now)
    print_warnings("", warnings)


def print_dialect(
    dialect: Dialect, expression: str, timezone: str, count: int, since: str | None, until: str | None, as_json: bool
) -> bool:
    """Print what an expression means in its dialect and what to type here; whether both fire at the same times."""
    from scheduler.dialects import report
    from scheduler.dialects.advice import advise, coming, read
    from scheduler.dialects.reading import DialectError

    upcoming.check_timezone(timezone)
    now = datetime.now(UTC)
    after, last = _bounds(since, until, timezone, now)
    try:
        reading = read(dialect, expression, timezone)
        times = coming(reading, after, last, count)
        advice = advise(reading, after)
    except DialectError as error:
        raise CronsembleError(f"{expression!r}: {error}") from error
    if as_json:
        print_json(report.values(advice, times))
        return advice.same
    for note in reading.notes:
        print_line(f"note: {note}")
    _print_table([upcoming.Fire("", "", reading.schedule, reading.timezone, time) for time in times], now)
    print(*report.lines(advice), sep="\n")
    return advice.same


def print_tasks(
    files: list[Path], count: int, since: str | None, until: str | None, as_json: bool, cluster: ClusterTarget | None = None
) -> None:
    """Print the fire times of all tasks of the configurations, and warnings; with ``cluster`` as its CronJobs have them."""
    now = datetime.now(UTC)
    experiments = load_all(files)
    fires: list[upcoming.Fire] = []
    warnings: list[tuple[str, str]] = []
    not_firing: list[tuple[str, str]] = []
    for experiment in experiments:
        store = store_if_present(experiment)
        absent: dict[str, str] = {}
        if cluster is None:
            anchors = last_scheduled_slots(store, experiment)
        else:
            anchors, absent, now = _cluster_schedules(experiment, cluster)
        after, last = _bounds(since, until, experiment.timezone, now)
        declared = upcoming.fires_of_experiment(experiment, after, last, count, anchors)
        fires += [fire for fire in declared if fire.task not in absent]
        durations = longest_durations(store, experiment)
        warnings += [(experiment.name, line) for line in upcoming.warnings(experiment, after, durations)]
        not_firing += [(experiment.name, line) for line in (*upcoming.suspended_tasks(experiment), *absent.values())]
    fires.sort(key=lambda fire: (fire.time, fire.experiment, fire.task))
    if as_json:
        values = {
            "fires": [upcoming.json_fire(fire) for fire in fires],
            "resting": [f"{name}: {line}" for name, line in not_firing],
            "warnings": [f"{name}: {line}" for name, line in warnings],
        }
        print_json(values)
        return
    _print_table(fires, now, with_task=True, with_experiment=len(experiments) > 1)
    for name, line in not_firing:
        print_line(f"{name}: {line}")
    for name, line in warnings:
        print_warnings(f"{name}: ", [line])


def _cluster_schedules(experiment: Experiment, cluster: ClusterTarget) -> tuple[dict[str, datetime], dict[str, str], datetime]:
    """By task since when its CronJob counts @every; by task that does not fire, a line that says why; and the server's clock."""
    from scheduler.observe.cluster_state import cronjob_states

    states, now = cronjob_states(experiment, cluster)
    absent = {}
    for name, task in tasks_of(experiment):
        if task.schedule is not None and not task.suspend:
            if name not in states:
                absent[name] = f"{name}: is not on the cluster yet: cronsemble sync"
            elif states[name][1]:
                absent[name] = f"{name}: is suspended on the cluster: cronsemble resume {name}"
    return {name: anchor for name, (anchor, _) in states.items()}, absent, now


def _bounds(since: str | None, until: str | None, timezone: str, now: datetime) -> tuple[datetime, datetime | None]:
    """The instant strictly after which fire times are looked for, and the last one: a date means its whole day."""
    after, last = now, None
    if since is not None:
        after = parse_time(since, timezone, now.timestamp(), "--from")
        # A date's own 00:00 is among its fire times, an instant typed is not.
        after -= timedelta(seconds=1 if is_date(since) else 0)
    if until is not None:
        last = parse_last_time(until, timezone, now.timestamp(), "--until")
    return after, last


def _print_table(fires: list[upcoming.Fire], now: datetime, with_task: bool = False, with_experiment: bool = False) -> None:
    if not fires:
        print("no fire times")
        return
    from scheduler.console.tables import Column, print_table

    columns = ["in", *(["experiment"] if with_experiment else []), *(["task"] if with_task else []), "local time", "zone", "UTC"]
    rows = []
    for fire in fires:
        wait = (fire.time - now).total_seconds()
        names = [*([fire.experiment] if with_experiment else []), *([fire.task] if with_task else [])]
        local = f"{fire.local:%a %Y-%m-%d %H:%M:%S}" if fire.time.second else f"{fire.local:%a %Y-%m-%d %H:%M}"
        offset = f"{fire.local:%z}"
        how_long = format_duration(wait) if wait >= 0 else f"{format_duration(-wait)} ago"
        rows.append([how_long, *names, f"{local} {offset[:3]}:{offset[3:5]}", fire.timezone, format_time(fire.time)])
    ranks = {"zone": 1}
    print_table([Column(name, rank=ranks.get(name, 0), is_name=name in ("experiment", "task")) for name in columns], rows)


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
    namespace: LongNamespace = None,
    kubeconfig: Kubeconfig = None,
    dialect: Annotated[
        Dialect | None, typer.Option(help="The expression is crontab's or Airflow's: when it fires there, and what to type here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the next fire times. Example: cronsemble next "0 9 * * 6" --timezone America/Santiago --from 2025-09-01"""

    if expression is None:
        if dialect is not None:
            raise typer.BadParameter("only with an expression, e.g. '0 9 * * 7'", param_hint="--dialect")
        if timezone is not None:
            raise typer.BadParameter(
                "only with an expression: a task's time zone is in the configuration", param_hint="--timezone"
            )
        from scheduler.kube.target import ClusterTarget

        cluster = ClusterTarget(kubeconfig, context, namespace) if on_cluster else None
        print_tasks(file, count or 3, since, until, as_json, cluster)
    elif dialect is not None:
        if not print_dialect(dialect, expression, timezone or "UTC", count or 10, since, until, as_json):
            raise typer.Exit(ExitStatus.DIFFERS)
    else:
        print_expression(expression, timezone or "UTC", count or 10, since, until, as_json)
