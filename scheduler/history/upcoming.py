"""What is coming: the fire times of an expression or of configurations' tasks, and warnings about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from cronjobs.experiment import Ensemble, Experiment, Task
from cronjobs.fire_times.fires import fires, seconds
from cronjobs.fire_times.schedule import Schedule, ScheduleError, parse
from cronjobs.fire_times.surprises import surprises
from cronjobs.fire_times.zones import zone
from jobs.contract import ENSEMBLE_TASK, member_task
from scheduler.config.errors import nearest
from scheduler.errors import CronsembleError

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_HOURS, _LATE = timedelta(days=14), 4
_ENSEMBLES = 20


@dataclass(frozen=True)
class Fire:
    """One coming fire time of one task."""

    experiment: str
    task: str
    schedule: str
    timezone: str
    at: datetime

    @property
    def local(self) -> datetime:
        return self.at.astimezone(ZoneInfo(self.timezone))


def tasks(experiment: Experiment) -> Iterator[tuple[str, Task]]:
    """Every task by its name, members first."""
    for name, member in experiment.members.items():
        yield member_task(name), member
    if experiment.ensemble is not None:
        yield ENSEMBLE_TASK, experiment.ensemble


def read(expression: str, timezone: str) -> Schedule:
    """The schedule of an expression typed by a user; raises CronsembleError for it or for the zone."""
    check_timezone(timezone)
    try:
        return parse(expression)
    except ScheduleError as error:
        from scheduler.dialects.hint import explain

        raise CronsembleError(f"{expression!r}: {explain(error, expression, timezone, datetime.now(UTC).date())}") from error


def check_timezone(name: str) -> None:
    """Raise CronsembleError unless the name typed for --timezone is a zone's."""
    from scheduler.config.checks import is_zone

    if not is_zone(name):
        from zoneinfo import available_timezones

        raise CronsembleError(f"--timezone {name!r} is not a time zone: {nearest(name, sorted(available_timezones()))}")


def parse_time(option: str, text: str, timezone: str) -> datetime:
    """A date or an instant as typed: 2025-09-01, 2025-09-01T12:00, with Z or an offset; else in the zone.

    A time that the zone's clocks show twice or never is read as Kubernetes' library reads it.
    """
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            given = datetime(day.year, day.month, day.day)
        else:
            given = datetime.fromisoformat(text)
        if given.tzinfo is None:
            local = seconds(given.replace(tzinfo=UTC))
            given = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=zone(timezone).instant(local))
        if not 1900 <= given.year <= 9000:
            raise CronsembleError(f"{option} {text!r}: type a year from 1900 to 9000")
        return given.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CronsembleError(f"{option} {text!r}: type a date or a time, e.g. 2026-11-20 or 2026-11-20T06:00Z") from error


def parse_start(option: str, text: str, timezone: str) -> datetime:
    """The instant strictly after which fire times are sought: a date's own 00:00 is among them, an instant is not."""
    found = parse_time(option, text, timezone)
    return found - timedelta(seconds=1) if _DAY.fullmatch(text) else found


def fires_of_expression(schedule: Schedule, timezone: str, after: datetime, until: datetime | None, count: int) -> list[datetime]:
    """At most ``count`` fire times after ``after`` and up to ``until``."""
    found = []
    for each in islice(fires(schedule, timezone, after), count):
        if until is not None and each > until:
            break
        found.append(each)
    return found


def fires_of_experiment(
    experiment: Experiment, after: datetime, until: datetime | None, count: int, anchors: Mapping[str, datetime]
) -> list[Fire]:
    """For each task that has a schedule and is not suspended at most ``count`` fire times, in the order of time.

    ``anchors`` says from which instant a task's @every is counted; by default from ``after``.
    """
    found = []
    for name, task in tasks(experiment):
        if task.schedule is None or task.suspend:
            continue
        schedule = parse(task.schedule)
        start = after
        if schedule.every is not None and name in anchors:
            start = anchors[name] + (after - anchors[name]) // timedelta(seconds=schedule.every) * timedelta(
                seconds=schedule.every
            )
        times = fires_of_expression(schedule, task.timezone, start, until, count)
        found += [Fire(experiment.name, name, task.schedule, task.timezone, each) for each in times]
    return sorted(found, key=lambda each: (each.at, each.task))


def suspended_tasks(experiment: Experiment) -> list[str]:
    """A line for each task that will not fire by itself, and why."""
    lines = []
    for name, task in tasks(experiment):
        if task.schedule is None:
            lines.append(f"{name}: has no schedule")
        elif task.suspend:
            lines.append(f"{name}: is suspended")
    return lines


def warnings(experiment: Experiment, now: datetime, durations: Mapping[str, float]) -> list[str]:
    """What a reader of the schedules may not expect in the year after ``now``, a line each.

    ``durations`` holds by task how many seconds its runs have taken; a task without any is not foretold.
    """
    lines: dict[str, list[str]] = {}
    for name, task in tasks(experiment):
        if task.schedule is not None:
            schedule = parse(task.schedule)
            for line in surprises(schedule, task.timezone, now):
                lines.setdefault(f"{task.schedule!r}: {line}", []).append(name)
            if schedule.every is not None and task.starting_deadline <= schedule.every:
                # The controller raises the time that it counts from to now less the deadline.
                line = "a cluster never fires it: starting_deadline must be longer, for @every is counted from its beginning"
                lines.setdefault(f"{task.schedule!r}: {line}", []).append(name)
    # Tasks that share a schedule share its surprises.
    found = [f"{', '.join(names)}: {line}" for line, names in lines.items()]
    if experiment.ensemble is not None and experiment.ensemble.schedule is not None:
        found += _too_early(experiment, experiment.ensemble, now, durations)
    return found


def _too_early(experiment: Experiment, ensemble: Ensemble, now: datetime, durations: Mapping[str, float]) -> list[str]:
    """Members whose models the ensemble's coming fires would find not yet made, or too old: the first case of each."""
    assert ensemble.schedule is not None
    coming = fires_of_expression(parse(ensemble.schedule), ensemble.timezone, now, now + _HOURS, _ENSEMBLES)
    lines = []
    for name, member in experiment.members.items():
        if member.schedule is None or not coming:
            continue
        schedule = parse(member.schedule)
        if schedule.every is not None or not next(fires(schedule, member.timezone, now), None):
            continue
        window = fires(schedule, member.timezone, now - _HOURS)
        took = durations.get(member_task(name))
        line = _first_case(list(_until(window, coming[-1] + _HOURS)), coming, member, ensemble, took)
        if line:
            lines.append(f"{ENSEMBLE_TASK}: {line.replace('TASK', member_task(name))}")
    return lines


def _until(times: Iterator[datetime], last: datetime) -> Iterator[datetime]:
    for each in islice(times, 5000):
        if each > last:
            return
        yield each


def _first_case(
    trained: list[datetime], coming: list[datetime], member: Task, ensemble: Ensemble, took: float | None
) -> str | None:
    for at in coming:
        past = [each for each in trained if each <= at]
        later = next((each for each in trained if each > at), None)
        last = past[-1] if past else None
        shown = f"at {_local(at, ensemble)} it"
        if last is not None:
            since = at - last
            if took is not None and since < timedelta(seconds=took):
                ready = last + timedelta(seconds=took)
                told = f"{shown} fires before TASK of {_local(last, member)} has finished ({format_duration(took)} lately)"
                return f"{told}: an older model is taken; let it fire after {_local(ready, ensemble)}"
            if took is None and since < timedelta(seconds=min(member.starting_deadline, _gap(past, later))):
                told = (
                    f"{shown} fires {format_duration(since.total_seconds())} after TASK" if since else f"{shown} fires with TASK"
                )
                latest = format_duration(member.starting_deadline)
                return f"{told}, which may start as late as {latest} after its time: let it fire later"
            if ensemble.max_age is not None and since > timedelta(seconds=ensemble.max_age):
                told = f"{shown} finds no model of TASK from within max_age ({format_duration(ensemble.max_age)})"
                return f"{told}: the last is of {_local(last, member)}"
        if later is not None and last is not None and (later - at) * _LATE < at - last:
            wait, age = format_duration((later - at).total_seconds()), format_duration((at - last).total_seconds())
            return f"{shown} fires {wait} before TASK: its model will be {age} old; let it fire later"
    return None


def _gap(past: list[datetime], later: datetime | None) -> float:
    """Seconds between a member's fire times there: one that fires often need not be waited for."""
    times = [*past[-2:], *([later] if later else [])]
    apart = [(b - a).total_seconds() for a, b in zip(times, times[1:], strict=False)]
    return min(apart) / 4 if apart else float("inf")


def _local(at: datetime, task: Task) -> str:
    return f"{at.astimezone(ZoneInfo(task.timezone)):%Y-%m-%d %H:%M}"


def format_duration(duration: float) -> str:
    """Seconds as the two largest units: 2d 3h, 3h 20m, 45s."""
    left, parts = round(duration), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0s"


def row(fire: Fire) -> dict[str, Any]:
    """One fire time with the keys of the JSON form."""
    return {
        "experiment": fire.experiment,
        "task": fire.task,
        "schedule": fire.schedule,
        "timezone": fire.timezone,
        "local": fire.local.isoformat(),
        "fire": format_time(fire.at),
    }


def format_time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
