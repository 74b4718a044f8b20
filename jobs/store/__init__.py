"""The store: the files that hold everything that runs produce. Standard library alone, Python 3.9."""

from jobs.store.reading import Run
from jobs.store.store import Store, snapshot_digests

__all__ = ["Run", "Store", "snapshot_digests"]
