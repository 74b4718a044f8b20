"""The lines of a try's progress file as events. The user's code can write them too: what is no event is left out."""

from __future__ import annotations

import json
from typing import Any

MAX_LINE = 1 << 16
"""Bytes of the longest line that is read."""
_LARGEST = 10**9
"""Of epochs, seconds and losses: what is larger is no measurement, and would fill a line."""
_NUMBERS = ("loss", "accuracy", "val_loss", "val_accuracy")


def parse_event(line: bytes) -> dict[str, Any] | None:
    """An epoch (``epoch``, ``epochs``, ``seconds`` and numbers or None) or a notice (``text``, ``shared``); else None."""
    try:
        value = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if value.get("event") == "notice" and isinstance(value.get("text"), str):
        return {"event": "notice", "text": value["text"], "shared": value.get("shared") is True}
    epoch, epochs, seconds = _count(value.get("epoch")), _count(value.get("epochs")), _number(value.get("seconds"))
    if value.get("event") != "epoch" or epoch is None or epochs is None or epoch > epochs or seconds is None or seconds < 0:
        return None
    return {"event": "epoch", "epoch": epoch, "epochs": epochs, "seconds": seconds} | {
        name: _number(value.get(name)) for name in _NUMBERS
    }


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_LARGEST <= value <= _LARGEST else None
