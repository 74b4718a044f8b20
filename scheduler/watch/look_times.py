"""When a watch looks: the time of a look, of the one before it, and of the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from jobs.fire_times.fires import instants
from jobs.fire_times.schedule import ScheduleError, parse
from jobs.fire_times.zones import zone

_WINDOWS = (2 * 3600, 3 * 86400, 40 * 86400, 800 * 86400)
"""How far back two looks are looked for, in seconds."""


@dataclass(frozen=True)
class LookTimes:
    """A watch's schedule and its zone. Times are seconds since 1970; what cannot be read as a schedule has none."""

    schedule: str
    timezone: str

    def last_two(self, now: float) -> tuple[float, float] | None:
        """The times of the look before the one at ``now``, and of that one."""
        for window in _WINDOWS:
            times = list(takewhile(lambda at: at <= now, self._after(now - window)))
            if len(times) >= 2:
                return float(times[-2]), float(times[-1])
        return None

    def following(self, now: float) -> float | None:
        """The time of the look after the one at ``now``."""
        return next(map(float, self._after(now)), None)

    def _after(self, now: float) -> Iterator[int]:
        try:
            # All looks count the times of `@every` from one instant.
            return instants(parse(self.schedule), zone(self.timezone), int(now), 0)
        except (ScheduleError, KeyError, ValueError):
            return iter(())
