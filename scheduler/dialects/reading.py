"""What an expression says in its dialect, as values: its fields, how its days are joined, what a shift of the clock does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cached_property
from typing import Any

MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK, SECOND, YEAR = range(7)
"""Places of the fields; croniter has the seconds and the years last."""
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6), (0, 59), (1970, 2099))
HASHED = re.compile(r"[hr](\([0-9]+-[0-9]+\))?(/[0-9]+)?", re.IGNORECASE)
"""A field for which a hash (H) or chance (R) chooses the number."""


class Dialect(StrEnum):
    """Where an expression comes from."""

    CRONTAB = "crontab"
    AIRFLOW = "airflow"

    @property
    def system(self) -> str:
        """Who reads it, as a message names it."""
        return {"crontab": "cron", "airflow": "Airflow"}[self.value]


class DialectError(ValueError):
    """The expression has no fire times there, or none that can be known; the text says why and what to type."""


class ClockShifts(Enum):
    """What a shift of the clock does to fire times."""

    SHOWN = "each time that the clock shows: what it leaves out is skipped, what it shows twice fires twice"
    CRON = "what the clock leaves out runs when it goes on, what it shows twice runs the first time"
    AIRFLOW = "the first time that the clock leaves out runs as much later, what it shows twice runs the second time"
    AIRFLOW_HOURLY = "the next time is as far away as on a clock without shifts"


@dataclass(frozen=True)
class Reading:
    """An expression as its system understands it.

    ``schedule`` is it alone, without a command; ``written`` its fields, of a preset those that it stands for.
    ``fields`` are the five to seven in croniter's words and order. ``either_day`` says whether the day of the month or of
    the week is enough where both are limited. ``strict`` is False where the system itself refuses the expression, and it
    is read as croniter reads it.
    """

    dialect: Dialect
    schedule: str
    timezone: str
    written: tuple[str, ...]
    fields: tuple[str, ...]
    either_day: bool = True
    clock: ClockShifts = ClockShifts.SHOWN
    strict: bool = True
    notes: tuple[str, ...] = ()

    @cached_property
    def _expanded(self) -> tuple[list[list[Any]], dict[Any, set[Any]]]:
        """croniter's own values of each field and its n-th weekdays; raises DialectError."""
        from croniter import croniter

        try:
            values, weekdays = croniter.expand(" ".join(self.fields))
        except (ValueError, LookupError, TypeError, OverflowError, AttributeError) as error:
            reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
            raise DialectError(f"neither {self.dialect.system} nor croniter can read it: {reason}") from error
        return values, weekdays

    def values(self, field: int) -> frozenset[int]:
        """The numbers that a field names; of a day field those beside L, W and #."""
        values = self._expanded[0][field] if field < len(self.fields) else [0] if field == SECOND else ["*"]
        if values == ["*"]:
            low, high = BOUNDS[field]
            return frozenset(range(low, high + 1))
        numbers = frozenset(value for value in values if isinstance(value, int))
        if field == DAY_OF_MONTH:
            return numbers - self.nearest_weekdays
        return numbers - self.nth_weekdays.keys() if field == DAY_OF_WEEK else numbers

    def is_full(self, field: int) -> bool:
        """Whether the field is no limit."""
        low, high = BOUNDS[field]
        return len(self.values(field)) == high - low + 1

    def is_limit(self, field: int) -> bool:
        """Whether croniter takes the field for a limit: * is none, a list of all values may be one."""
        return bool(self._expanded[0][field] != ["*"])

    @property
    def last_day(self) -> bool:
        """Whether L stands in the day of the month."""
        return "l" in self._expanded[0][DAY_OF_MONTH]

    @cached_property
    def nearest_weekdays(self) -> frozenset[int]:
        """The days of the month that stand with a W."""
        from croniter import croniter

        self._expanded  # noqa: B018 - raises where croniter cannot read it
        return frozenset(getattr(croniter(" ".join(self.fields)), "nearest_weekday", ()))

    @property
    def nth_weekdays(self) -> dict[int, frozenset[Any]]:
        """By weekday which of a month's are named: 1 to 5, or "l" for the last."""
        return {weekday: frozenset(numbers) for weekday, numbers in self._expanded[1].items() if isinstance(weekday, int)}

    @property
    def is_special(self) -> bool:
        """Whether its days are more than numbers: L, W or #."""
        return self.last_day or bool(self.nearest_weekdays or self._expanded[1])

    @cached_property
    def times(self) -> list[int]:
        """The seconds of a day at which it fires, in order."""
        seconds = sorted(self.values(SECOND))
        return [
            hour * 3600 + minute * 60 + second
            for hour in sorted(self.values(HOUR))
            for minute in sorted(self.values(MINUTE))
            for second in seconds
        ]
