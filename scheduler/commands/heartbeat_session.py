"""What `plan`, `sync`, `suspend`, `resume` and `delete` share of a heartbeat: the checks of its server, printed and updated."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cronjobs.experiment import HeartbeatSettings
from cronjobs.objects import labels
from scheduler.console.messages import print_line
from scheduler.exit_status import ExitStatus
from scheduler.kube import kinds, objects
from scheduler.kube.client import KubeClient
from scheduler.sync.desired_state import DesiredState
from scheduler.sync.plan import SyncPlan
from scheduler.sync.reconcile import Reconciler

CronJobs = list[Mapping[str, Any]]


@dataclass(frozen=True)
class WatchedExperiment:
    """An experiment that a server watches: its name, its namespace, the server, and how its CronJobs are read."""

    name: str
    namespace: str
    settings: HeartbeatSettings
    cronjobs: Callable[[], CronJobs]


def update_after_sync(api: KubeClient, plan: SyncPlan) -> ExitStatus:
    """Give the tasks of a plan that was executed their checks, as the cluster has them now; raises CronsembleError."""
    heartbeats = plan.heartbeats if isinstance(plan.heartbeats, dict) else {}
    watched = [
        WatchedExperiment(
            name,
            heartbeat.namespace,
            HeartbeatSettings(heartbeat.server, heartbeat.ping_url),
            _live(api, heartbeat.namespace, name),
        )
        for name, heartbeat in heartbeats.items()
    ]
    return update_checks(watched, api.now().timestamp()) if watched else ExitStatus.DONE


def update_after(api: KubeClient, experiment: str, namespace: str, settings: HeartbeatSettings | None) -> ExitStatus:
    """Give an experiment's tasks their checks, as the cluster has them now; raises CronsembleError."""
    if settings is None:
        return ExitStatus.DONE
    watched = WatchedExperiment(experiment, namespace, settings, _live(api, namespace, experiment))
    return update_checks([watched], api.now().timestamp())


def update_checks(experiments: Iterable[WatchedExperiment], now: float) -> ExitStatus:
    """Update the checks of experiments and print what was done; 0 once all are as they should be.

    What keeps one experiment's from that is printed, and does not keep the others'. Without a key nothing is done, and said.
    """
    from scheduler.heartbeat import update  # late: a command without a heartbeat needs none of it
    from scheduler.heartbeat.client import HeartbeatError

    status = ExitStatus.DONE
    for experiment in experiments:
        try:
            api = update.open_api(experiment.settings, os.environ)
            if api is None:
                print_line(f"note: {_no_key(experiment.settings)}: its checks are neither made nor updated")
                continue
            plan = update.plan_update(api, experiment.name, _tasks(experiment), now)
            for note in plan.notes:
                print_line(f"note: heartbeat: {note}")
            update.carry_out(api, experiment.name, plan, lambda line: print_line(f"heartbeat: {line}"))
        except HeartbeatError as error:
            print_line(f"heartbeat: {error}", sys.stderr)
            print_line(f"the checks of {experiment.name} are not as they should be; the cluster is: run this again", sys.stderr)
            status = ExitStatus.ERROR
    return status


def print_planned_checks(reconciler: Reconciler) -> bool:
    """Print what a sync would do with the checks of its experiments; whether there is something. An error is a note."""
    watched = [state for state in reconciler.desired if state.heartbeat is not None]
    if not watched:
        return False
    from scheduler.heartbeat import update
    from scheduler.heartbeat.client import HeartbeatError

    has_actions = False
    for state in watched:
        assert state.heartbeat is not None
        try:
            api = update.open_api(state.heartbeat, os.environ)
            if api is None:
                print_line(f"note: {_no_key(state.heartbeat)}: what would change there is not known")
                continue
            experiment = WatchedExperiment(
                state.experiment, state.namespace, state.heartbeat, partial(_planned, reconciler, state)
            )
            plan = update.plan_update(api, state.experiment, _tasks(experiment), reconciler.api.now().timestamp())
        except HeartbeatError as error:
            print_line(f"note: heartbeat: {error}: what would change there is not known")
            continue
        for note in plan.notes:
            print_line(f"note: heartbeat: {note}")
        for action in plan.actions:
            print_line(f"heartbeat: {action}")
        has_actions = has_actions or bool(plan.actions)
    return has_actions


def pause_checks(experiment: str, settings: HeartbeatSettings | None) -> ExitStatus:
    """Pause the checks of an experiment that is deleted; they and what they have had stay."""
    if settings is None:
        return ExitStatus.DONE
    return update_checks([WatchedExperiment(experiment, "", settings, list)], 0.0)


def _no_key(settings: HeartbeatSettings) -> str:
    from scheduler.heartbeat.client import API_KEY

    return f"heartbeat: {API_KEY} is not set, so {settings.server} is not asked"


def _tasks(experiment: WatchedExperiment) -> Any:
    from scheduler.heartbeat.watched_task import tasks_of_cronjobs

    return tasks_of_cronjobs(experiment.cronjobs())


def _live(api: KubeClient, namespace: str, experiment: str) -> Callable[[], CronJobs]:
    selector = f"{labels.SELECTOR},{labels.INSTANCE}={experiment}"
    return lambda: list(objects.by_name(api.list(kinds.CRONJOB, namespace, selector, decoder=objects.DECODER)).values())


def _planned(reconciler: Reconciler, state: DesiredState) -> CronJobs:
    """The CronJobs as they will be: a suspension that the configuration does not speak of stays as it is."""
    live = reconciler.live[state.namespace].cronjobs
    planned: CronJobs = []
    for body in state.cronjobs:
        there = live.get(body["metadata"]["name"], {"spec": {}})
        suspended = body["spec"].get("suspend", there["spec"].get("suspend"))
        planned.append({**body, "spec": {**body["spec"], "suspend": suspended}})
    return planned
