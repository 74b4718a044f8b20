"""Durations as Go writes them: what stands behind @every."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]*)(\.?)([0-9]*)([^0-9.]*)")
_LARGEST = 2**63


class DurationError(ValueError):
    """Go would refuse this duration; the text is Go's own."""


def nanoseconds(text: str) -> int:
    """A duration such as 1h30m, 1.5h or -5m; raises DurationError where time.ParseDuration would fail."""
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0
    if not unsigned:
        raise _invalid(text)
    total, at = 0, 0
    while at < len(unsigned):
        part = _PART.match(unsigned, at)
        assert part is not None
        whole, _, fraction, unit = part.groups()
        if not whole and not fraction or _number(whole) > _LARGEST:
            raise _invalid(text)
        if not unit:
            raise DurationError(f"time: missing unit in duration {_quoted(text)}")
        if unit not in _UNITS:
            raise DurationError(f"time: unknown unit {_quoted(unit)} in duration {_quoted(text)}")
        if _number(whole) > _LARGEST // _UNITS[unit]:
            raise _invalid(text)
        value = _number(whole) * _UNITS[unit] + _fraction(fraction, _UNITS[unit])
        total = (total + value) % (2 * _LARGEST)  # in Go's 64 bits
        if value > _LARGEST or total > _LARGEST:
            raise _invalid(text)
        at = part.end()
    if text.startswith("-"):
        return -total
    if total == _LARGEST:
        raise _invalid(text)
    return total


def _number(digits: str) -> int:
    stripped = digits.lstrip("0")
    return int(stripped or "0") if len(stripped) < 20 else 2 * _LARGEST


def _fraction(digits: str, unit: int) -> int:
    """Digits behind the point, in nanoseconds, with Go's rounding: in float64, and no digits beyond 63 bits."""
    value, scale = 0, 1.0
    for digit in digits:
        if value > (_LARGEST - 1) // 10 or value * 10 + int(digit) > _LARGEST:
            break
        value = value * 10 + int(digit)
        scale *= 10
    return int(float(value) * (float(unit) / scale))


def _invalid(text: str) -> DurationError:
    return DurationError(f"time: invalid duration {_quoted(text)}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
