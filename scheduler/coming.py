"""What `next` and `check` print of the fire times to come: reads the clock and the store, asks the forecast."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cronjobs.resolved import Experiment
from cronjobs.surprises import surprises
from scheduler import forecast
from scheduler.config import load_all

if TYPE_CHECKING:
    from jobs.store import Store
    from scheduler.whereabouts import Cluster

_LATELY = 5


def print_expression(expression: str, timezone: str, count: int, since: str | None, until: str | None, as_json: bool) -> None:
    """The fire times of any expression, and its warnings."""
    schedule = forecast.read(expression, timezone)
    after = forecast.before("--from", since, timezone) if since else datetime.now(UTC)
    times = forecast.of_expression(schedule, timezone, after, _last(until, timezone), count)
    warnings = surprises(schedule, timezone, after)
    if as_json:
        fires = [forecast.stamp(each) for each in times]
        print(json.dumps({"expression": expression, "timezone": timezone, "fires": fires, "warnings": warnings}, indent=1))
        return
    rows = [forecast.Fire("", "", expression, timezone, each) for each in times]
    _table(rows, with_task=False, with_experiment=False)
    _warn("", warnings)


def print_tasks(
    files: list[Path], count: int, since: str | None, until: str | None, as_json: bool, cluster: Cluster | None = None
) -> None:
    """The fire times of every task of the configurations, and their warnings; with ``cluster`` as its CronJobs have them."""
    now = datetime.now(UTC)
    experiments = load_all(files)
    fires: list[forecast.Fire] = []
    warnings: list[tuple[str, str]] = []
    resting: list[tuple[str, str]] = []
    for experiment in experiments:
        after = forecast.before("--from", since, experiment.timezone) if since else now
        store = _store(experiment)
        anchors, out = (_anchors(store, experiment), {}) if cluster is None else _standing(experiment, cluster)
        found = forecast.of_experiment(experiment, after, _last(until, experiment.timezone), count, anchors)
        fires += [each for each in found if each.task not in out]
        warnings += [(experiment.name, each) for each in forecast.warnings(experiment, after, _durations(store, experiment))]
        resting += [(experiment.name, each) for each in (*forecast.resting(experiment), *out.values())]
    fires.sort(key=lambda each: (each.at, each.experiment, each.task))
    if as_json:
        told = {
            "fires": [forecast.row(each) for each in fires],
            "resting": [f"{name}: {line}" for name, line in resting],
            "warnings": [f"{name}: {line}" for name, line in warnings],
        }
        print(json.dumps(told, indent=1))
        return
    _table(fires, with_task=True, with_experiment=len(experiments) > 1)
    for name, line in resting:
        print(f"{name}: {line}")
    for name, line in warnings:
        _warn(f"{name}: ", [line])


def _standing(experiment: Experiment, cluster: Cluster) -> tuple[dict[str, datetime], dict[str, str]]:
    """By task since when a CronJob counts, and a line for each that would fire but does not on the cluster, and why."""
    from scheduler.cluster.reconcile import Target
    from scheduler.cluster.witness import standing

    found = standing(experiment, Target(cluster.kubeconfig, cluster.context, cluster.namespace))
    out = {}
    for name, task in forecast.tasks(experiment):
        if task.schedule is not None and not task.suspend:
            if name not in found:
                out[name] = f"{name}: is not on the cluster yet: cronsemble sync"
            elif found[name][1]:
                out[name] = f"{name}: is suspended on the cluster: cronsemble resume {name}"
    return {name: anchor for name, (anchor, _) in found.items()}, out


def print_warnings(experiment: Experiment) -> None:
    """The warnings of a configuration, for `check`."""
    found = forecast.warnings(experiment, datetime.now(UTC), _durations(_store(experiment), experiment))
    _warn(f"{experiment.path}: ", found)


def _warn(place: str, lines: list[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        print(f"{place}warning: {line}", file=sys.stderr)


def _last(until: str | None, timezone: str) -> datetime | None:
    """A date stands for the whole day."""
    if until is None:
        return None
    found = forecast.moment("--until", until, timezone)
    if len(until) != len("2026-11-20"):
        return found
    return forecast.moment("--until", str(datetime.fromisoformat(until).date() + timedelta(days=1)), timezone) - timedelta(
        seconds=1
    )


def _store(experiment: Experiment) -> Store | None:
    """The store where it is a folder that is there."""
    if not isinstance(experiment.store, str):
        return None
    root = experiment.folder / experiment.store
    if not root.is_dir():
        return None
    from jobs.store import Store

    return Store(root)


def _durations(store: Store | None, experiment: Experiment) -> dict[str, float]:
    """By task the seconds that its longest run took, of its latest that succeeded."""
    found: dict[str, float] = {}
    for name, _ in forecast.tasks(experiment) if store else ():
        assert store is not None
        records = (store.result(run) for run in islice(store.run_ids(experiment.name, name), 4 * _LATELY))
        for record in islice((each for each in records if each), _LATELY):
            try:
                took = datetime.fromisoformat(record["finished"]) - datetime.fromisoformat(record["started"])
            except (KeyError, ValueError, TypeError):
                continue
            found[name] = max(found.get(name, 0.0), took.total_seconds())
    return found


def _anchors(store: Store | None, experiment: Experiment) -> dict[str, datetime]:
    """By task the last scheduled slot, from which Kubernetes counts @every on."""
    found = {}
    for name, task in forecast.tasks(experiment) if store else ():
        assert store is not None
        if not (task.schedule or "").startswith("@every"):
            continue
        for run in store.run_ids(experiment.name, name):
            if (store.result(run) or {}).get("kind") == "scheduled":
                found[name] = run.slot
                break
    return found


def _table(fires: list[forecast.Fire], with_task: bool, with_experiment: bool) -> None:
    if not fires:
        print("no fire times")
        return
    from scheduler.terminal import print_columns

    now = datetime.now(UTC)
    columns = ["in", *(["experiment"] if with_experiment else []), *(["task"] if with_task else []), "local time", "zone", "UTC"]
    rows = []
    for each in fires:
        away = (each.at - now).total_seconds()
        names = [*([each.experiment] if with_experiment else []), *([each.task] if with_task else [])]
        local = f"{each.local:%a %Y-%m-%d %H:%M:%S}" if each.at.second else f"{each.local:%a %Y-%m-%d %H:%M}"
        offset = f"{each.local:%z}"
        how = forecast.length(away) if away >= 0 else f"{forecast.length(-away)} ago"
        rows.append([how, *names, f"{local} {offset[:3]}:{offset[3:5]}", each.timezone, forecast.stamp(each.at)])
    print_columns(columns, rows)
