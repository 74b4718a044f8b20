"""Verdicts: whether a repeated run came out the same, from its probabilities and from what was pinned. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from jobs.contract import member_task
from scheduler.comparison.difference import describe_tasks
from scheduler.comparison.predictions import PredictionChanges

IDENTICAL, EQUAL, CHANGED, NOTHING = "identical", "equal", "changed", "nothing to compare"
TOLERANCE = 1e-6
"""The largest difference of a probability that still counts as equal; float32 carries about seven digits."""


@dataclass(frozen=True)
class Verdict:
    """Whether a repeat is identical, equal or changed, or why there is nothing to compare.

    ``largest`` is the largest difference of any probability, ``flipped`` the number of items whose label changed of all
    ``items``; ``differs`` is what was pinned and is not the same, a line each.
    """

    verdict: str
    largest: float | None = None
    flipped: int | None = None
    items: int | None = None
    differs: tuple[str, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        # Infinite where a probability is no number: JSON has no such value.
        largest = self.largest if self.largest is not None and isfinite(self.largest) else None
        numbers = {"largest_difference": largest, "labels_flipped": self.flipped, "items": self.items}
        return {"verdict": self.verdict, **numbers, "differs": list(self.differs), "reason": self.reason}


def judge(changes: Sequence[PredictionChanges], tolerance: float, differs: Sequence[str] = ()) -> Verdict:
    """The verdict on predictions before and after; the worst counts.

    Identical are equal bits of the same items and classes; equal: no probability differs by more than ``tolerance`` and no
    label changed.
    """
    if not changes:
        return Verdict(NOTHING, differs=tuple(differs), reason="no probabilities were kept")
    items, flipped = sum(change.items for change in changes), sum(len(change.flips) for change in changes)
    if all(change.identical for change in changes):
        return Verdict(IDENTICAL, 0.0, 0, items, tuple(differs))
    # None is a probability that is no number, where there are items at all.
    distances = [inf if change.largest_difference is None else change.largest_difference for change in changes if change.items]
    largest = max(distances, default=0.0)
    is_same = all(change.has_same_items and change.has_same_classes for change in changes)
    verdict = EQUAL if is_same and largest <= tolerance and not flipped else CHANGED
    if verdict == CHANGED and not differs:
        differs = ("nothing that is pinned: the computation itself did not repeat",)
    return Verdict(verdict, largest, flipped, items, tuple(differs))


def describe(verdict: Mapping[str, Any]) -> str:
    """A verdict's JSON values as a line, without what is pinned and differs."""
    text = str(verdict.get("verdict") or "unknown")
    if verdict.get("reason"):
        text += f": {verdict['reason']}"
    elif text in (EQUAL, CHANGED) and verdict.get("labels_flipped") is not None:
        number = verdict.get("largest_difference")
        largest = "some probabilities are no numbers" if number is None else f"largest difference {number:.3g}"
        text += f": {verdict['labels_flipped']} of {verdict.get('items')} labels flipped, {largest}"
    before, after = verdict.get("accuracy_before"), verdict.get("accuracy_after")
    if verdict.get("verdict") in (EQUAL, CHANGED) and before is not None and after is not None:
        text += f", accuracy {before:.4f} → {after:.4f}"
    return text


def difference_lines(verdict: Mapping[str, Any], task: str) -> list[str]:
    """What is pinned and differs of a run of ``task`` and of its members, each once, with the tasks that it is of."""
    tasks: dict[str, list[str]] = {}
    members = verdict.get("members") or {}
    for name, each in (*((member_task(member), each) for member, each in members.items()), (task, verdict)):
        # That a member changed is said in its own line.
        known = () if each is not verdict else tuple(f"member {member}" for member in members)
        for line in each.get("differs") or () if each.get("verdict") != IDENTICAL else ():
            if line not in known:
                tasks.setdefault(str(line), []).append(name)
    all_tasks = [*map(member_task, members), task]
    return [f"{describe_tasks(names, all_tasks)}: {line}" for line, names in tasks.items()]


def flip_lines(verdict: Mapping[str, Any], most: int) -> list[str]:
    """The first ``most`` items whose label flipped, a line each; how many more there are is the last one."""
    flips = verdict.get("flipped_items") or []
    lines = []
    for flip in flips[:most]:
        label = f" (true: {flip['label']})" if flip.get("label") is not None else ""
        lines.append(f"{flip.get('item')}: {flip.get('before')} → {flip.get('after')}{label}")
    total = max(len(flips), int(verdict.get("labels_flipped") or 0))
    return [*lines, f"and {total - most} more"] if flips and total > most else lines
