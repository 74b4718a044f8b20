"""What became of a member's slots that an ensemble awaits, by the store alone: which may still give a model.

The newest that has succeeded, and is not refused, is the one that the ensemble takes: what is older changes nothing any more.
Needs the keras3 runtime's Python, as the schedules do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.awaited_slots import LONGEST, AwaitedSlot, reach
from jobs.contract import NoteEvent, RunId, RunKind, Status
from jobs.schedule_periods import SchedulePeriod
from jobs.store.latest_model import is_candidate
from jobs.store.open_runs import may_go_on
from jobs.store.reading import Run
from jobs.store.regular_files import Unreadable
from jobs.store.store import Store

START_GRACE = 30.0
"""Seconds after its starting deadline in which a run that was begun in time may yet appear: its pod has to start."""
NOT_STARTED = "not started"
Note = Mapping[str, object]


@dataclass(frozen=True)
class SlotState:
    """What became of a slot, a minute since 1970: its ``outcome`` is a status, or why it has none; ``run`` is its newest run.

    ``is_open``: it may still give a model. ``needs_room``: for that a process or pod of it must start.
    """

    minute: int
    run: RunId | None
    outcome: str
    is_open: bool = False
    needs_room: bool = False


@dataclass(frozen=True)
class MemberWindow:
    """What of a member an ensemble's slot, the minute ``minute``, awaits: ``slots`` newest first, and the schedules of its task.

    ``oldest``: no run of a minute before it is of use, or can still go on.
    """

    task: str
    minute: int
    slots: Sequence[AwaitedSlot]
    periods: Sequence[SchedulePeriod]
    oldest: float

    def deadline(self, minute: int) -> float:
        """Seconds that a run of a minute may take."""
        held = [period for period in self.periods if period.start <= minute * 60] or list(self.periods[:1])
        limit = held[-1].task_schedule.deadline if held else None
        return float(LONGEST if limit is None else limit)


def member_window(
    task: str, minute: int, slots: Sequence[AwaitedSlot], periods: Sequence[SchedulePeriod], max_age: int | None, now: float
) -> MemberWindow:
    """The window of a member's task; a model older than ``max_age`` (seconds) at the ensemble's slot is of no use."""
    oldest = (now - reach(periods)) / 60
    if max_age is not None:
        oldest = max(oldest, minute - max_age / 60)
    return MemberWindow(task, minute, [slot for slot in slots if slot.minute >= oldest], periods, oldest)


def slot_states(
    store: Store, experiment: str, window: MemberWindow, notes: Callable[[], Mapping[tuple[str, int], Note]], now: float
) -> list[SlotState]:
    """The states of a member's slots, newest first, down to the newest that the ensemble takes.

    Runs of other minutes are among them, also of a time before the window: one that goes on may be what it takes.
    ``notes``: what an engine wrote of slots that it did not run, by task and minute. Raises OSError.
    """
    states: list[SlotState] = []
    expected = {slot.minute: slot for slot in window.slots}
    runs = _runs_by_minute(store, experiment, window)
    has_later = False
    for minute in sorted({*expected, *runs}, reverse=True):
        read = map(store.read, sorted(runs.get(minute, ()), reverse=True))
        own = [run for run in read if run.kind != RunKind.MANUAL and not _is_empty(run)]
        if minute <= window.minute:
            state = _state_of_runs(own, window.deadline(minute), now) if own else None
            if state is None and minute in expected:
                state = _state_without_run(expected[minute], notes, has_later, now)
            if state is not None:
                states.append(state)
            if state is not None and state.outcome == Status.SUCCEEDED:
                break
        has_later = has_later or any(run.kind in (RunKind.SCHEDULED, None) for run in own)
    return list(_with_blocked(states, expected))


def _runs_by_minute(store: Store, experiment: str, window: MemberWindow) -> dict[int, list[RunId]]:
    by_minute: dict[int, list[RunId]] = {}
    for run in _run_ids(store, experiment, window.task):
        if run.minute < window.oldest:
            break
        by_minute.setdefault(run.minute, []).append(run)
    return by_minute


def _run_ids(store: Store, experiment: str, task: str) -> Iterator[RunId]:
    try:
        yield from store.run_ids(experiment, task, skip_unreadable=True)
    except Unreadable:
        return


def _is_empty(run: Run) -> bool:
    """Whether a run's folder holds nothing: its first try appears in the next moment, or was never begun."""
    return run.status == Status.DIED and not (run.tries or run.claim)


def _state_of_runs(runs: Sequence[Run], deadline: float, now: float) -> SlotState:
    """The state of a slot by its runs, newest first."""
    ended: SlotState | None = None
    for run in runs:
        if run.record:
            if not run.refused and is_candidate(run.record, ""):
                return SlotState(run.id.minute, run.id, Status.SUCCEEDED)
            outcome = str(Status.REFUSED) if run.refused else "made with another configuration"
            ended = ended or SlotState(run.id.minute, run.id, outcome)
        elif may_go_on(run, deadline, now):
            is_running = run.status == Status.RUNNING
            return SlotState(run.id.minute, run.id, str(run.status), True, needs_room=not is_running or not run.tries)
        else:
            # One that is said to run, but whose time is over, has died.
            outcome = Status.DIED if run.status == Status.RUNNING else run.status
            ended = ended or SlotState(run.id.minute, run.id, str(outcome))
    assert ended is not None
    return ended


def _state_without_run(
    slot: AwaitedSlot, notes: Callable[[], Mapping[tuple[str, int], Note]], has_later: bool, now: float
) -> SlotState:
    """The state of a slot that has no run.

    ``has_later``: a later slot has one, so that this one never will, unless runs may overlap.
    """
    if has_later and slot.schedule.concurrency != "Allow":
        return SlotState(slot.minute, None, str(Status.SKIPPED))
    if now >= slot.last_start + START_GRACE:
        return SlotState(slot.minute, None, str(Status.MISSED))
    event = (notes().get((slot.task, slot.minute)) or {}).get("event")
    if event is not None and event != NoteEvent.REFUSED:
        return SlotState(slot.minute, None, str(Status.SKIPPED if event == NoteEvent.SKIPPED else Status.MISSED))
    return SlotState(slot.minute, None, NOT_STARTED, True, needs_room=True)


def _with_blocked(states: Sequence[SlotState], expected: Mapping[int, AwaitedSlot]) -> Iterator[SlotState]:
    """The states; a slot that a run before it keeps from starting needs no room, and was skipped, not missed."""
    for n, state in enumerate(states):
        slot = expected.get(state.minute)
        if state.run is None and slot is not None and slot.schedule.concurrency == "Forbid":
            blocks = any(before.is_open and before.run is not None for before in states[n + 1 :])
            if blocks and state.is_open:
                state = replace(state, needs_room=False)
            elif blocks and state.outcome == Status.MISSED:
                state = replace(state, outcome=str(Status.SKIPPED))
        yield state
