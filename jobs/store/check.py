"""Damage in a store of this machine: what is not as our own work leaves it, what that means, and what can be repaired.

Standard library alone, Python 3.9. What `check_ledger`, `check_runs` and `check_shared` look at is all that a command reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs.contract import RECORD, RECORD_TRACE
from jobs.store import removal
from jobs.store.check_latest import LATEST_REPAIR, check_latest, repair_latest
from jobs.store.check_ledger import check_ledger
from jobs.store.check_runs import check_runs
from jobs.store.check_shared import check_archive, check_data, check_pages, check_snapshots
from jobs.store.files import publish_file
from jobs.store.findings import LEFT_ALONE, CheckScope, DamageKind, Finding, report_unreadable
from jobs.store.local_store import LocalStore
from jobs.store.regular_files import is_folder
from jobs.store.report_pages import METRICS, REPORTS, reports_folder

_FOLDERS = {"runs", "predictions", "datasets", "snapshots", "experiments", "data", REPORTS, METRICS}
"""Of a store."""
LEFTOVER_AGE = 86400
"""Seconds without a change after which what was being written is a leftover."""


def find_damage(store: LocalStore, experiment: str, now: float, quick: bool) -> Iterator[Finding]:
    """Everything that is wrong with a store; ``quick`` reads no file only for its hash, ``now`` is in seconds since 1970."""
    if not store.root.is_dir():
        yield Finding(store.root, DamageKind.MISSING, "there is no store")
        return
    for path in sorted(store.root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.name not in _FOLDERS:
            yield Finding(path, DamageKind.FOREIGN, LEFT_ALONE)
        elif not is_folder(path):
            yield Finding(path, DamageKind.FOREIGN, "it takes the name of a folder of the store; it is left alone")
    for path in removal.leftovers(store, now - LEFTOVER_AGE):
        yield Finding(path, DamageKind.LEFTOVER, "its writer ended before it was done; nothing reads it", "removes it")
    scope = CheckScope(store, experiment, now, quick)
    for check, folder in (
        (check_ledger, store.ledger.folder(experiment)),
        (check_runs, store.root / "runs" / experiment),
        (check_archive, store.archive_folder(experiment)),
        (check_latest, store.archive_folder(experiment)),
        (check_snapshots, store.root / "snapshots"),
        (check_data, store.root / "datasets"),
        (check_pages, reports_folder(store.root, experiment)),
    ):
        yield from report_unreadable(folder, check(scope))


# -- what can be repaired


def repair(store: LocalStore, findings: Iterable[Finding]) -> None:
    """Repair what can be without losing anything: leftovers, the archive, its latest, revisions and records that cannot be read.

    Sets ``repaired`` of each finding, or adds to its ``meaning`` why it could not be.
    """
    concerns_runs = False
    for finding in findings:
        concerns_runs |= "runs" in finding.path.parts
        if not finding.repair:
            continue
        try:
            if finding.what == DamageKind.LEFTOVER:
                removal.remove(store, finding.path)
                finding.repaired = True
            elif finding.repair == LATEST_REPAIR:
                repair_latest(store, finding)
            elif finding.what == DamageKind.NOT_ARCHIVED and finding.run is not None:
                store.publish_archive(finding.run)
                finding.repaired = finding.path.exists()
            elif finding.path.name == RECORD:
                _put_back_record(finding.path)
                finding.repaired = True
            else:
                removal.set_aside(finding.path)
                finding.repaired = True
        except OSError as error:
            finding.meaning += f" (not repaired: {error.strerror})"
    if concerns_runs:
        removal.drop_index(store)


def _put_back_record(path: Path) -> None:
    """Give a result the record that its run wrote, by the second name that it has; another one there gets a hidden name."""
    if path.exists():
        removal.set_aside(path)
    publish_file(path, path.parents[1] / RECORD_TRACE, read_only=True)
