"""Looks for damage beside a store that is elsewhere: the answer to `fsck`. What it imports must need no library."""

from __future__ import annotations

import time
from typing import Any

from jobs.store import LocalStore, check

KEYS = ("what", "meaning", "repair", "repaired")


def check_store(store: LocalStore, question: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings, paths relative to the store; ``question``: ``experiment``, ``quick``, ``repair``."""
    found = list(check.find_damage(store, str(question["experiment"]), time.time(), bool(question["quick"])))
    if question["repair"]:
        check.repair(store, found)
    return [{"path": _within(store, str(each.path)), **{key: _told(store, getattr(each, key)) for key in KEYS}} for each in found]


def _within(store: LocalStore, path: str) -> str:
    return path.removeprefix(f"{store.root}/")


def _told(store: LocalStore, value: Any) -> Any:
    return value.replace(f"{store.root}/", "") if isinstance(value, str) else value
