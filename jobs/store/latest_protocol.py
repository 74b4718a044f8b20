"""How one of several processes replaces a file that is never to be older than it was, without locks: steps over a few operations.

There is no operation that replaces a file only if it is still the one that was seen. What there is: a rename fails if its source
has gone. So whoever wants to put a run's file under the name first gives it a name of its own, a candidate; looks which run is
the newest; removes the candidates of all others; and renames its own.

A rename of an older run's file never follows that of a newer one. The newer one's process had listed the candidates before it
renamed. Either the older candidate stood in that list: then it was removed, and the older rename came before or has failed. Or it
was made after the list: then its process looked which run is the newest after that, found the newer one, which was published
before its own candidate was made, and gave up. The same holds where the newest run is refused: whoever looks after that decision
removes the candidates of the refused run, and one that is made later gives up. A process that is killed leaves a candidate at
most; its name is never used again, so that nothing which a server repeats for a lost reply can do harm.

Nobody is waited for, and no time matters. ``jobs.store.latest_predictions`` has the operations. Standard library, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, TypeVar

R = TypeVar("R")
"""What says which run: values that can be compared for equality."""
ROUNDS = 100
"""Of looking again because somebody else was faster; each such round is another process's progress."""


class Replaced(Protocol[R]):
    """The files that are replaced together, each by a rename of its own, and what they are replaced by."""

    def newest(self) -> R | None:
        """The run whose files are to be under the names now; None for no run."""

    def is_in_place(self, run: R) -> bool:
        """Whether all the names have this run's files."""

    def candidates(self) -> list[tuple[str, R]]:
        """Every candidate that there is, of whatever process: its name, and its run."""

    def add_candidates(self, run: R) -> list[str]:
        """Give this run's files names of our own, in the order in which they are to take their places; these names."""

    def remove(self, candidate: str) -> None:
        """Remove a candidate; nothing if it has gone."""

    def take_place(self, candidate: str) -> bool:
        """Rename a candidate over the file that it is for; False if it has gone."""

    def clear(self) -> None:
        """Remove the files under the names; nothing if there are none."""


class Contention(Exception):
    """Others were faster in every round."""


def replacement_steps(files: Replaced[R]) -> Generator[str, None, R | None]:
    """Have the newest run's files under the names; returns that run, or None if there are none now.

    Yields before each operation what it is, so that tests can have several processes take turns and end between any two.
    """
    for _ in range(ROUNDS):
        yield "look"
        run = files.newest()
        yield "compare"
        is_in_place = run is not None and files.is_in_place(run)
        own: list[str] = []
        if run is not None and not is_in_place:
            yield "add"
            own = files.add_candidates(run)
        yield "list"
        listed = files.candidates()
        yield "look again"
        if files.newest() != run:
            for name in own:
                yield "remove"
                files.remove(name)
            continue
        for name, other in listed:
            # Another process may be about to put the same run's files there: that is as good.
            if name not in own and (other != run or is_in_place):
                yield "remove"
                files.remove(name)
        if run is None:
            yield "clear"
            files.clear()
            # Nothing keeps another process from putting a newer run's files there just before.
            yield "look"
            if files.newest() is None:
                return None
        elif is_in_place:
            yield "compare"
            if files.is_in_place(run):
                return run
        elif (yield from _take_places(files, own)):
            return run
    raise Contention


def _take_places(files: Replaced[R], own: list[str]) -> Generator[str, None, bool]:
    for name in own:
        yield "rename"
        if not files.take_place(name):
            # Removed by a process that knew more, or renamed and the reply was lost: a look will say.
            return False
    return True
