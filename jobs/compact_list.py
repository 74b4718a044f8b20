"""A list of very many small values, of which all but the last are kept compressed. Standard library alone, Python 3.9.

A million rows or paths of a store, of which most are alike, take some ten bytes each so, and a list of them a thousand.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

COMPRESSED = 5000
"""Values that are compressed together, as soon as there are so many."""
T = TypeVar("T")


class CompactList(Generic[T]):
    """Values in order, which can be added to and gone through, again and again, and not changed.

    ``pack`` makes of one what ``marshal`` takes: plain texts, numbers, None, tuples and lists of them. ``unpack`` is its inverse.
    """

    def __init__(self, pack: Callable[[T], Any], unpack: Callable[[Any], T], values: Iterable[T] = ()) -> None:
        self._pack, self._unpack = pack, unpack
        self._blocks: list[bytes] = []
        self._last: list[Any] = []
        self += values

    def append(self, value: T) -> None:
        """Add a value."""
        self._last.append(self._pack(value))
        if len(self._last) >= COMPRESSED:
            self._blocks.append(zlib.compress(marshal.dumps(self._last), 1))
            self._last = []

    def __iadd__(self, values: Iterable[T]) -> CompactList[T]:
        """Add values."""
        for value in values:
            self.append(value)
        return self

    def __iter__(self) -> Iterator[T]:
        """The values in order, each made anew."""
        for block in self._blocks:
            yield from map(self._unpack, marshal.loads(zlib.decompress(block)))
        yield from map(self._unpack, self._last)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._blocks) * COMPRESSED + len(self._last)

    def __eq__(self, other: object) -> bool:
        """Whether another list of either kind has the same values."""
        return isinstance(other, (CompactList, list)) and list(self) == list(other)
