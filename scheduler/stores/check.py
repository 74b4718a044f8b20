"""`fsck`: checks a store where it is: on this machine, or by the program beside one that only a cluster mounts."""

from __future__ import annotations

import time

from jobs.store import LocalStore, Store
from jobs.store.check import find_damage
from jobs.store.check import repair as repair_findings
from jobs.store.findings import Finding


def check_store(store: Store, experiment: str, quick: bool, repair: bool) -> list[Finding]:
    """All that is wrong with a store, repaired where that is asked for and safe; ``quick`` reads no file only for its hash."""
    if isinstance(store, LocalStore):
        findings = list(find_damage(store, experiment, time.time(), quick))
        if repair:
            repair_findings(store, findings)
        return findings
    from scheduler.stores.remote.files import RemoteFiles

    assert isinstance(store.files, RemoteFiles)
    answers = store.files.run_check(experiment, quick, repair)
    return [Finding(path=store.root / answer.pop("path"), **answer) for answer in answers]
