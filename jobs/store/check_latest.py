"""Damage in `latest.csv` and `latest.json`: they are to be the newest accepted run's. Standard library alone, Python 3.9."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jobs.contract import CSV, ENSEMBLE_TASK, METADATA, RunId
from jobs.store import removal
from jobs.store.files import sha256_of
from jobs.store.findings import CheckScope, DamageKind, Finding, check_document, report_unreadable
from jobs.store.latest_predictions import LATEST_CSV, LATEST_JSON, LatestFiles, accepted_runs, update_latest
from jobs.store.local_store import LocalStore
from jobs.store.regular_files import Unreadable, is_regular
from jobs.store.result_files import recorded_files, recorded_sha256

LATEST_REPAIR = "puts the newest accepted run's there"
"""What --repair does of every finding of these."""


def check_latest(scope: CheckScope) -> Iterator[Finding]:
    """What is wrong with an experiment's latest predictions; nothing in a store that earlier versions alone have written."""
    files = LatestFiles(scope.store, scope.experiment)
    csv, json = files.folder / LATEST_CSV, files.folder / LATEST_JSON
    are_there = os.path.lexists(csv) or os.path.lexists(json)
    try:
        newest, record = next(accepted_runs(scope.store, scope.experiment), (None, {}))
    except Unreadable:
        return  # the run is reported itself
    if newest is None:
        for path in (csv, json):
            if os.path.lexists(path):
                meaning = "no run that may be the latest is accepted, or there is none"
                yield Finding(path, DamageKind.WRONG_CONTENT, meaning, LATEST_REPAIR)
        return
    if not are_there and METADATA not in recorded_files(record):
        return
    sha256 = recorded_sha256(record, CSV)
    yield from report_unreadable(csv, _check_csv(scope, files, newest, sha256))
    yield from report_unreadable(json, _check_json(json, newest, sha256))


def _check_csv(scope: CheckScope, files: LatestFiles, newest: RunId, sha256: str | None) -> Iterator[Finding]:
    path = files.folder / LATEST_CSV
    if not os.path.lexists(path):
        yield _behind(path, newest, "it is not there")
    elif not is_regular(path):
        yield Finding(path, DamageKind.UNREADABLE, "it is no file")
    elif not files.is_csv_of(newest):
        whose = _run_of(scope, path)
        if whose is not None:
            yield _behind(path, newest, f"it is that of {whose}")
        else:
            yield Finding(path, DamageKind.WRONG_CONTENT, f"no run wrote it; that of {newest} belongs there", LATEST_REPAIR)
    elif not scope.quick and sha256 not in (None, sha256_of(path)):
        # A further name of the archive's file, which was changed: nothing whole could take its place.
        yield Finding(path, DamageKind.WRONG_CONTENT, f"not what {newest} predicted: changed since")


def _check_json(path: Path, newest: RunId, sha256: str | None) -> Iterator[Finding]:
    """``sha256``: of the newest run's CSV, as its record has it; None where it does not say."""
    if not os.path.lexists(path):
        yield _behind(path, newest, "it is not there")
        return
    document, findings = check_document(path, f"it does not say what {LATEST_CSV} is", LATEST_REPAIR)
    yield from findings
    if document is None:
        return
    if document.get("run") != str(newest):
        yield _behind(path, newest, f"it is that of {document.get('run')}")
    elif sha256 not in (None, (document.get("csv") or {}).get("sha256")):
        yield Finding(path, DamageKind.WRONG_CONTENT, f"the sha256 in it is not that of {newest}'s CSV", LATEST_REPAIR)


def _behind(path: Path, newest: RunId, what: str) -> Finding:
    meaning = f"{what}, and {newest} is the newest accepted run: whoever was to put its predictions there ended before"
    return Finding(path, DamageKind.NOT_ARCHIVED, meaning, LATEST_REPAIR)


def _run_of(scope: CheckScope, path: Path) -> RunId | None:
    """The ensemble run that wrote these bytes, by the hashes in the records; None for none."""
    digest = sha256_of(path)
    for run in scope.store.run_ids(scope.experiment, ENSEMBLE_TASK, skip_unreadable=True):
        record = scope.store.result(run)
        if record is not None and recorded_sha256(record, CSV) == digest:
            return run
    return None


def repair_latest(store: LocalStore, finding: Finding) -> None:
    """Put the newest accepted run's predictions where others are; bytes that no run wrote get a hidden name. Raises OSError."""
    if finding.what == DamageKind.WRONG_CONTENT and os.path.lexists(finding.path) and _is_nobodys(finding):
        removal.set_aside(finding.path)
    update = update_latest(store, finding.path.parent.name)
    finding.repaired = not update.problem
    if update.problem:
        finding.meaning += f" (not repaired: {update.problem})"


def _is_nobodys(finding: Finding) -> bool:
    return finding.path.name == LATEST_CSV and finding.meaning.startswith("no run wrote it")
