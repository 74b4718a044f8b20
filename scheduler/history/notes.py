"""Engine notes: what those who start runs wrote down about slots that they did not run, and about their own pauses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from jobs.contract import NoteEvent, parse_time


@dataclass(frozen=True)
class Notes:
    """The notes of one experiment, by what they are about.

    ``slots``: the note about a slot, by (task, minute since 1970). ``downtimes``: from when to when (seconds since 1970,
    the end excluded, infinite while it lasts) the local engine did not run.
    """

    slots: Mapping[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    downtimes: Sequence[tuple[float, float]] = ()


def parse_notes(notes: Iterable[Mapping[str, Any]]) -> Notes:
    """The notes of a store, in any order but for several about one slot, of which the last counts.

    A note without what it should have is passed over.
    """
    slots: dict[tuple[str, int], Mapping[str, Any]] = {}
    events: list[tuple[float, str, float | None]] = []
    for note in notes:
        task, minute, event, time = note.get("task"), note.get("minute"), note.get("event"), parse_time(note.get("time"))
        if task is not None:
            if isinstance(task, str) and isinstance(minute, int):
                slots[task, minute] = note
        elif event in (NoteEvent.STARTED, NoteEvent.STOPPED) and time is not None:
            events.append((time, str(event), parse_time(note.get("since"))))
    return Notes(slots, _downtimes(events))


def _downtimes(events: list[tuple[float, str, float | None]]) -> list[tuple[float, float]]:
    """The pauses between starts and stops; a start may say ``since`` when its engine, killed, had been down."""
    downtimes: list[tuple[float, float]] = []
    stopped: float | None = None
    for time, event, since in sorted(events, key=lambda known: known[:2]):
        if event == NoteEvent.STOPPED:
            stopped = time
            continue
        start = stopped if stopped is not None else since
        if start is not None:
            downtimes.append((start, time))
        stopped = None
    if stopped is not None:
        downtimes.append((stopped, inf))
    return downtimes
