"""Damage in what a store holds of an experiment beside its runs: owner, heartbeats, revisions, notes. Python 3.9.

Standard library alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from jobs import contract
from jobs.store.document_files import NOTIFICATIONS
from jobs.store.files import list_names, parse_json
from jobs.store.findings import (
    AHEAD,
    LEFT_ALONE,
    CheckScope,
    DamageKind,
    Finding,
    check_belongs,
    check_document,
    report_unreadable,
)
from jobs.store.names import name_part
from jobs.store.notifications import (
    ALERTS,
    CHANNELS,
    DELIVERY_FILE,
    EVENT_NAME,
    EVENTS,
    LOOK,
    MARK,
    RESERVE,
    NotificationLedger,
)
from jobs.store.regular_files import is_folder, read_regular

LARGEST_NOTES = 1 << 30
"""Bytes of a file of notes."""
_FILES = re.compile(r"(alive|owner)-.+\.json|revisions|notes|notifications")
"""Of an experiment's folder."""


def check_ledger(scope: CheckScope) -> Iterator[Finding]:
    """What is wrong with an experiment's own files."""
    ledger, experiment = scope.store.ledger, scope.experiment
    folder = ledger.folder(experiment)
    for name in list_names(folder.parent):
        if not is_folder(folder.parent / name) and not name.endswith(".json"):
            yield Finding(folder.parent / name, DamageKind.FOREIGN, LEFT_ALONE)
    last_owner = ledger.owner_file(experiment)
    for path in ledger.owner_files(experiment):
        if path != last_owner:
            earlier, findings = check_document(path, "it said who ran the experiment before: nothing reads it any more")
            yield from findings
            yield from check_belongs(path, earlier, "experiment", experiment)
    meaning = "it does not say who runs the experiment: `serve --take-over` becomes the next owner"
    owner, findings = check_document(last_owner, meaning)
    if owner is None and not findings and any(revision.get("what") == "serve" for revision in ledger.revisions(experiment)):
        meaning = "it is not known who serves the experiment: another machine would not be refused"
        findings = [Finding(last_owner, DamageKind.MISSING, meaning)]
    yield from findings
    yield from check_belongs(last_owner, owner, "experiment", experiment)
    for name in list_names(folder):
        if not _FILES.fullmatch(name):
            yield Finding(folder / name, DamageKind.FOREIGN, LEFT_ALONE)
        elif name.startswith("alive-"):
            heartbeat, findings = check_document(folder / name, "when that machine was last alive is not known")
            yield from findings
            yield from check_belongs(folder / name, heartbeat, "experiment", experiment)
            host = (heartbeat or {}).get("host")
            if isinstance(host, str) and f"alive-{name_part(host)}.json" != name:
                yield Finding(
                    folder / name, DamageKind.WRONG_CONTENT, f"it is of the host {host}: the file was copied or renamed"
                )
    for name, suffix in (("revisions", ".json"), ("notes", ".jsonl")):
        if os.path.lexists(folder / name) and not is_folder(folder / name):
            yield Finding(folder / name, DamageKind.UNREADABLE, f"it is no folder: no {name} can be read or written")
        for other in list_names(folder / name):
            if not other.endswith(suffix):
                yield Finding(folder / name / other, DamageKind.FOREIGN, LEFT_ALONE)
    yield from _check_notifications(scope)
    yield from _check_revisions(scope)
    for path in ledger.note_files(experiment):
        yield from report_unreadable(path, _check_notes(path))


def _check_notifications(scope: CheckScope) -> Iterator[Finding]:
    """What was told: a damaged event is not told again, and a damaged delivery counts as done."""
    notifications = NotificationLedger(scope.store.files, scope.experiment)
    folder = notifications.folder
    for name in list_names(folder):
        if name not in (MARK, LOOK, RESERVE, EVENTS, CHANNELS):
            yield Finding(folder / name, DamageKind.FOREIGN, LEFT_ALONE)
    places = [(folder, "when anything was looked at is not known: what was wrong then may be told again")]
    places += [(folder / EVENTS, "whoever was to be told of it is not told any more")]
    channels = [folder / CHANNELS / name for name in list_names(folder / CHANNELS)]
    places += [(channel, "it counts as delivered") for channel in channels]
    for place, meaning in places:
        if os.path.lexists(place) and not is_folder(place):
            yield Finding(place, DamageKind.UNREADABLE, "it is no folder: nothing can be read or written there")
            continue
        for name in list_names(place):
            if place != folder and not _is_ours(place, name):
                yield Finding(place / name, DamageKind.FOREIGN, LEFT_ALONE)
            elif name.endswith(".json"):
                document, findings = check_document(place / name, meaning)
                yield from findings
                yield from check_belongs(place / name, document, "experiment", scope.experiment)


def _is_ours(folder: Path, name: str) -> bool:
    if folder.name == EVENTS and folder.parent.name == NOTIFICATIONS:
        return EVENT_NAME.fullmatch(name.removesuffix(".json") if name.endswith(".json") else "") is not None
    return name in (MARK, ALERTS) or DELIVERY_FILE.fullmatch(name) is not None


def _check_revisions(scope: CheckScope) -> Iterator[Finding]:
    ledger, experiment = scope.store.ledger, scope.experiment
    latest: dict[str, int] = {}
    numbers: dict[str, set[int]] = {}
    damaged = 0
    for path in ledger.revision_files(experiment):
        hint = "hides it, so that a pod can write it again"
        revision, findings = check_document(path, "the history takes the revisions before and after it", hint)
        yield from findings
        damaged += bool(findings)
        if revision is None:
            continue
        if ledger.revision_file(experiment, revision).name != path.name:
            meaning = "it is not the revision that its name says: the file was copied, renamed or edited"
            yield Finding(path, DamageKind.WRONG_CONTENT, meaning)
            damaged += 1
            continue
        number, engine = int(revision["revision"]), str(revision.get("engine", ""))
        numbers.setdefault(engine, set()).add(number)
        if contract.revision_time(revision) > scope.now + AHEAD:
            yield Finding(path, DamageKind.WRONG_TIME, f"it is dated {revision['time']}, which is in the future")
        # Files lie in the order of their times: a smaller number behind a larger one was written by a clock that jumped.
        if 1 < number < latest.get(engine, 0):
            meaning = f"revision {number} of {engine} is dated after revision {latest[engine]}: a clock jumped"
            yield Finding(path, DamageKind.WRONG_TIME, meaning)
        latest[engine] = number
    folder = ledger.folder(experiment) / "revisions"
    damaged += sum(1 for path in folder.glob(".*.damaged"))
    for engine, own in sorted(numbers.items()):
        # A machine counts its own, and removes none; a damaged one may be any of them.
        absent = sorted(set(range(1, max(own))) - own)
        if engine.startswith("host:") and len(absent) > damaged:
            listed = ", ".join(map(str, absent[:5]))
            meaning = f"revision {listed} of {engine} is gone: the history takes the revisions before and after it"
            yield Finding(folder, DamageKind.MISSING, meaning)


def _check_notes(path: Path) -> Iterator[Finding]:
    unreadable, elsewhere = [], []
    month, host = path.stem[:7], path.stem[8:]
    data = read_regular(path, LARGEST_NOTES)
    if not data.strip():
        yield Finding(path, DamageKind.TRUNCATED, "it holds no note: the slots of its notes are shown as missed")
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            note = parse_json(line)
        except ValueError:
            unreadable.append(number)
            continue
        kind, _, machine = str(note.get("engine") or "").partition(":")
        if str(note.get("time"))[:7] != month or (kind == "host" and name_part(machine) != host):
            elsewhere.append(number)
    if unreadable:
        numbers = ", ".join(map(str, unreadable[:5]))
        meaning = f"{len(unreadable)} notes cannot be read (line {numbers}): their slots are shown as missed"
        yield Finding(path, DamageKind.TRUNCATED, meaning)
    if elsewhere:
        numbers = ", ".join(map(str, elsewhere[:5]))
        yield Finding(path, DamageKind.WRONG_CONTENT, f"notes of another month or machine (line {numbers}): the file was copied")
