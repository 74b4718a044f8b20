"""Gives what revisions name by its hash, a task's configuration and the user's code, from a store."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jobs.store import Store


class RevisionSnapshots:
    """The snapshots of a store, each read once (:class:`scheduler.history.revision_changes.Snapshots`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.task = cache(self._task)
        self.code = cache(self._code)

    def _task(self, digest: str) -> Mapping[str, Any] | None:
        """The resolved configuration of a task; None where the store has no whole copy of it."""
        return self._store.task_configuration({"snapshot": {"task": digest}}) or None

    def _code(self, digest: str) -> bytes | None:
        """The archive of the user's code; None where the store has no whole copy of it."""
        try:
            return self._store.read_snapshot("code", digest)
        except OSError:
            return None
