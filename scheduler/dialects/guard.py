"""Conditions on a date, for a data function to hold off the runs that a nearest expression has too many."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from scheduler.dialects.reading import DAY_OF_MONTH, DAY_OF_WEEK, YEAR, Reading

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Condition:
    """A Python expression on ``slot``, a date or a time with its date, and the same as a function."""

    text: str
    holds: Callable[[date], bool]

    def python(self, timezone: str) -> tuple[str, ...]:
        """Lines of a data function that let it go on only on a date for which the condition holds."""
        return (
            'minute = int(re.search(r"-([0-9]+)(-r[0-9]+)?$", os.environ["CRONSEMBLE_RUN"])[1])',
            f'slot = datetime.fromtimestamp(60 * minute, ZoneInfo("{timezone}"))',
            f"if not ({self.text}):",
            '    print(f"{slot:%Y-%m-%d} is no date of the schedule")',
            "    sys.exit(3)",
        )


def guard(reading: Reading, days_there: Collection[int], days_here: Iterable[int]) -> Condition | None:
    """A condition that leaves of the days here, since 1970-01-01, just those there; None where none does."""
    here = list(days_here)
    for condition in _conditions(reading):
        if [day for day in here if condition.holds(_EPOCH + timedelta(days=day))] == list(days_there):
            return condition
    return None


def _conditions(reading: Reading) -> Iterator[Condition]:
    """The shortest first."""
    alone = [condition for condition in (_nth(reading), _weekday(reading), _day(reading), _year(reading)) if condition]
    yield from alone
    day, weekday, year = _day(reading), _weekday(reading), _year(reading)
    pairs = []
    if day and weekday:
        pairs = [_joined(day, weekday, "and"), _joined(day, weekday, "or")]
    yield from pairs
    if year:
        for condition in [*alone[:-1], *pairs]:
            yield _joined(condition, year, "and")


def _joined(one: Condition, other: Condition, word: str) -> Condition:
    text = f"({one.text}) {word} ({other.text})"
    if word == "and":
        return Condition(text, lambda slot: one.holds(slot) and other.holds(slot))
    return Condition(text, lambda slot: one.holds(slot) or other.holds(slot))


def _any(conditions: list[Condition]) -> Condition | None:
    if not conditions:
        return None
    return Condition(
        " or ".join(condition.text for condition in conditions),
        lambda slot: any(condition.holds(slot) for condition in conditions),
    )


def _among(name: str, numbers: Collection[int], value: Callable[[date], int]) -> Condition:
    ordered = sorted(numbers)
    text = f"{name} == {ordered[0]}" if len(ordered) == 1 else f"{name} in ({', '.join(map(str, ordered))})"
    return Condition(text, lambda slot: value(slot) in numbers)


def _day(reading: Reading) -> Condition | None:
    """What the day of the month says."""
    conditions = []
    if reading.values(DAY_OF_MONTH) and not reading.is_full(DAY_OF_MONTH):
        conditions.append(_among("slot.day", reading.values(DAY_OF_MONTH), lambda slot: slot.day))
    if reading.last_day:
        conditions.append(Condition("(slot + timedelta(days=1)).day == 1", lambda slot: (slot + timedelta(days=1)).day == 1))
    for day in sorted(reading.nearest_weekdays):
        if day > 27:
            return None  # it depends on the month's length too
        conditions.append(_near(day))
    return _any(conditions)


def _near(day: int) -> Condition:
    """The weekday nearest to a day that is not among a month's last; the first goes on to Monday, never back."""
    moved = ((2, 0), (3, 0)) if day == 1 else ((day - 1, 4), (day + 1, 0))
    text = f"slot.day == {day} and slot.weekday() < 5 or (slot.day, slot.weekday()) in {moved}"
    return Condition(text, lambda slot: slot.day == day and slot.weekday() < 5 or (slot.day, slot.weekday()) in moved)


def _weekday(reading: Reading) -> Condition | None:
    """What the day of the week says."""
    conditions = []
    if reading.values(DAY_OF_WEEK) and not reading.is_full(DAY_OF_WEEK):
        conditions.append(_among("slot.isoweekday() % 7", reading.values(DAY_OF_WEEK), lambda slot: slot.isoweekday() % 7))
    for weekday, numbers in sorted(reading.nth_weekdays.items()):
        for number in sorted(numbers, key=str):
            on = _among("slot.isoweekday() % 7", {weekday}, lambda slot: slot.isoweekday() % 7)
            which = _which(number)
            conditions.append(
                Condition(f"{on.text} and {which.text}", lambda slot, on=on, which=which: on.holds(slot) and which.holds(slot))  # type: ignore[misc]
            )
    return _any(conditions)


def _nth(reading: Reading) -> Condition | None:
    """Which of a month's weekdays, where all are of one number and the weekday is typed."""
    numbers = {number for numbers in reading.nth_weekdays.values() for number in numbers}
    return _which(numbers.pop()) if len(numbers) == 1 else None


def _which(number: int | str) -> Condition:
    if number == "l":
        return Condition("(slot + timedelta(days=7)).day <= 7", lambda slot: (slot + timedelta(days=7)).day <= 7)
    assert isinstance(number, int)
    return Condition(f"(slot.day - 1) // 7 == {number - 1}", lambda slot: (slot.day - 1) // 7 == number - 1)


def _year(reading: Reading) -> Condition | None:
    if reading.is_full(YEAR):
        return None
    return _among("slot.year", reading.values(YEAR), lambda slot: slot.year)
