"""Checks a store beside which this program runs: the answer to `fsck` from elsewhere. Standard library alone, Python 3.9."""

from __future__ import annotations

import time
from typing import Any

from jobs.store import LocalStore, check


def check_store(store: LocalStore, request: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings as objects, with paths relative to the store; ``request`` has ``experiment``, ``quick`` and ``repair``."""
    findings = list(check.find_damage(store, str(request["experiment"]), time.time(), bool(request["quick"])))
    if request["repair"]:
        check.repair(store, findings)
    prefix = f"{store.root}/"
    return [
        {
            "path": str(finding.path).removeprefix(prefix),
            "what": str(finding.what),
            "meaning": finding.meaning.replace(prefix, ""),
            "repair": finding.repair,
            "repaired": finding.repaired,
        }
        for finding in findings
    ]
