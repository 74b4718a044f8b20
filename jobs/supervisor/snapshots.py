"""What a run copies into the store so that it can be repeated: its snapshot and the revisions. Standard library, Python 3.9."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import ExitCode
from jobs.store.files import load_json
from jobs.store.regular_files import Unreadable
from jobs.supervisor.run_context import RunContext, StepError


def store_snapshot(context: RunContext) -> None:
    """Put into the store what a rerun needs and the store lacks, or has damaged: program, user code, the task's configuration.

    Raises StepError for a mounted file that is not the one of the task's snapshot.
    """
    store, snapshot = context.store, context.task["snapshot"]
    store.put_snapshot("task", context.task_bytes)
    mounted = context.env.get(c.ENV_SNAPSHOT)
    for kind, name in (("program", c.PROGRAM_FILE), ("code", c.CODE_FILE)):
        digest = snapshot[kind]
        if not mounted or not digest:
            continue
        data = (Path(mounted) / name).read_bytes()
        mounted_digest = hashlib.sha256(data).hexdigest()
        if mounted_digest != digest:
            raise StepError(
                f"{Path(mounted) / name} has the SHA-256 {mounted_digest[:12]}, not the {digest[:12]} of this task",
                ExitCode.WRONG_INPUT,
            )
        store.put_snapshot(kind, data)


def store_revisions(context: RunContext) -> None:
    """Put into the store the revisions that a cluster's ConfigMap has and the store lacks: a ConfigMap holds at most 1 MiB."""
    mounted = context.env.get(c.ENV_REVISIONS)
    if mounted:
        context.store.ledger.add_revisions(context.run.experiment, mounted_revisions(Path(mounted)))


def mounted_revisions(folder: Path) -> list[dict[str, Any]]:
    """The revisions in the folder where a pod finds those of its experiment's ConfigMap; none where there is none."""
    # A volume's folder holds its files' older states too, under names that begin with two dots.
    return list(filter(None, map(_revision, sorted(folder.glob("[!.]*.json")))))


def _revision(path: Path) -> dict[str, Any]:
    """What a mounted file holds; no revision if it cannot be read."""
    try:
        return load_json(path, follows_links=True) or {}
    except Unreadable:
        return {}
