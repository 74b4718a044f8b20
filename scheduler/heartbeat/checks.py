"""The checks that an experiment's tasks should have, those that a server has, and what leads from one to the other: values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jobs.pings import check_slug
from scheduler.heartbeat.server_schedule import LEAST_SECONDS, MOST_SECONDS, ServerSchedule, server_schedule
from scheduler.heartbeat.watched_task import WatchedTask
from scheduler.times import format_duration

TAG = "cronsemble"
DESCRIPTION = "Made by cronsemble, which keeps its schedule, zone and grace as the configuration has them."


@dataclass(frozen=True)
class Timing:
    """When a check expects pings: by a schedule in a zone, or so many seconds after the last one; and how long it waits for them.

    ``schedule``: five fields of cron, or lines of OnCalendar. ``before_3_1``: what a server is given that knows no OnCalendar.
    """

    grace: int
    schedule: str | None = None
    timezone: str = "UTC"
    timeout: int | None = None
    before_3_1: Timing | None = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.schedule is None:
            when = f"every {format_duration(self.timeout or 0)}"
        else:
            when = " and ".join(f'"{line}"' for line in self.schedule.split("\n")) + f" {self.timezone}"
        return f"{when}, grace {format_duration(self.grace)}"


@dataclass(frozen=True)
class DesiredCheck:
    """A check that a task should have; without a timing none, and one that is there is paused."""

    slug: str
    timing: Timing | None


@dataclass(frozen=True)
class ExistingCheck:
    """A check as the server has it. ``status``: new, up, grace, down or paused."""

    uuid: str
    name: str
    slug: str
    tags: frozenset[str]
    timing: Timing
    status: str
    resumes_by_hand: bool
    pings: int = 0


class Verb(StrEnum):
    """What is done with a check."""

    CREATE = "create"
    CHANGE = "change"
    PAUSE = "pause"
    RESUME = "resume"
    ARM = "arm"
    """It has had no ping yet, and would not notice that none comes."""
    REMOVE = "remove"
    """Two syncs at once have made it twice, and the server would take pings for neither."""


@dataclass(frozen=True)
class CheckAction:
    """One change of one check; ``check`` is None for one to be made, ``timing`` what it is to have."""

    verb: Verb
    slug: str
    check: ExistingCheck | None = None
    timing: Timing | None = None

    def __str__(self) -> str:
        signs = {Verb.CREATE: "+", Verb.PAUSE: "-", Verb.REMOVE: "-"}
        text = f"{signs.get(self.verb, '~')} check {self.slug}"
        if self.verb == Verb.CHANGE and self.check is not None:
            return f"{text}: {self.check.timing} → {self.timing}"
        if self.verb == Verb.CREATE:
            return f"{text}: {self.timing}"
        words = {Verb.PAUSE: "paused", Verb.RESUME: "resumed", Verb.ARM: "expects runs from now on", Verb.REMOVE: "made twice"}
        return f"{text}: {words[self.verb]}" + (f", {self.timing}" if self.verb == Verb.RESUME else "")


@dataclass(frozen=True)
class CheckPlan:
    """What is to be done with an experiment's checks, and what its user should know of them."""

    actions: tuple[CheckAction, ...]
    notes: tuple[str, ...]


def desired_checks(experiment: str, tasks: Iterable[WatchedTask], today: int) -> tuple[list[DesiredCheck], list[str]]:
    """The checks that these tasks should have, and notes; ``today`` in days since 1970. Raises ScheduleError."""
    checks, notes = [], []
    for task in tasks:
        slug, timing = check_slug(experiment, task.task), None
        if not task.is_suspended:
            timing, note = timing_of(task, today)
            if note:
                notes.append(f"check {slug}: {note}")
        checks.append(DesiredCheck(slug, timing))
    return checks, notes


def timing_of(task: WatchedTask, today: int) -> tuple[Timing | None, str]:
    """When a task's check expects pings, None for never; and what a user may not expect of it. Raises ScheduleError."""
    schedule = server_schedule(task.schedule, task.timezone, today)
    if schedule is None:
        return None, "its schedule does not fire within five years: there is nothing to expect"
    timing, note = _timing(task, schedule), ""
    if timing.schedule is None and not task.schedule.startswith("@every"):
        note = "its schedule is too long for the server, which waits for any ping"
    if schedule.extra_grace:
        longer = format_duration(schedule.extra_grace)
        note = (
            f"its grace is {longer} longer, for where clocks are set the server expects a run that is not due: "
            "a time that clocks neither leave out nor show twice needs none"
        )
    return timing, note


def _timing(task: WatchedTask, schedule: ServerSchedule) -> Timing:
    grace = min(max(task.seconds + schedule.extra_grace, LEAST_SECONDS), MOST_SECONDS)
    if schedule.schedule is None:
        return Timing(grace, timeout=schedule.timeout)
    older = None if schedule.before_3_1 is None else _timing(task, schedule.before_3_1)
    return Timing(grace, schedule.schedule, task.timezone, before_3_1=older)


def experiment_tag(experiment: str) -> str:
    """The tag of the checks of an experiment."""
    return f"experiment={experiment}"


def parse_check(value: Mapping[str, Any]) -> ExistingCheck:
    """A check of the server's list; raises KeyError, TypeError or ValueError for what is none."""
    uuid = str(value.get("uuid") or str(value["update_url"]).rstrip("/").rpartition("/")[2])
    schedule = value.get("schedule")
    timing = Timing(
        grace=int(value["grace"]),
        schedule=None if schedule is None else str(schedule),
        timezone="UTC" if schedule is None else str(value.get("tz", "UTC")),
        timeout=int(value["timeout"]) if schedule is None else None,
    )
    return ExistingCheck(
        uuid=uuid,
        name=str(value.get("name") or ""),
        slug=str(value.get("slug") or ""),
        tags=frozenset(str(value.get("tags") or "").split()),
        timing=timing,
        status=str(value.get("status")),
        resumes_by_hand=bool(value.get("manual_resume")),
        pings=int(value.get("n_pings") or 0),
    )


def plan_checks(experiment: str, desired: Sequence[DesiredCheck], existing: Sequence[ExistingCheck]) -> CheckPlan:
    """What gives an experiment the checks that it should have; those that others made are left as they are, and said."""
    own_tags = {TAG, experiment_tag(experiment)}
    own: dict[str, list[ExistingCheck]] = {}
    for check in existing:
        if own_tags <= check.tags:
            own.setdefault(check.slug, []).append(check)
    foreign = {name for check in existing if not own_tags <= check.tags for name in (check.slug, check.name)}
    actions: list[CheckAction] = []
    notes = []
    wanted = {check.slug: check.timing for check in desired}
    for slug, timing in wanted.items():
        if slug in foreign:
            hint = f"remove it, or give it the tags {' '.join(sorted(own_tags))}"
            notes.append(
                f"a check {slug} is there that cronsemble did not make: it is left as it is, and nothing else watches: {hint}"
            )
            continue
        mine, doubled = _first(own.get(slug, ()))
        actions += [CheckAction(Verb.REMOVE, slug, check) for check in doubled]
        actions += _actions(slug, mine, timing)
        if mine is not None and timing is not None and mine.timing == timing.before_3_1:
            longer = format_duration(mine.timing.grace - timing.grace)
            notes.append(
                f"check {slug}: a server before Healthchecks 3.1 knows no OnCalendar, so the check's grace is {longer} longer "
                "than it need be: when the server is updated, pause the check there, and sync again"
            )
    for slug, checks in own.items():
        if slug not in wanted:
            actions += [CheckAction(Verb.PAUSE, slug, check) for check in checks if check.status != "paused"]
    return CheckPlan(tuple(actions), tuple(notes))


def _actions(slug: str, check: ExistingCheck | None, timing: Timing | None) -> list[CheckAction]:
    if check is None:
        return [] if timing is None else [CheckAction(Verb.CREATE, slug, None, timing)]
    if timing is None:
        return [] if check.status == "paused" else [CheckAction(Verb.PAUSE, slug, check)]
    if check.status == "paused":
        return [CheckAction(Verb.RESUME, slug, check, timing)]
    if check.timing not in (timing, timing.before_3_1) or not check.resumes_by_hand:
        return [CheckAction(Verb.CHANGE, slug, check, timing)]
    return [CheckAction(Verb.ARM, slug, check)] if check.status == "new" else []


def _first(checks: Iterable[ExistingCheck]) -> tuple[ExistingCheck | None, list[ExistingCheck]]:
    """The check that has had the most pings, and the others."""
    ordered = sorted(checks, key=lambda check: (-check.pings, check.uuid))
    return (ordered[0], ordered[1:]) if ordered else (None, [])
