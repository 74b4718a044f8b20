"""Upcoming fire times of an expression or of an experiment's tasks, and warnings about its schedules. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

from cronjobs.experiment import Ensemble, Experiment, Task
from cronjobs.tasks import tasks_of
from jobs.contract import ENSEMBLE_TASK, member_task
from jobs.fire_times.fires import fires
from jobs.fire_times.schedule import Schedule, ScheduleError, parse
from jobs.fire_times.surprises import surprises
from scheduler.config.errors import nearest
from scheduler.errors import CronsembleError
from scheduler.times import format_duration, format_time

_ENSEMBLE_HORIZON = timedelta(days=14)
"""How far ahead the ensemble's fires are compared with the members'."""
_ENSEMBLE_FIRES = 20
"""How many of them at most."""
_REACHES = (timedelta(hours=2), timedelta(days=2), timedelta(days=62), timedelta(days=5 * 366))
"""How far back a member's fires are looked for, until there are two."""
_SHORTEST_INTERVAL = 1200
"""Seconds: where a member fires more often, the model before is hardly older than the one that the ensemble does not wait for."""
_MISTIMED = 4
"""A member's next fire this many times nearer than its last one: the ensemble was meant to come after it."""


_AT_OVERLAP = {
    "forbid": "is skipped if it still waits (concurrency: forbid)",
    "replace": "takes the place of the one that waits (concurrency: replace)",
    "allow": "waits beside it (concurrency: allow)",
}


@dataclass(frozen=True)
class Fire:
    """One upcoming fire time, of one task; of a bare expression, ``experiment`` and ``task`` are empty."""

    experiment: str
    task: str
    schedule: str
    timezone: str
    time: datetime

    @property
    def local(self) -> datetime:
        """The time as the clocks of its zone show it."""
        return self.time.astimezone(ZoneInfo(self.timezone))


def parse_expression(expression: str, timezone: str, today: date) -> Schedule:
    """The schedule of an expression typed by a user; raises CronsembleError for it or for the zone.

    The error says from ``today`` on what an expression of another dialect would mean.
    """
    check_timezone(timezone)
    try:
        return parse(expression)
    except ScheduleError as error:
        from scheduler.dialects.hint import explain

        raise CronsembleError(f"{expression!r}: {explain(error, expression, timezone, today)}") from error


def check_timezone(name: str) -> None:
    """Raise CronsembleError unless the name typed for --timezone is a zone's."""
    from scheduler.config.checks import is_zone

    if not is_zone(name):
        from zoneinfo import available_timezones

        raise CronsembleError(f"--timezone {name!r} is not a time zone: {nearest(name, sorted(available_timezones()))}")


def fires_of_expression(schedule: Schedule, timezone: str, after: datetime, until: datetime | None, count: int) -> list[datetime]:
    """At most ``count`` fire times after ``after`` and up to ``until``."""
    times = islice(fires(schedule, timezone, after), count)
    return list(times) if until is None else list(takewhile(lambda time: time <= until, times))


def fires_of_experiment(
    experiment: Experiment, after: datetime, until: datetime | None, count: int, anchors: Mapping[str, datetime]
) -> list[Fire]:
    """For each task that has a schedule and is not suspended, at most ``count`` fire times, in the order of time.

    ``anchors`` says by task from which instant its @every is counted; by default from ``after``.
    """
    upcoming = []
    for name, task in tasks_of(experiment):
        if task.schedule is None or task.suspend:
            continue
        schedule = parse(task.schedule)
        start = after
        if schedule.every is not None and name in anchors:
            interval = timedelta(seconds=schedule.every)
            start = anchors[name] + (after - anchors[name]) // interval * interval
        times = fires_of_expression(schedule, task.timezone, start, until, count)
        upcoming += [Fire(experiment.name, name, task.schedule, task.timezone, time) for time in times]
    return sorted(upcoming, key=lambda fire: (fire.time, fire.task))


def suspended_tasks(experiment: Experiment) -> list[str]:
    """A line for each task that will not fire by itself, and why."""
    lines = []
    for name, task in tasks_of(experiment):
        if task.schedule is None:
            lines.append(f"{name}: has no schedule")
        elif task.suspend:
            lines.append(f"{name}: is suspended")
    return lines


def warnings(experiment: Experiment, now: datetime, durations: Mapping[str, float]) -> list[str]:
    """What a reader of the schedules may not expect in the year after ``now``, a line each.

    ``durations`` holds by task how many seconds its runs have taken; for a task without any its starting deadline counts.
    """
    tasks_by_warning: dict[str, list[str]] = {}
    for name, task in tasks_of(experiment):
        if task.schedule is not None:
            schedule = parse(task.schedule)
            for surprise in surprises(schedule, task.timezone, now):
                tasks_by_warning.setdefault(f"{task.schedule!r}: {surprise}", []).append(name)
            if schedule.every is not None and task.starting_deadline <= schedule.every:
                # The controller raises the time that it counts from to now less the deadline.
                warning = "a cluster never fires it: starting_deadline must be longer, for @every is counted from its beginning"
                tasks_by_warning.setdefault(f"{task.schedule!r}: {warning}", []).append(name)
    # Tasks that share a schedule share its surprises.
    lines = [f"{', '.join(names)}: {warning}" for warning, names in tasks_by_warning.items()]
    if experiment.ensemble is not None and experiment.ensemble.schedule is not None:
        lines += _ensemble_warnings(experiment, experiment.ensemble, now, durations)
    return lines


def _ensemble_warnings(experiment: Experiment, ensemble: Ensemble, now: datetime, durations: Mapping[str, float]) -> list[str]:
    """Members whose models the ensemble's upcoming fires would find not yet trained, or too old: the first case of each.

    Members of which the same is true at the same fire share a line.
    """
    assert ensemble.schedule is not None
    horizon = now + _ENSEMBLE_HORIZON
    ensemble_fires = fires_of_expression(parse(ensemble.schedule), ensemble.timezone, now, horizon, _ENSEMBLE_FIRES)
    if not ensemble_fires:
        return []
    cases: dict[tuple[str, datetime], list[_Case]] = {}
    for name, member in experiment.members.items():
        if member.schedule is None:
            continue
        schedule = parse(member.schedule)
        if schedule.every is not None or not next(fires(schedule, member.timezone, now), None):
            continue
        task = member_task(name)
        case = _first_case(schedule, ensemble_fires, task, member, ensemble, durations.get(task))
        if case is not None:
            cases.setdefault((case.problem, case.time), []).append(case)
    lines = [
        f"{ENSEMBLE_TASK}: at {_local(time, ensemble)} it {_describe(problem, own, ensemble)}"
        for (problem, time), own in cases.items()
    ]
    if (overlap := _overlap(ensemble, ensemble_fires)) is not None:
        apart, time = overlap
        waits = (
            f"it may wait {format_duration(ensemble.wait or 0)} for its members, and fires again after {format_duration(apart)}"
        )
        lines.append(f"{ENSEMBLE_TASK}: from {_local(time, ensemble)} {waits}: that slot {_AT_OVERLAP[ensemble.concurrency]}")
    return lines


def _overlap(ensemble: Ensemble, fires: Sequence[datetime]) -> tuple[float, datetime] | None:
    """The first fire of an ensemble whose wait may go on beyond the next one: the seconds between the two, and its time."""
    gaps = (((later - earlier).total_seconds(), earlier) for earlier, later in pairwise(fires))
    return next((gap for gap in gaps if ensemble.wait is not None and ensemble.wait > gap[0]), None)


def _fires_around(schedule: Schedule, timezone: str, time: datetime) -> tuple[list[datetime], datetime | None]:
    """At most the two last fire times up to an instant, and the one after it, as far as they are near."""
    past: list[datetime] = []
    for reach in _REACHES:
        past = list(takewhile(lambda fire: fire <= time, fires(schedule, timezone, time - reach)))[-2:]
        if len(past) == 2:
            break
    following = next(fires(schedule, timezone, time), None)
    return past, following if following is not None and following <= time + 2 * _ENSEMBLE_HORIZON else None


@dataclass(frozen=True)
class _Case:
    """What an ensemble's fire at ``time`` finds of one member: the ``problem``, and how far the two are apart.

    ``seconds``: from the member's fire to the ensemble's, or how long its training took (``unfinished``), or to its next fire
    (``early``). ``limit``: when it will be ready, or the seconds after its time in which it may start, or the age of its model.
    """

    problem: str
    time: datetime
    task: str
    seconds: float
    last: str = ""
    ready: datetime | None = None
    limit: float = 0.0


def _first_case(
    schedule: Schedule,
    ensemble_fires: Sequence[datetime],
    task: str,
    member: Task,
    ensemble: Ensemble,
    duration: float | None,
) -> _Case | None:
    """The first fire of the ensemble that does not find a member's model of the day.

    ``task`` is the member's, ``duration`` how many seconds its training took lately.
    """
    waits = ensemble.wait or 0
    for time in ensemble_fires:
        past, following = _fires_around(schedule, member.timezone, time)
        last = past[-1] if past else None
        interval = _interval(past, following)
        is_worth_waiting = interval >= _SHORTEST_INTERVAL
        if last is not None:
            since, of = (time - last).total_seconds(), _local(last, member)
            # A member that fires again before it has finished has no time at which that would be better.
            if is_worth_waiting and duration is not None and since + waits < duration < interval:
                return _Case("unfinished", time, task, duration, of, last + timedelta(seconds=duration))
            # A quarter of the interval is what its run is worth waiting for.
            limit = min(member.starting_deadline, interval / 4)
            # Who waits until the last start waits for the run, too.
            if is_worth_waiting and duration is None and since < limit and since + waits < member.starting_deadline:
                return _Case("close", time, task, since, of, limit=member.starting_deadline)
            if ensemble.max_age is not None and since > ensemble.max_age:
                return _Case("old", time, task, since, of)
        if following is not None and last is not None and (following - time) * _MISTIMED < time - last:
            wait, age = (following - time).total_seconds(), (time - last).total_seconds()
            return _Case("early", time, task, wait, limit=age)
    return None


def _describe(problem: str, cases: Sequence[_Case], ensemble: Ensemble) -> str:
    """What an ensemble's fire finds of these members, in one sentence."""
    is_one, tasks = len(cases) == 1, ", ".join(case.task for case in cases)
    if problem == "unfinished":
        trainings = ", ".join(f"{case.task} of {case.last}" for case in cases)
        lately = ", ".join(dict.fromkeys(format_duration(case.seconds) for case in cases))
        models = "has finished ({} lately): an older model is" if is_one else "have finished ({} lately): older models are"
        ready = max(case.ready for case in cases if case.ready)
        models, after = models.format(lately), _local(ready, ensemble)
        if ensemble.wait:
            longer = format_duration(60 * -(-(ready - cases[0].time).total_seconds() // 60))
            waits = f"waits {format_duration(ensemble.wait)}, and goes on before"
            return f"{waits} {trainings} {models} taken; let it wait {longer}, or fire after {after}"
        return f"fires before {trainings} {models} taken; let it fire after {after}"
    if problem == "close":
        after = _joined((f"{format_duration(case.seconds)} after" if case.seconds else "with", case.task) for case in cases)
        latest = format_duration(max(case.limit for case in cases))
        its = "its time" if is_one else "their times"
        waits = f", and waits {format_duration(ensemble.wait)}: let it wait longer, or" if ensemble.wait else ": let it"
        return f"fires {after}, which may start as late as {latest} after {its}{waits} fire later"
    if problem == "old":
        lasts = ", ".join(dict.fromkeys(case.last for case in cases))
        max_age = format_duration(ensemble.max_age or 0)
        return f"finds no model of {tasks} from within max_age ({max_age}): the last {'is' if is_one else 'are'} of {lasts}"
    before = _joined((f"{format_duration(case.seconds)} before", case.task) for case in cases)
    ages = ", ".join(dict.fromkeys(format_duration(case.limit) for case in cases))
    return f"fires {before}: {'its model' if is_one else 'their models'} will be {ages} old; let it fire later"


def _joined(pairs: Iterable[tuple[str, str]]) -> str:
    """``10m after a, b, with c``: each beginning once, with what follows it."""
    by_beginning: dict[str, list[str]] = {}
    for beginning, name in pairs:
        by_beginning.setdefault(beginning, []).append(name)
    return ", ".join(f"{beginning} {', '.join(names)}" for beginning, names in by_beginning.items())


def _interval(past: Sequence[datetime], following: datetime | None) -> float:
    """The seconds at which a member fires around then; infinite where it fires once."""
    times = [*past, *([following] if following else [])]
    return min(((later - earlier).total_seconds() for earlier, later in pairwise(times)), default=inf)


def _local(time: datetime, task: Task) -> str:
    return f"{time.astimezone(ZoneInfo(task.timezone)):%Y-%m-%d %H:%M}"


def json_fire(fire: Fire) -> dict[str, Any]:
    """One fire time with the keys of the JSON form."""
    return {
        "experiment": fire.experiment,
        "task": fire.task,
        "schedule": fire.schedule,
        "timezone": fire.timezone,
        "local": fire.local.isoformat(),
        "fire": format_time(fire.time),
    }
