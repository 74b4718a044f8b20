"""The store: the files that hold everything that runs produce. Standard library alone, Python 3.9."""

from jobs.store.local_store import LocalStore
from jobs.store.reading import Run
from jobs.store.store import Store, snapshot_digests

__all__ = ["LocalStore", "Run", "Store", "snapshot_digests"]
