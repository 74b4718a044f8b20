"""The snapshots in the stores of experiments, for a cluster that has lost their ConfigMaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from cronjobs.experiment import Experiment
from jobs.store import Store
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget

Wanted = tuple[str, str, str]
"""Experiment, kind (program, code) and SHA-256 of a snapshot."""


class StoredSnapshots:
    """Reads snapshots from the stores of these experiments; a store that only the cluster mounts by a reader pod."""

    def __init__(self, experiments: Sequence[Experiment], target: ClusterTarget) -> None:
        self._experiments = {experiment.name: experiment for experiment in experiments}
        self._target = target
        self._known: dict[Wanted, bytes | str] = {}

    def read(self, wanted: Iterable[Wanted]) -> dict[Wanted, bytes | str]:
        """The bytes of each, or why they cannot be had; what was read once is not read again."""
        by_experiment: dict[str, list[Wanted]] = {}
        for each in wanted:
            if each not in self._known:
                by_experiment.setdefault(each[0], []).append(each)
        for name, own in by_experiment.items():
            self._known.update(self._read_store(name, own))
        return dict(self._known)

    def _read_store(self, name: str, wanted: list[Wanted]) -> dict[Wanted, bytes | str]:
        experiment = self._experiments.get(name)
        if experiment is None:
            return dict.fromkeys(wanted, f"it belongs to the experiment {name}, and a sync of that can make it again")
        try:
            with _opened(experiment, self._target) as store:
                return {each: _read(store, each) for each in wanted}
        except CronsembleError as error:
            return dict.fromkeys(wanted, f"its store cannot be read ({str(error).splitlines()[0]})")


@contextmanager
def _opened(experiment: Experiment, target: ClusterTarget) -> Iterator[Store]:
    # Late: hardly any sync needs it.
    from scheduler.stores.remote.connect import connect_to_files

    with connect_to_files(experiment, target) as files:
        yield Store(files)


def _read(store: Store, wanted: Wanted) -> bytes | str:
    _, kind, digest = wanted
    try:
        return store.read_snapshot(kind, digest)
    except FileNotFoundError:
        return "the store has no copy of it, for no run of it has begun"
    except OSError as error:
        return f"its copy in the store cannot be read: {error.strerror}"
