"""Gives what revisions name by its hash, a task's configuration and the user's code, from a store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, cached_property
from typing import Any

from jobs.revisions import annotation_text
from jobs.store import Store
from jobs.store.regular_files import Unreadable


class RevisionSnapshots:
    """The snapshots of a store, each read once (:class:`scheduler.history.revision_changes.Snapshots`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.task = cache(self._task)
        self.code = cache(self._code)

    def _task(self, digest: str) -> Mapping[str, Any] | None:
        """The resolved configuration of a task; None where the store has no whole copy of it."""
        return self._store.task_configuration({"snapshot": {"task": digest}}) or self._of_clusters.get(digest)

    @cached_property
    def _of_clusters(self) -> dict[str, Mapping[str, Any]]:
        """Those that the store has, by the hash of their annotation: a cluster's revisions know no other."""
        configurations = map(self._store.task_configuration, ({"snapshot": {"task": name}} for name in self._names()))
        return {
            hashlib.sha256(annotation_text(configuration).encode(errors="replace")).hexdigest(): configuration
            for configuration in configurations
            if configuration
        }

    def _names(self) -> list[str]:
        with suppress(Unreadable):
            folder = self._store.snapshot_path("task", "0").parent
            return [name.removesuffix(".json") for name in self._store.files.list_names(folder)]
        return []

    def _code(self, digest: str) -> bytes | None:
        """The archive of the user's code; None where the store has no whole copy of it."""
        try:
            return self._store.read_snapshot("code", digest)
        except OSError:
            return None
