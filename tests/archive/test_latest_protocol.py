"""Replacing the latest file: every order of the steps of several processes, with an end of each after any of them.

The operations are those of a folder in memory, so that all orders can be tried; ``test_latest_predictions`` has real files.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.store.latest_protocol import replacement_steps

T = TypeVar("T")
NAMES = ("csv", "json")
Event = tuple[str, int]
"""A run is published, refused or accepted by hand: ("publish", 2)."""


@dataclass
class World:
    """Which runs there are (numbers, the newest is the highest), what is under the two names, and the candidates."""

    published: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    latest: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(NAMES))
    candidates: dict[str, int] = field(default_factory=dict)

    @property
    def newest(self) -> int | None:
        return max(self.published - self.refused, default=None)

    def happen(self, event: Event) -> None:
        what, run = event
        if what == "publish":
            self.published.add(run)
        elif what == "refuse":
            self.refused.add(run)
        else:
            self.refused.discard(run)

    def key(self) -> object:
        return (
            frozenset(self.published),
            frozenset(self.refused),
            tuple(self.latest.values()),
            tuple(sorted(self.candidates.items())),
        )


@dataclass
class Process:
    """What one process sees: it remembers all answers, of which alone its next step can depend."""

    world: World
    number: int
    loses_reply: bool = False
    answers: list[object] = field(default_factory=list)
    made: int = 0

    def _answer(self, value: T) -> T:
        self.answers.append(tuple(value) if isinstance(value, list) else value)
        return value

    def newest(self) -> int | None:
        return self._answer(self.world.newest)

    def is_in_place(self, run: int) -> bool:
        return self._answer(all(self.world.latest[name] == run for name in NAMES))

    def candidates(self) -> list[tuple[str, int]]:
        return self._answer(sorted(self.world.candidates.items()))

    def add_candidates(self, run: int) -> list[str]:
        self.made += 1
        names = [f"{self.number}.{self.made}.{name}" for name in NAMES]
        self.world.candidates |= dict.fromkeys(names, run)
        return self._answer(names)

    def remove(self, candidate: str) -> None:
        self.world.candidates.pop(candidate, None)

    def take_place(self, candidate: str) -> bool:
        run = self.world.candidates.pop(candidate, None)
        if run is None:
            return self._answer(False)
        name = candidate.rpartition(".")[2]
        before = self.world.latest[name]
        assert before is None or before <= run or before not in self.world.published - self.world.refused, (
            f"{name}: {run} in the place of {before}"
        )
        self.world.latest[name] = run
        # Once: then a server that restarted says that the source has gone.
        lost, self.loses_reply = self.loses_reply, False
        return self._answer(not lost)

    def clear(self) -> None:
        self.world.latest = dict.fromkeys(NAMES)


def steps_of(process: Process, event: Event | None) -> Generator[object, None, object]:
    if event is not None:
        yield event
        process.world.happen(event)
    return (yield from replacement_steps(process))


@dataclass
class Node:
    """The state after a schedule: which process took a step when."""

    world: World
    answers: list[list[object]]
    turns: list[int]
    ended: list[bool]
    last_event_by: int | None


def replay(start: World, events: Sequence[Event | None], schedule: Sequence[int], loser: int | None) -> Node:
    world = World(set(start.published), set(start.refused), dict(start.latest), dict(start.candidates))
    processes = [Process(world, number, loser == number) for number in range(len(events))]
    generators = [steps_of(process, event) for process, event in zip(processes, events, strict=True)]
    ended, last = [False] * len(events), None
    # A generator stops before its first step; each turn takes the one that it stopped before.
    for generator in generators:
        next(generator)
    turns = [0] * len(events)
    for number in schedule:
        if events[number] is not None and not turns[number]:
            last = number
        turns[number] += 1
        if ended[number]:
            continue
        try:
            next(generators[number])
        except StopIteration:
            ended[number] = True
    return Node(world, [process.answers for process in processes], turns, ended, last)


def explore(start: World, events: Sequence[Event | None], loser: int | None = None, may_clear: bool = False) -> int:
    """Try every order of the steps; how many states there were."""
    seen: set[object] = set()
    open_schedules: list[tuple[int, ...]] = [()]
    while open_schedules:
        schedule = open_schedules.pop()
        node = replay(start, events, schedule, loser)
        key = (node.world.key(), tuple(map(tuple, node.answers)), tuple(node.turns))
        if key in seen:
            continue
        seen.add(key)
        check(node, may_clear)
        open_schedules += [(*schedule, number) for number in range(len(events)) if not node.ended[number]]
    return len(seen)


def check(node: Node, may_clear: bool) -> None:
    """What holds in every state; that no older run replaces a newer one is asserted where it would."""
    world = node.world
    expected = dict.fromkeys(NAMES, world.newest)
    last = node.last_event_by
    is_last_done = all(node.ended) or (last is not None and node.ended[last] and not may_clear)
    if is_last_done:
        # Whatever the others still have to do, or whether they are killed before it.
        assert world.latest == expected
    # All others are killed here, and one more process looks.
    after = World(set(world.published), set(world.refused), dict(world.latest), dict(world.candidates))
    for _ in replacement_steps(Process(after, 99)):
        pass
    assert after.latest == expected
    assert {run for run in after.candidates.values()} <= {after.newest}


def latest_of(run: int | None) -> dict[str, int | None]:
    return dict.fromkeys(NAMES, run)


@pytest.mark.parametrize("loser", [None, 0, 1])
@pytest.mark.parametrize(
    ("start", "events"),
    [
        (World(), [("publish", 1), ("publish", 2)]),
        (World({1}, latest=latest_of(1)), [("publish", 3), ("publish", 2)]),
        # One was killed before it had replaced anything, or half of it, and left candidates.
        (World({1, 2}, latest=latest_of(1), candidates={"x.csv": 1, "x.json": 1}), [None, ("publish", 3)]),
        (World({1, 2}, latest={"csv": 2, "json": 1}, candidates={"x.json": 2}), [("publish", 3), None]),
        # The newest is refused by hand, while the process that published it, or one of the next night, is at work.
        (World({1, 2}, latest=latest_of(1)), [None, ("refuse", 2)]),
        (World({1, 2}, latest=latest_of(2)), [("publish", 3), ("refuse", 2)]),
        (World({1, 2}, {2}, latest_of(1)), [("publish", 3), ("accept", 2)]),
    ],
    ids=["first", "older last", "leftovers", "half done", "refused at once", "refused", "accepted"],
)
def test_two_processes(start: World, events: list[Event | None], loser: int | None) -> None:
    assert explore(start, events, loser) > 50


@pytest.mark.parametrize("start", [World({1}, latest=latest_of(1)), World({1, 2}, {2}, latest_of(1))], ids=["first", "second"])
@pytest.mark.parametrize("loser", [None, 1])
def test_the_only_accepted_run_is_refused_while_the_next_is_published(start: World, loser: int | None) -> None:
    """Removing has no condition, so here alone a newer run's files may be missing until the process that removed them ends."""
    assert explore(start, [("refuse", 1), ("publish", 3)], loser, may_clear=True) > 50


EVENTS = st.one_of(
    st.none(),
    st.tuples(st.just("publish"), st.integers(1, 9)),
    st.tuples(st.sampled_from(["refuse", "accept"]), st.integers(0, 2)),
)


@given(
    events=st.lists(EVENTS, min_size=3, max_size=5),
    schedule=st.lists(st.integers(0, 4), min_size=30, max_size=120),
    loser=st.sampled_from([None, 0, 1, 2]),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_more_processes(events: list[Event | None], schedule: list[int], loser: int | None) -> None:
    """In any order of their steps; those that the order leaves unfinished are killed there."""
    start = World({0, 1, 2}, {1}, latest_of(2))
    order = [number for number in schedule if number < len(events)]
    for length in (len(order) // 2, len(order)):
        # A process that has ended takes no more turns.
        node = replay(start, events, order[:length], loser)
        check(node, may_clear=True)
