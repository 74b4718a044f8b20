"""The checks of `heartbeat:`: addresses, and that no key stands in the file. On the values as written."""

from __future__ import annotations

import re
from typing import Any

from scheduler.config.convert import INVALID, shown
from scheduler.config.document import Document
from scheduler.config.keys import FileKeys, TaskKeys

PING_URLS = {"https://healthchecks.io": "https://hc-ping.com"}
"""Where servers take pings that do not take them below their own address."""
LONGEST_GRACE = 365 * 86400
"""Seconds that a server waits for a run at most."""
_IN_FILE = "a key does not belong in the file"


def check(document: Document, value: dict[str, Any]) -> None:
    """Add every problem to the document, and take keys out of its value, so that no message quotes them."""
    heartbeat = value.get("heartbeat")
    if not isinstance(heartbeat, dict):
        return
    path = ("heartbeat",)
    if isinstance(heartbeat.get("ping_key"), str):
        hint = "type ping_key: {secret: NAME, key: KEY}; `serve` takes it from the variable KEY"
        document.problem((*path, "ping_key"), f"{_IN_FILE}: {hint}")
        del heartbeat["ping_key"]
    if "api_key" in heartbeat:
        document.problem(
            (*path, "api_key"), f"{_IN_FILE}: `sync` and `serve` take it from the variable HEALTHCHECKS_API_KEY", True
        )
        del heartbeat["api_key"]
    for key in ("server", "ping_url"):
        address = heartbeat.get(key)
        if isinstance(address, str) and (problem := _address_problem(address)):
            document.problem((*path, key), problem)


def check_keys(document: Document, keys: FileKeys) -> None:
    """Add what only all of the file shows: pods that have no key to send pings with, and waits that are too long."""
    if keys.heartbeat is None or keys.heartbeat is INVALID:
        return
    if keys.heartbeat.ping_key is None and not isinstance(keys.store, str) and keys.store is not INVALID:
        document.problem(("heartbeat",), "pods need a ping key: type ping_key: {secret: NAME, key: KEY}")
    tasks: list[tuple[tuple[Any, ...], TaskKeys | None]] = [(("ensemble",), keys.ensemble)]
    tasks += [(("backends", name), member) for name, member in keys.backends.items()] if keys.backends is not INVALID else []
    for path, task in tasks:
        if task is None or task is INVALID or INVALID in (task.starting_deadline, task.deadline):
            continue
        wait = getattr(task, "wait", None)
        if task.starting_deadline + task.deadline + (0 if wait in (None, INVALID) else wait) > LONGEST_GRACE:
            message = "with the starting deadline it is longer than a year: a heartbeat's server waits for a run 365d at most"
            document.problem((*path, "deadline"), message)


def _address_problem(address: str) -> str:
    """What is wrong with an address; empty if nothing is. Parts that may hold a password are not quoted."""
    from urllib.parse import urlsplit  # late: most files have none

    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return "it is not an address: type e.g. https://hc.example.org"
    if parts.username is not None or parts.query or parts.fragment:
        return "an address alone is needed, without user, password, ? or #: type e.g. https://hc.example.org"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not re.fullmatch(r"[!-~]+", address):
        return f"{shown(address)} is given: type the address of a server, e.g. https://hc.example.org"
    return ""
