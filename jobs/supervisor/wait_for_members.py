"""An ensemble's wait for its members: until every slot of theirs since its last one has ended, at most its configured time.

It knows the slots by the revisions and what became of them by the store, and nothing else: the same in a pod and in `serve`. The
keras3 runtime's Python, which has time zones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from math import inf
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs import contract as c
from jobs.awaited_slots import awaited_slots
from jobs.contract import RunId, RunKind, member_task, parse_time, slot_text
from jobs.revisions import annotation_text
from jobs.schedule_periods import SchedulePeriod, schedule_periods, scheduling_periods, task_schedule
from jobs.store import Store, snapshot_digests
from jobs.store.process_identity import process_identity
from jobs.store.waits import is_over
from jobs.supervisor.member_slots import Note, SlotState, member_window, slot_states
from jobs.supervisor.poll_runs import Awaited, back_off, now, say, wait_while
from jobs.supervisor.run_context import RunContext
from jobs.supervisor.snapshots import mounted_revisions

RETURNS = 30.0
"""Seconds that a pod needs to be there again, beside the Job controller's back-off."""

_NAMES = ("member", "slot", "local", "run", "outcome")
"""What is said of a slot that was waited for."""
Periods = Mapping[str, Sequence[SchedulePeriod]]


def wait_for_members(context: RunContext) -> bool:
    """Wait for the members of this run, where it is a schedule's and its configuration says so.

    False if the process was asked to stop, or should end now and be started again later.
    """
    if not waits(context.task, context.env.get(c.ENV_KIND, RunKind.SCHEDULED)):
        return True
    mounted = context.env.get(c.ENV_REVISIONS)
    revisions = partial(mounted_revisions, Path(mounted)) if mounted else list
    wait = MemberWait(context.store, context.run, context.task, revisions)
    if wait.is_over:
        return True
    is_done = wait_while(wait.look, context.stopped, wait.until, wait.can_yield)
    if is_done:
        wait.finish()
    elif not context.stopped.is_set():
        wait.record_yield()
    return is_done


def waits(task: Mapping[str, Any], kind: str) -> bool:
    """Whether a run of this kind waits for its members: only a schedule's, for what another one takes is chosen with it."""
    return bool(task.get("wait")) and kind == RunKind.SCHEDULED


class MemberWait:
    """The wait of one run of an ensemble; it is in the store, so that whoever goes on with the run goes on with the wait.

    ``task`` is its resolved configuration; ``mounted`` gives revisions that the store may lack.
    """

    def __init__(
        self,
        store: Store,
        run: RunId,
        task: Mapping[str, Any],
        mounted: Callable[[], Iterable[dict[str, Any]]] = list,
        say: Callable[[str], None] = say,
    ) -> None:
        self.store, self.run, self._task, self._say = store, run, task, say
        self.until = float(run.minute * 60 + int(task["wait"]))
        self._members = [str(member["member"]) for member in task.get("members", ())]
        self._schedules = _Schedules(store, run, task, mounted)
        self._mark = dict(store.wait_of(run))
        self._open = {(each["member"], each.get("slot")): dict(each) for each in self._mark.get("waiting") or ()}
        self._has_looked = False

    @property
    def is_over(self) -> bool:
        """Whether it was over before this process began."""
        return is_over(self._mark)

    @property
    def mark(self) -> Mapping[str, Any]:
        """What is written of it (``jobs.store.waits``)."""
        return self._mark

    def look(self) -> list[Awaited]:
        """For whom it waits now, by the store; what changed is written there. A store that cannot be read is waited for too."""
        try:
            self._update(now())
        except OSError as error:
            return [Awaited(f"the store: {error.filename or self.store.root}: {error.strerror}", False)]
        return [Awaited(f"{each['member']} of {each['local']}", each["needs_room"]) for each in self._open.values()]

    def _update(self, instant: float) -> None:
        states = self._states(instant)
        still: dict[tuple[Any, Any], dict[str, Any]] = {}
        for (member, slot), state in states.items():
            if state.is_open:
                known = self._open.get((member, slot), {"since": _time(instant)})
                still[member, slot] = {**known, **self._entry(member, state), "needs_room": state.needs_room}
        ended = []
        for key, each in self._open.items():
            if key in still:
                continue
            last = states.get(key)
            entry = {**each, "outcome": _why_gone(key, states)} if last is None else self._entry(key[0], last)
            seconds = round(max(0.0, instant - (parse_time(each.get("since")) or instant)), 1)
            ended.append({**{name: entry.get(name) for name in _NAMES}, "seconds": seconds})
        has_changed = not self._has_looked or bool(ended) or _shown(still) != _shown(self._open)
        self._open, self._has_looked = still, True
        self._mark["members"] = [*(self._mark.get("members") or ()), *ended]
        if has_changed and still:
            self._write(instant, waiting=self._waiting())

    def _states(self, instant: float) -> dict[tuple[str, str], SlotState]:
        periods = self._schedules.periods(instant)
        tasks = {member: member_task(member) for member in self._members}
        slots = awaited_slots(periods, self.run.task, tasks.values(), self.run.minute, instant)
        states = {}
        notes = _Notes(self.store, self.run.experiment, instant)
        for member, task in tasks.items():
            if task not in slots:
                continue
            window = member_window(task, self.run.minute, slots[task], periods[task], self._task.get("max_age"), instant)
            for state in slot_states(self.store, self.run.experiment, window, notes.by_slot, instant):
                states[member, slot_text(state.minute)] = state
        return states

    def _entry(self, member: str, state: SlotState) -> dict[str, Any]:
        return {
            "member": member,
            "slot": slot_text(state.minute),
            "local": self._local(state.minute),
            "run": None if state.run is None else str(state.run),
            "outcome": state.outcome,
        }

    def _local(self, minute: int) -> str:
        """A slot by the experiment's clock, with its date where that is not the ensemble's."""
        try:
            area = ZoneInfo(str(self._task.get("timezone") or "UTC"))
        except (ZoneInfoNotFoundError, ValueError):
            return slot_text(minute)
        slot, own = (datetime.fromtimestamp(at * 60, timezone.utc).astimezone(area) for at in (minute, self.run.minute))
        return f"{slot:%H:%M}" if slot.date() == own.date() else f"{slot:%Y-%m-%d %H:%M}"

    def _waiting(self) -> list[dict[str, Any]]:
        return [{key: value for key, value in each.items() if key != "needs_room"} for each in self._open.values()]

    def _write(self, instant: float, **changes: Any) -> None:
        since = self._mark.get("since") or _time(instant)
        self._mark |= {
            "since": since,
            "until": _time(self.until),
            "time": _time(instant),
            "process": process_identity(),
            **changes,
        }
        try:
            self.store.record_wait(self.run, self._mark)
        except OSError as error:
            # The wait is not what fails a run: what comes after it says so where it must.
            self._say(f"for whom it waits could not be written: {error.strerror}")

    def can_yield(self) -> bool:
        """Whether a pod that ends now is there again before the wait is over."""
        return now() + back_off(int(self._mark.get("yields") or 0)) + RETURNS < self.until

    def record_yield(self) -> None:
        """Write that a pod of it ends to make room."""
        self._write(now(), yields=int(self._mark.get("yields") or 0) + 1)

    def finish(self) -> None:
        """Write that the wait is over: those who have not ended by now are missing."""
        missing = [{name: each.get(name) for name in _NAMES} for each in self._open.values()]
        instant = now()
        self._write(instant, waiting=[], missing=missing, ended=_time(instant))


class _Schedules:
    """Which schedules the tasks had, by the revisions; where these do not know the run's task, by its own configuration."""

    def __init__(
        self,
        store: Store,
        run: RunId,
        task: Mapping[str, Any],
        mounted: Callable[[], Iterable[dict[str, Any]]],
    ) -> None:
        self._store, self._run, self._task, self._mounted = store, run, task, mounted
        self._known: tuple[object, Periods] | None = None

    def periods(self, instant: float) -> Periods:
        """Each task's schedules, oldest first, as they are known at an instant (seconds since 1970)."""
        mounted = list(self._mounted())
        files = [path.name for path in self._store.ledger.revision_files(self._run.experiment)]
        key = (files, len(mounted), max((str(revision.get("time")) for revision in mounted), default=""))
        # Revisions are only added.
        if self._known is None or self._known[0] != key:
            self._known = (key, self._read(mounted, instant))
        return self._known[1]

    def _read(self, mounted: list[dict[str, Any]], instant: float) -> Periods:
        revisions = [*self._store.ledger.revisions(self._run.experiment), *mounted]
        periods = scheduling_periods(revisions, instant)
        slot = self._run.minute * 60
        own = (period.tasks.get(self._run.task, {}).get("task") for period in periods if period.end > slot)
        if not _digests(self._task).isdisjoint(own):
            return schedule_periods(periods)
        # Nothing was synced: the objects were printed, and applied by other means.
        return {name: [_always(schedule)] for name, schedule in (self._task.get("schedules") or {}).items()}


def _digests(task: Mapping[str, Any]) -> set[str]:
    """The hashes that a revision may have of a task: a machine's is of the stored form, a cluster's of the annotation."""
    return {snapshot_digests(task)["task"], hashlib.sha256(annotation_text(task).encode(errors="replace")).hexdigest()}


class _Notes:
    """What engines wrote of slots that they did not run, read where it is asked for."""

    def __init__(self, store: Store, experiment: str, instant: float) -> None:
        self._store, self._experiment, self._instant = store, experiment, instant
        self._by_slot: dict[tuple[str, int], Note] | None = None

    def by_slot(self) -> Mapping[tuple[str, int], Note]:
        """The last note of each slot, by task and minute."""
        if self._by_slot is None:
            # A month back: no slot is open for longer.
            since = datetime.fromtimestamp(self._instant - 31 * 86400, timezone.utc).strftime("%Y-%m")
            notes = self._store.ledger.notes(self._experiment, since)
            self._by_slot = {
                (str(note["task"]), int(note["minute"])): note
                for note in notes
                if note.get("task") and note.get("minute") is not None
            }
        return self._by_slot


def _why_gone(key: tuple[str, str], states: Mapping[tuple[str, str], SlotState]) -> str:
    """Why a slot is not awaited any more that has not ended; slots are written so that their order is that of time."""
    is_late = any(member == key[0] and slot > key[1] for member, slot in states)
    return "a later slot succeeded" if is_late else "no longer expected"


def _always(task: Mapping[str, Any]) -> SchedulePeriod:
    """A schedule that has always held; an interval that begins nobody knows when expects nothing."""
    is_known = not str(task.get("schedule") or "").startswith("@every")
    return SchedulePeriod(0.0, inf, task_schedule(task if is_known else {**task, "schedule": None}), "", "")


def _shown(entries: Mapping[Any, Mapping[str, Any]]) -> dict[Any, tuple[Any, Any]]:
    return {key: (each.get("run"), each.get("outcome")) for key, each in entries.items()}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
