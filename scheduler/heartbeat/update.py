"""Gives an experiment's tasks their checks: reads a server's, plans, and does what is planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from cronjobs.experiment import HeartbeatSettings
from scheduler.heartbeat.checks import CheckAction, CheckPlan, Verb, desired_checks, plan_checks
from scheduler.heartbeat.client import API_KEY, HeartbeatApi, HeartbeatError, ScheduleRefusedError
from scheduler.heartbeat.watched_task import WatchedTask

_DAY = 86400


def open_api(settings: HeartbeatSettings, env: Mapping[str, str]) -> HeartbeatApi | None:
    """The API of a project whose key the variables hold; None without one. Raises HeartbeatError."""
    key = env.get(API_KEY, "").strip()
    return HeartbeatApi(settings.server, settings.ping_url, key, env) if key else None


def plan_update(api: HeartbeatApi, experiment: str, tasks: Iterable[WatchedTask], now: float) -> CheckPlan:
    """What gives an experiment's tasks the checks that they should have; ``now`` in seconds since 1970. Raises HeartbeatError."""
    desired, notes = desired_checks(experiment, tasks, int(now // _DAY))
    plan = plan_checks(experiment, desired, api.checks())
    return CheckPlan(plan.actions, (*plan.notes, *notes))


def carry_out(api: HeartbeatApi, experiment: str, plan: CheckPlan, say: Callable[[str], None]) -> None:
    """Do what is planned, and say what was done; raises HeartbeatError at what could not be, and what is done stays done."""
    for action in plan.actions:
        try:
            _do(api, experiment, action)
        except ScheduleRefusedError:
            older = action.timing.before_3_1 if action.timing is not None else None
            if older is None:
                raise
            action = replace(action, timing=older)
            _do(api, experiment, action)
        say(str(action))


def _do(api: HeartbeatApi, experiment: str, action: CheckAction) -> None:
    check, timing = action.check, action.timing
    if action.verb == Verb.CREATE and timing is not None:
        api.arm(api.create(experiment, action.slug, timing))
    elif check is None:
        raise HeartbeatError(f"check {action.slug}: nothing is there to {action.verb}")
    elif action.verb == Verb.CHANGE and timing is not None:
        if check.status != "down":
            # By its new schedule it might be late for a time that never was one. One that is down stays so until a run succeeds.
            api.arm(check)
        api.change(check, timing)
    elif action.verb == Verb.RESUME and timing is not None:
        api.change(check, timing)
        api.resume(check)
        api.arm(check)
    elif action.verb == Verb.ARM:
        api.arm(check)
    elif action.verb == Verb.PAUSE:
        api.pause(check)
    elif action.verb == Verb.REMOVE:
        api.remove(check)
