"""What the commands that look after a store do: gc and fsck. They read, call, ask and print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from scheduler import damage, retention, tables
from scheduler.config.keys import Duration
from scheduler.errors import CronsembleError
from scheduler.identity import who
from scheduler.whereabouts import Place

SHOWN = 20
"""Paths that are named one by one."""


def clear(place: Place, what: Sequence[str], older_than: str, keep: int, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Remove what the rule says, once it is agreed to; 0, or 1 if something could not be removed."""
    for kind in what:
        if kind not in retention.WHAT:
            told = "; ".join(f"{name} ({text})" for name, text in retention.WHAT.items())
            raise CronsembleError(f"--what {kind}: type one of {told}")
    try:
        age = float(Duration.read(older_than))
    except ValueError as error:
        raise CronsembleError(f"--older-than {older_than}: {error}") from error
    rule = retention.Rule(tuple(what) or retention.DEFAULT, age, keep)
    found = retention.clearing(place.store, place.name, rule, time.time())
    if as_json:
        print(json.dumps(_told(found), indent=1))
    else:
        _print(found, place)
    if dry_run or not found.items:
        return 0
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise CronsembleError("nothing was removed: there is no terminal to ask on; look with --dry-run, then give --yes")
        if input(f"Remove these {_bytes(found.size)}? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return 0
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    failed = list(retention.execute(place.store, found, now, who()))
    for item, problem in failed:
        print(f"{item.path}: {problem.strerror or problem}", file=sys.stderr)
    gone = [item for item in found.items if item.path not in {bad.path for bad, _ in failed}]
    if not as_json:
        print(f"removed {len(gone)} of {len(found.items)}, {_bytes(sum(item.size for item in gone))}")
    return 1 if failed else 0


def _told(found: retention.Clearing) -> dict[str, object]:
    items = [
        {
            "kind": item.kind,
            "path": str(item.path),
            "size": item.size,
            "why": item.why,
            "run": None if item.run is None else str(item.run),
        }
        for item in found.items
    ]
    return {"items": items, "size": found.size, "consequences": found.consequences}


def _print(found: retention.Clearing, place: Place) -> None:
    if not found.items:
        print(f"nothing to remove of {place.name} in {place.store.root}")
    for kind, number, size in found.counts():
        print(f"{kind}: {number}, {_bytes(size)}: {retention.WHAT[kind]}")
        some = [item for item in found.items if item.kind == kind]
        for item in some[:SHOWN]:
            print(tables.clean(f"  {item.path}: {item.why}"))
        if len(some) > SHOWN:
            print(f"  … and {len(some) - SHOWN} more: --json names all")
    for line in found.consequences:
        print(f"note: {line}")


def _bytes(size: int) -> str:
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def check_store(place: Place, quick: bool, repair: bool, as_json: bool) -> int:
    """Find, explain and, if asked to, mend damage; 0 if nothing is left that is wrong, else 1."""
    findings = _findings(place, quick, repair)
    if as_json:
        keys = ("path", "what", "meaning", "repair", "repaired")
        told = [{key: getattr(each, key) for key in keys} | {"path": place.store.shown(each.path)} for each in findings]
        print(json.dumps(told, indent=1))
    else:
        for each in findings:
            mended = "repaired: " if each.repaired else ""
            hint = "" if each.repaired or not each.repair else f" (--repair: {each.repair})"
            print(tables.clean(f"{mended}{place.store.shown(each.path)}: {each.what}: {each.meaning}{hint}"))
        left, where = sum(not each.repaired for each in findings), place.store.shown(place.store.root)
        print(f"{where}: {left} found" if left else f"{where}: nothing is wrong")
    return 1 if any(not each.repaired for each in findings) else 0


def _findings(place: Place, quick: bool, repair: bool) -> list[damage.Finding]:
    """All that is wrong, mended where that is wanted; by a program beside the store where that is elsewhere."""
    store = place.store
    told = store.beside("scheduler.damage_beside", experiment=place.name, quick=quick, repair=repair)
    if told is not None:
        return [damage.Finding(path=store.root / each.pop("path"), **each) for each in told]
    found = list(damage.findings(store, place.name, time.time(), quick))
    if repair:
        damage.repair(store, found)
    return found
