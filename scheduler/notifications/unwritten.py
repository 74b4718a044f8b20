"""Troubles of the store that were told while it could not be written: who remembers that, and how often they are told else.

Whoever tells again and again, or on a machine, remembers them: in the object, and in a file beside the store where there is a
place for it. A watch's pod has no such place, and each of its looks is another pod. What they have in common is what can be
read, and the clock: so each of them knows by the last look that was written down whether it is its turn.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

import msgspec

from jobs.store.files import replace_file
from scheduler.cache import cache_folder
from scheduler.notifications.incidents import Fact, ProblemKind

HOUR, DAY = 3600.0, 86400.0
AGAIN = (HOUR, 6 * HOUR)
"""Seconds after the last look that was written down at which it is told again; later once in each day."""

Key = tuple[str, str]
"""A kind of problem, and its cause."""


def is_turn(times: tuple[float, float] | None, last_look: float | None) -> bool:
    """Whether a look that remembers nothing is one of those that tell what began after ``last_look``, the last one written down.

    ``times``: of the look before it, and its own. Where not even the last look can be read, the first one of each hour tells.
    """
    if times is None:
        return True
    before, this = times
    if last_look is None:
        return before // HOUR < this // HOUR
    first, second = (max(at - last_look, 0.0) for at in times)
    is_again = bisect_right(AGAIN, first) < bisect_right(AGAIN, second) or first // DAY < second // DAY
    return before <= last_look or is_again


def memory_file(root: Path, experiment: str) -> Path:
    """Where this machine remembers what was told of a store: its user's cache."""
    name = hashlib.sha256(f"{root}\0{experiment}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return cache_folder() / "notifications" / f"{name}.json"


class _Trouble(msgspec.Struct, frozen=True):
    kind: ProblemKind
    cause: str
    minute: int
    reason: str


class _Memory(msgspec.Struct, frozen=True):
    """The file: the troubles, and of each message that was sent its channel, and its trouble's kind and cause."""

    facts: list[_Trouble] = []
    told: list[tuple[str, str, str]] = []


class UnwrittenTroubles:
    """What was told of a store while it could not be written, and to whom; in a file too, if one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        memory = self._read()
        facts = [Fact(each.kind, each.cause, each.minute, each.reason) for each in memory.facts]
        self.facts: dict[Key, Fact] = {(str(fact.kind), fact.cause): fact for fact in facts}
        self._told = set(memory.told)

    def _read(self) -> _Memory:
        if self._path is not None:
            with suppress(OSError, msgspec.DecodeError):  # one that is damaged has nothing
                return msgspec.json.decode(self._path.read_bytes(), type=_Memory)
        return _Memory()

    def first(self, fact: Fact) -> Fact:
        """The fact of the same trouble that was told first, or this one."""
        return self.facts.setdefault((str(fact.kind), fact.cause), fact)

    def is_told(self, channel: str, key: Key) -> bool:
        """Whether a channel was told of a trouble."""
        return (channel, *key) in self._told

    def add(self, channel: str, key: Key) -> None:
        """A channel was told of a trouble."""
        self._told.add((channel, *key))
        self._write()

    def take(self, channel: str, keys: set[Key]) -> bool:
        """Whether a channel was told of all these; they are forgotten then, for whoever asks writes them down in the store."""
        told = {(channel, *key) for key in keys}
        if not told <= self._told:
            return False
        self._told -= told
        self._write()
        return True

    def written(self) -> None:
        """The facts are in the store now."""
        if self.facts:
            self.facts.clear()
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        with suppress(OSError):  # then this object alone remembers it
            if not self.facts and not self._told:
                self._path.unlink(missing_ok=True)
                return
            facts = [_Trouble(fact.kind, fact.cause, fact.minute, fact.reason) for fact in self.facts.values()]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, msgspec.json.encode(_Memory(facts, sorted(self._told))), durable=False)
