"""Time zones as numbers: when the offset from UTC changes, and local times as Go's time package reads them."""

from __future__ import annotations

import threading
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = 86400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Offsets are asked for this far apart, and between two that differ the shift is sought. No zone has ever gone
# back to the same offset within less (the shortest: Brazil's north-east, a week in October 2000); a test looks at all.
_STEP = 5 * DAY
_BLOCK = 73 * _STEP  # a year
FIRST, LAST = -62_000_000_000, 253_370_000_000  # what datetime can hold, in a zone too


@lru_cache(maxsize=64)
def zone(name: str) -> Zone:
    """The zone of that IANA name; raises ZoneInfoNotFoundError or ValueError. Which data is read: see zoneinfo."""
    try:
        return Zone(ZoneInfo(name))
    except OSError as error:
        # A name that is too long for a file, or that of a folder.
        raise ZoneInfoNotFoundError(f"no time zone found with key {name[:100]}") from error


class Zone:
    """A zone's shifts, found as far as they are asked for. Instants are seconds since 1970 in UTC.

    May be used by several threads: what is known is replaced as a whole.
    """

    def __init__(self, rules: ZoneInfo) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._low = self._high = 0  # known from the first to before the second; nothing yet
        # Each shift's first second, in order; and the offsets, seconds east: before the first shift, and from each on.
        self._known: tuple[list[int], list[int]] = ([], [])
        self._no_midnight: list[int] = []  # local days since 1970-01-01 whose 00:00 does not exist

    def offset(self, instant: int) -> int:
        """Seconds east of UTC."""
        if not self._low <= instant < self._high:
            self._cover(instant, instant)
        shifts, offsets = self._known
        return offsets[bisect_right(shifts, instant)]

    def instant(self, local: int) -> int:
        """The instant at which clocks show ``local``, in seconds since 1970-01-01 00:00 of the clock.

        A time shown twice or never is read as Go's time.Date does: with the offset that holds at the instant
        found with the offset that holds at ``local`` taken for UTC.
        """
        return local - self.offset(local - self.offset(local))

    def shifts(self, low: int, high: int) -> list[tuple[int, int, int]]:
        """The shifts after instant ``low`` and up to ``high``: first second, offset before, offset since."""
        self._cover(low, high)
        shifts, offsets = self._known
        return [(shifts[n], offsets[n], offsets[n + 1]) for n in range(bisect_right(shifts, low), bisect_right(shifts, high))]

    def quiet(self, low: int, high: int) -> bool:
        """Whether the offset is the same from ``low`` to ``high``."""
        self._cover(low, high)
        shifts, _ = self._known
        return bisect_right(shifts, low) == bisect_right(shifts, high)

    def quiet_until(self, instant: int) -> int:
        """An instant up to which the offset stays: the next shift, or as far as is known."""
        self._cover(instant, instant)
        shifts, _ = self._known
        n = bisect_right(shifts, instant)
        return shifts[n] if n < len(shifts) else self._high

    def midnights(self, after: int, last: int) -> bool:
        """Whether each local day after ``after`` and up to ``last`` begins at 00:00, as far as was asked for."""
        return bisect_right(self._no_midnight, after) == bisect_right(self._no_midnight, last)

    def _cover(self, low: int, high: int) -> None:
        if self._low <= low and high < self._high:
            return
        if not FIRST < low <= high < LAST:
            raise OverflowError("only the years 5 to 9998 can be counted in")
        with self._lock:
            if self._low == self._high:
                begin = low - low % _BLOCK
                self._known = ([], [self._ask(begin)])
                self._low = self._high = begin
            while self._high <= high:
                self._learn(self._high, after=True)
                self._high += _BLOCK
            while self._low > low:
                self._learn(self._low - _BLOCK, after=False)
                self._low -= _BLOCK

    def _learn(self, low: int, after: bool) -> None:
        """Add the shifts of the block that begins at ``low``, behind or before what is known."""
        shifts, offsets = self._search(low, low + _BLOCK)
        known_shifts, known_offsets = self._known
        lost = [
            day
            for at, before, since in zip(shifts, offsets, offsets[1:], strict=False)
            for day in range(-(-(at + before) // DAY), -(-(at + since) // DAY))
        ]
        self._no_midnight = sorted([*self._no_midnight, *lost])
        if after:
            self._known = (known_shifts + shifts, known_offsets + offsets[1:])
        else:
            self._known = (shifts + known_shifts, offsets[:-1] + known_offsets)

    def _search(self, low: int, high: int) -> tuple[list[int], list[int]]:
        """The shifts after ``low`` and up to ``high``, and the offsets: at ``low``, and from each shift on."""
        shifts: list[int] = []
        offsets = [self._ask(low)]
        for start in range(low, high, _STEP):
            end = self._ask(start + _STEP)
            while offsets[-1] != end:
                # Two shifts to different offsets may lie within a step: the first is sought, then the next.
                a, b = max(start, shifts[-1] if shifts else start), start + _STEP
                while b - a > 1:
                    middle = (a + b) // 2
                    a, b = (middle, b) if self._ask(middle) == offsets[-1] else (a, middle)
                shifts.append(b)
                offsets.append(self._ask(b))
        return shifts, offsets

    def _ask(self, instant: int) -> int:
        away = (_EPOCH + timedelta(seconds=instant)).astimezone(self._rules).utcoffset()
        assert away is not None
        return away.days * DAY + away.seconds
