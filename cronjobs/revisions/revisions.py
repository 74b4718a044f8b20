"""Revisions: what was synced or served, from when on; which holds when, how two differ, and how many become one.

A revision is a JSON object that says what differs from the one before it of the same engine: ``revision`` (its number,
from 1), ``time``, ``by``, ``tool`` (version), ``what`` (sync, suspend, resume, delete, serve, run), ``engine``
(``host:<name>`` or ``cluster:<server>/<namespace>``), ``program`` and ``code`` (SHA-256), ``tasks`` (by name:
``schedule``, ``timezone``, ``suspend``, ``concurrency``, ``starting_deadline`` and ``deadline`` in seconds, ``task``: the
SHA-256 of its resolved configuration) and ``gone`` (names of tasks). One that says ``folded``, for how many it stands,
says everything: what it does not name is not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from cronjobs.objects import labels
from jobs.contract import revision_problem, revision_time

Revision = dict[str, Any]
Tasks = dict[str, dict[str, Any]]

MANUAL = "run"
"""The ``what`` of a revision by `cronsemble run`: recorded, but it schedules nothing."""

_SCHEDULING = ("schedule", "timezone", "suspend", "concurrency", "starting_deadline", "deadline")


@dataclass(frozen=True)
class TaskSchedule:
    """What one task was to do while a revision held; durations in seconds."""

    schedule: str | None = None
    timezone: str = "UTC"
    suspend: bool = False
    concurrency: str = "Forbid"
    starting_deadline: int | None = None
    deadline: int | None = None


@dataclass(frozen=True)
class SchedulePeriod:
    """How long a task had one plan: after ``start`` and up to ``end``, in seconds since 1970 in UTC."""

    start: float
    end: float
    plan: TaskSchedule
    engine: str
    by: str


def tasks(cronjobs: Iterable[Mapping[str, Any]]) -> Tasks:
    """What a revision says of each task, from its CronJob; ``suspend`` only where the CronJob says it."""
    found = {}
    for each in cronjobs:
        spec, job = each["spec"], each["spec"]["jobTemplate"]["spec"]
        text = job["template"]["metadata"].get("annotations", {}).get(labels.CONFIGURATION, "")
        told = {
            "schedule": spec["schedule"],
            "timezone": spec.get("timeZone"),
            "suspend": spec.get("suspend"),
            "concurrency": spec.get("concurrencyPolicy"),
            "starting_deadline": spec.get("startingDeadlineSeconds"),
            "deadline": job.get("activeDeadlineSeconds"),
            "task": hashlib.sha256(text.encode()).hexdigest(),
        }
        found[each["metadata"]["labels"][labels.TASK]] = {key: value for key, value in told.items() if value is not None}
    return found


def snapshot(objects: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The hashes of program and code, from their ConfigMaps."""
    found = {"program": "", "code": ""}
    for each in objects:
        part = each["metadata"]["labels"].get(labels.COMPONENT)
        if each["kind"] == "ConfigMap" and part in found:
            found[part] = each["metadata"]["annotations"][labels.SHA256]
    return found


def digest(described: Tasks, held: Mapping[str, str]) -> str:
    """A hash of all that a revision would say."""
    import msgspec  # late: what looks for damage beside a store reads this module, and has it not

    return hashlib.sha256(msgspec.json.encode([described, held], order="sorted")).hexdigest()[:32]


def states(revisions: Iterable[Revision]) -> Iterator[tuple[Revision, Tasks, Tasks]]:
    """Each revision of one engine with the tasks before and after it; every task holds program and code too."""
    now: Tasks = {}
    for revision in revisions:
        before = {name: dict(task) for name, task in now.items()}
        now = _after(before, revision)
        yield revision, before, now


def _after(before: Tasks, revision: Revision) -> Tasks:
    if revision.get("folded"):
        before = {}
    held = {key: revision[key] for key in ("program", "code") if key in revision}
    inherited = next(({k: t[k] for k in ("program", "code") if k in t} for t in before.values()), {})
    after = {name: {**task, **held} for name, task in before.items() if name not in revision.get("gone", ())}
    for name, told in revision.get("tasks", {}).items():
        after[name] = {**inherited, **held, **after.get(name, {}), **told}
    return after


def delta(before: Tasks, after: Tasks, held: Mapping[str, str], partial: bool = False) -> dict[str, Any]:
    """What a revision must say to lead from ``before`` to ``after``; suspension that ``after`` leaves open stays.

    ``partial``: tasks that ``after`` does not name stay too.
    """
    known = next(({key: task.get(key, "") for key in ("program", "code")} for task in before.values()), {})
    changed = {}
    for name, task in after.items():
        old = before.get(name, {})
        if differs := {key: value for key, value in task.items() if old.get(key) != value}:
            changed[name] = differs
    told: dict[str, Any] = {"tasks": changed, "gone": [] if partial else sorted(set(before) - set(after))}
    return {**({} if partial or known == held else held), **{key: value for key, value in told.items() if value}}


def fold(revisions: list[Revision], size: int, recorded_until: str | None) -> list[Revision]:
    """The same revisions of one engine in at most about ``size`` bytes: the oldest as one.

    Those after ``recorded_until``, the last time that a run is known to have put them into the store, only if they must.
    """
    kept = list(revisions)
    while len(kept) > 1 and sum(map(_size, kept)) > size:
        safe = [each for each in kept if recorded_until and each["time"] <= recorded_until]
        count = min(max(2, len(safe) or len(kept) // 2), len(kept) - 1) if len(kept) > 2 else 2
        *_, (last, _, after) = states(kept[:count])
        kept = [with_every_task(last, after, sum(each.get("folded", 1) for each in kept[:count])), *kept[count:]]
    return kept


def with_every_task(revision: Revision, after: Tasks, folded: int = 1) -> Revision:
    """The revision as one that says everything, and stands for ``folded``."""
    held = next(({key: task.get(key, "") for key in ("program", "code")} for task in after.values()), {})
    own = {name: {k: v for k, v in task.items() if k not in ("program", "code")} for name, task in after.items()}
    base = {key: value for key, value in revision.items() if key not in ("tasks", "gone", "program", "code")}
    return {**base, **held, "tasks": own, "folded": folded}


def _size(revision: Revision) -> int:
    import msgspec  # late: what looks for damage beside a store reads this module, and has it not

    return len(msgspec.json.encode(revision)) + 16


def merge(*lists: Iterable[Revision]) -> list[Revision]:
    """Revisions from several places without doubles, each engine's in the order of its numbers; a folded one yields.

    What is no revision is left out. An engine that counts from 1 anew (its ConfigMap was deleted) goes on after its last.
    """
    found: dict[tuple[str, str, int], Revision] = {}
    for each in (each for some in lists for each in some):
        if revision_problem(each):
            continue
        key = (str(each.get("engine", "")), str(each["time"]), int(each["revision"]))
        if key not in found or found[key].get("folded", 0) > each.get("folded", 0):
            found[key] = each
    return [each for chain in _chains(found.values()) for each in chain]


def _chains(revisions: Iterable[Revision]) -> list[list[Revision]]:
    engines: dict[str, list[Revision]] = {}
    for each in revisions:
        engines.setdefault(str(each.get("engine", "")), []).append(each)
    chains = []
    for _, some in sorted(engines.items()):
        lives: list[dict[int, Revision]] = [{}]
        for each in sorted(some, key=lambda each: (revision_time(each), each["revision"])):
            if each["revision"] in lives[-1]:
                lives.append({})
            lives[-1][each["revision"]] = each
        chains.append([life[number] for life in lives for number in sorted(life)])
    return chains


@dataclass(frozen=True)
class RevisionPeriod:
    """A revision, and the tasks while it held: from ``start`` to ``end`` in seconds since 1970, or without end."""

    start: float
    end: float
    revision: Revision
    before: Tasks
    tasks: Tasks

    @property
    def engine(self) -> str:
        return str(self.revision.get("engine", ""))


def periods(revisions: Iterable[Revision], now: float = inf) -> list[RevisionPeriod]:
    """Every revision with its tasks, oldest first; ``end`` is when the next one came, whose ever.

    Of clocks that were wrong: one with a later number never begins before an earlier one, and one that is dated after
    ``now`` begins when the next one does, or now.
    """
    found = []
    for chain in _chains(merge(revisions)):
        starts = [revision_time(each) for each in chain]
        following = now
        for n in range(len(starts) - 1, -1, -1):
            starts[n] = following = min(starts[n], following) if starts[n] > now else starts[n]
        start = -inf
        for given, (revision, before, after) in zip(starts, states(chain), strict=True):
            start = max(start, given)
            found.append(RevisionPeriod(start, inf, revision, before, after))
    found.sort(key=lambda each: (each.start, each.engine, each.revision["revision"]))
    ends = [*[each.start for each in found[1:]], inf][: len(found)]
    return [
        RevisionPeriod(each.start, end, each.revision, each.before, each.tasks) for each, end in zip(found, ends, strict=True)
    ]


def scheduling_periods(revisions: Iterable[Revision], now: float = inf) -> list[RevisionPeriod]:
    """The revisions that schedule something, each until the next such one; those of `cronsemble run` do not."""
    return periods((each for each in revisions if each.get("what") != MANUAL), now)


def at(holds: Iterable[RevisionPeriod], instant: float) -> RevisionPeriod | None:
    """The one that holds at an instant, in seconds since 1970 in UTC."""
    return next((each for each in holds if each.start <= instant < each.end), None)


def schedule_periods(holds: Iterable[RevisionPeriod]) -> dict[str, list[SchedulePeriod]]:
    """Each task's plans, oldest first; what changes nothing of its schedule does not part a span."""
    found: dict[str, list[SchedulePeriod]] = {}
    for held in holds:
        if held.end <= held.start:
            continue
        for name, task in held.tasks.items():
            plan = _plan(task)
            some = found.setdefault(name, [])
            last = some[-1] if some else None
            joined = last is not None and last.end == held.start and last.engine == held.engine
            if joined and last is not None and last.plan == plan:
                some[-1] = SchedulePeriod(last.start, held.end, plan, last.engine, last.by)
            else:
                some.append(SchedulePeriod(held.start, held.end, plan, held.engine, str(held.revision.get("by", ""))))
    return found


def _plan(task: Mapping[str, Any]) -> TaskSchedule:
    return TaskSchedule(**{key: task[key] for key in _SCHEDULING if task.get(key) is not None})


def differences(before: Tasks, after: Tasks) -> list[str]:
    """What changed from one to the other, a line each, for people."""
    lines = [f"{name}: gone" for name in sorted(set(before) - set(after))]
    for name, task in after.items():
        old = before.get(name)
        if old is None:
            lines.append(f"{name}: new, {_spelled(task)}")
            continue
        for key in sorted({*old, *task}):
            was, now = old.get(key), task.get(key)
            if was != now and key not in ("program", "code"):
                lines.append(f"{name}: {key}: {_short(key, was)} → {_short(key, now)}")
    for key in ("program", "code"):
        was, now = ({task.get(key, "") for task in some.values()} for some in (before, after))
        if before and after and was != now:
            lines.append(f"{key}: {_short(key, *was)} → {_short(key, *now)}")
    return lines


def _spelled(task: Mapping[str, Any]) -> str:
    rests = ", suspended" if task.get("suspend") else ""
    return f"{task.get('schedule') or 'no schedule'} {task.get('timezone', 'UTC')}{rests}"


def _short(key: str, *values: Any) -> str:
    """A value for people: a hash by its beginning, nothing as a dash."""
    return ", ".join(
        str(v)[:12] if key in ("task", "program", "code") and v else "-" if v in (None, "") else str(v) for v in values
    )
