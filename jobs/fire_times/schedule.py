"""Schedules: exactly the cron dialect that Kubernetes' CronJob controller accepts, parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.fire_times.durations import DurationError, nanoseconds

_MONTHS = dict(jan=1, feb=2, mar=3, apr=4, may=5, jun=6, jul=7, aug=8, sep=9, oct=10, nov=11, dec=12)
_DAYS = dict(sun=0, mon=1, tue=2, wed=3, thu=4, fri=5, sat=6)
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# What Go calls space: Python's str.split() also splits at four control characters.
_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


class ScheduleError(ValueError):
    """Kubernetes would refuse this schedule; the text says what is wrong and what to type.

    ``advice`` is that alone. ``kubernetes`` is what its API server says: the words of the cron library, or of the validation.
    """

    def __init__(self, advice: str, kubernetes: str) -> None:
        super().__init__(f"{advice} (Kubernetes would say: {kubernetes})")
        self.advice = advice
        self.kubernetes = kubernetes


@dataclass(frozen=True)
class Schedule:
    """A parsed schedule: the values of each field, and whether it carries the star bit; or seconds for @every."""

    expression: str
    fields: tuple[frozenset[int], ...] = ()
    stars: tuple[bool, ...] = ()
    every: int | None = None


def parse(expression: str) -> Schedule:
    """The schedule that an expression spells; raises ScheduleError where Kubernetes would refuse it.

    Reference: ParseStandard of robfig/cron v3.0.1, and the validation of CronJobs in Kubernetes 1.34.
    """
    if "TZ" in expression:
        refusal = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        raise ScheduleError("a zone in the schedule is refused: set timezone: instead", refusal)
    if not expression:
        raise ScheduleError('it is empty: type five fields, e.g. "0 1 * * *"', "empty spec string")
    if expression.startswith("@"):
        return _descriptor(expression)
    parts = [part for part in _SPACE.split(expression) if part]
    if len(parts) != 5:
        raise _count(expression, parts)
    parsed = [_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    return Schedule(expression, tuple(values for values, _ in parsed), tuple(star for _, star in parsed))


def _count(expression: str, parts: list[str]) -> ScheduleError:
    named = expression.strip()
    if named in _DESCRIPTORS or named.startswith("@every "):
        hint = f"type {named} without spaces around it"
    elif len(parts) == 6:
        hint = f'leave out the seconds, e.g. "{" ".join(parts[1:])}"'
    elif len(parts) == 4:
        hint = f'one is missing, perhaps "{" ".join([*parts, "*"])}"'
    else:
        hint = 'minute, hour, day of month, month, day of week, e.g. "0 1 * * *"'
    number = f"{len(parts)} field{'' if len(parts) == 1 else 's'}"
    refusal = f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"
    return ScheduleError(f"it has {number}, five are needed: {hint}", refusal)


def _descriptor(text: str) -> Schedule:
    if text in _DESCRIPTORS:
        schedule = parse(_DESCRIPTORS[text])
        return Schedule(text, schedule.fields, schedule.stars)
    if text.startswith("@every "):
        duration = text.removeprefix("@every ")
        try:
            length = nanoseconds(duration)
        except DurationError as error:
            refusal = f"failed to parse duration {text}: {error}"
            hint = "@every needs one duration behind one space, in h, m, s, ms, us or ns, e.g. @every 1h30m"
            raise ScheduleError(hint, refusal) from None
        return Schedule(text, every=max(length // 1_000_000_000, 1))
    raise ScheduleError(_near_descriptor(text), f"unrecognized descriptor: {text}")


def _near_descriptor(text: str) -> str:
    lower = text.lower().strip()
    if lower in _DESCRIPTORS or lower.startswith("@every "):
        return f"{text} is not known: type {lower}"
    if lower == "@reboot":
        return "@reboot has no meaning on a cluster: type a time, e.g. @daily"
    known = ", ".join([*_DESCRIPTORS, "@every 1h"])
    return f"{text} is not known: type five fields, or one of {known}"


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    values: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        named, starred = _range(part, name, low, high, names)
        values |= named
        star |= starred
    return frozenset(values), star


def _range(part: str, name: str, low: int, high: int, names: dict[str, int]) -> tuple[set[int], bool]:
    pieces = part.split("/")
    ends = pieces[0].split("-")
    star = ends[0] in ("*", "?")
    if star:
        start, end = low, high
    else:
        start = end = _number(ends[0], name, names)
        if len(ends) == 2:
            end = _number(ends[1], name, names)
        elif len(ends) > 2:
            raise ScheduleError(f"{name}: {part} has more than one -: split it with a comma", f"too many hyphens: {part}")
    step = 1
    if len(pieces) == 2:
        step = _number(pieces[1], name, {})
        if len(ends) == 1:
            end = high
        if step > 1:
            star = False
    elif len(pieces) > 2:
        raise ScheduleError(f"{name}: {part} has more than one /: keep one step", f"too many slashes: {part}")
    refusal = _outside(part, start, end, step, low, high)
    if refusal:
        raise ScheduleError(f"{name}: {_advice(part, start, end, low, high, name)}", refusal)
    return set(range(start, end + 1, step)), star


def _outside(part: str, start: int, end: int, step: int, low: int, high: int) -> str | None:
    if start < low:
        return f"beginning of range ({start}) below minimum ({low}): {part}"
    if end > high:
        return f"end of range ({end}) above maximum ({high}): {part}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {part}"
    return f"step of range should be a positive number: {part}" if step == 0 else None


def _advice(part: str, start: int, end: int, low: int, high: int, name: str) -> str:
    if start < low or end > high:
        sunday = ": type 0 for Sunday" if name == "day of week" and 7 in (start, end) else f": type {low} to {high}"
        if name == "day of week" and end == 7 and start < 7:
            sunday = f": type {start}-6,0" if start else ": type 0-6"
        return f"{part} is outside {low}-{high}{sunday}"
    if start > end:
        if "/" in part or "-" not in part:
            return f"the range {part} ends before it begins: split it with a comma"
        first, last = part.split("-")
        head, tail = _span(first, _end(name, high), start == high), _span(_end(name, low), last, end == low)
        return f"the range {part} ends before it begins: type {head},{tail}"
    return f"{part} has a step of 0: type 1 or more"


def _end(name: str, value: int) -> str:
    """The first or last value of a field, by its name where it has one."""
    return {6: "sat", 0: "sun"}[value] if name == "day of week" else str(value)


def _span(first: str, last: str, single: bool) -> str:
    return first if single else f"{first}-{last}"


def _number(text: str, name: str, names: dict[str, int]) -> int:
    # Go folds the dotted capital I to i, Python to two characters.
    named = names.get(text.replace("\u0130", "i").lower()) if names else None
    if named is not None:
        return named
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    refusal = f'failed to parse int from {text}: strconv.Atoi: parsing "{quoted}": '
    digits = re.match(r"[+-]?([0-9]*)", text)
    assert digits is not None
    far = len(digits[1].lstrip("0")) > 20
    # Go gives up at the digit with which the number leaves 64 bits, whatever follows.
    if far or digits[1] and int(digits[1]) >= 2**64:
        raise ScheduleError(f"{name}: {text} is far too large", f"{refusal}value out of range")
    if not digits[1] or digits.end() != len(text):
        raise ScheduleError(f"{name}: {_not_a_number(text, names)}", f"{refusal}invalid syntax")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ScheduleError(f"{name}: {text} is far too large", f"{refusal}value out of range")
    if value < 0:
        raise ScheduleError(
            f"{name}: {text} is negative: type a positive number", f"negative number ({value}) not allowed: {text}"
        )
    return value


def _not_a_number(text: str, names: dict[str, int]) -> str:
    if not text:
        return "a number is missing at - or /: type both ends, e.g. 1-5, or a step, e.g. */5"
    if text == "*":
        return "* stands where a number must: type it alone or with a step, e.g. */5"
    upper = text.upper()
    if upper in ("L", "LW") or upper.endswith("L") and upper[:-1].isdigit():
        return f"{text}: Kubernetes knows no last day: type a day, e.g. 28 (every month has it)"
    if upper.endswith("W") and upper[:-1].isdigit():
        return f"{text}: Kubernetes knows no nearest weekday: type days, e.g. {upper[:-1]}"
    if "#" in text:
        return f"{text}: Kubernetes knows no n-th weekday: type {text.split('#')[0] or 'mon'}, for every week"
    full = next((name for name in names if text.lower().startswith(name)), None)
    if full:
        return f"{text} is not known: type {full}"
    known = f" or one of {', '.join(names)}" if names else ""
    return f"{text} is not a number{known}"
