"""The workspace of a command: an experiment with its opened store, built once and passed on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf

from cronjobs.experiment import Experiment
from cronjobs.revisions.revisions import Revision
from jobs.store import LocalStore, Store
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget
from scheduler.stores.find_run import newest_timezone
from scheduler.stores.location import ONLY_A_CLUSTER, StoreLocation, local_store


@dataclass(frozen=True)
class Workspace:
    """An experiment's name and store, and where they come from.

    ``cluster_revisions`` were read from the experiment's ConfigMap; the store may not have them yet.
    """

    location: StoreLocation
    store: Store
    name: str
    cluster_revisions: Sequence[Revision] = ()

    @property
    def experiment(self) -> Experiment | None:
        """What the configuration declares, if that is this experiment."""
        experiment = self.location.experiment
        return experiment if experiment is not None and experiment.name == self.name else None

    @property
    def timezone(self) -> str:
        """The zone of dates and times that have none: the configuration's; without one, that of the newest run."""
        return self.experiment.timezone if self.experiment is not None else newest_timezone(self.store, self.name)

    @property
    def config_problem(self) -> str:
        """The first thing that is wrong with the configuration, in a line; empty if nothing is."""
        return self.location.config_problem

    @property
    def target(self) -> ClusterTarget:
        """The cluster to ask; ``offline`` too where it did not answer when the store was opened."""
        target = self.location.target
        return replace(target, offline=target.offline or getattr(self.store.files, "is_cluster_down", False))

    @property
    def store_time(self) -> float:
        """Until when the store is known, in seconds since 1970: without an end, unless only its mirror could be read."""
        updated = self.store.files.updated(self.name) if self.store.files.is_offline else None
        return inf if updated is None else updated.timestamp()

    def require_experiment(self, purpose: str) -> Experiment:
        """What the configuration declares; raises CronsembleError, which names ``purpose``, an option, as what needs it."""
        if self.experiment is None:
            raise CronsembleError(f"{purpose} needs a configuration without errors: {self.config_problem or 'give -f FILE'}")
        return self.experiment

    def require_local_store(self) -> LocalStore:
        """The store, which this machine mounts; raises CronsembleError where only a cluster does."""
        if not isinstance(self.store, LocalStore):
            raise CronsembleError(f"{self.store.files.display_path(self.store.root)}: {ONLY_A_CLUSTER}")
        return self.store


@contextmanager
def open_workspace(location: StoreLocation, *, through_cluster: bool = True, may_be_new: bool = False) -> Iterator[Workspace]:
    """Open the store at a location. Raises CronsembleError, and KubeError where a cluster has it.

    A store that only a cluster mounts is a mirror, brought up to date through a reader pod that is gone afterwards; it is
    an error unless ``through_cluster``. A folder is a store if it holds runs, or if it ``may_be_new``.
    A broken or missing configuration is no obstacle as long as it shows which store is meant: by its own lines, or ./store
    beside it.
    """
    experiment, name = location.experiment, location.name
    if experiment is not None and location.folder is None and name not in (None, experiment.name):
        raise CronsembleError(
            f"--experiment {name}: {location.file} declares {experiment.name}: give -f of the other, or --store DIR"
        )
    if not location.is_remote or not through_cluster:
        yield _open_folder(location, may_be_new)
        return
    from scheduler.stores.remote.connect import open_remote_files

    assert experiment is not None
    with open_remote_files(experiment, location.target) as (files, cluster_revisions):
        yield Workspace(location, Store(files), experiment.name, cluster_revisions)


def _open_folder(location: StoreLocation, may_be_new: bool) -> Workspace:
    experiment, folder, name = location.experiment, location.folder, location.name
    if experiment is not None and folder is None:
        return Workspace(location, local_store(experiment), experiment.name)
    # A cluster may know of runs that have left nothing in its store.
    may_be_empty = experiment is not None and (may_be_new or not isinstance(experiment.store, str))
    if experiment is not None and folder is not None and may_be_empty and name in (None, experiment.name):
        return Workspace(location, LocalStore(folder.resolve()), experiment.name)
    text = location.errors.text if location.errors is not None else ""
    root = folder or location.file.resolve().parent / (_value(text, "store") or "store")
    store = LocalStore(root.resolve())
    stored = store.experiments()
    if not stored:
        problem = location.config_problem or (str(location.file) if experiment is not None else "")
        raise CronsembleError(f"{problem + '; and ' if problem else ''}{root} is not a store with runs: give --store DIR")
    chosen = name or (experiment.name if experiment else _value(text, "experiment")) or ""
    if chosen not in stored and name is None and len(stored) == 1:
        chosen = stored[0]
    if chosen not in stored:
        problem = f"--experiment {chosen}: not in {root}" if chosen else f"{root} holds several experiments"
        raise CronsembleError(f"{problem}: give --experiment, one of {', '.join(stored)}")
    return Workspace(location, store, chosen)


def _value(text: str, key: str) -> str:
    """A top-level key's plain value in a text that may not be YAML as a whole; empty if there is none."""
    match = re.search(rf"^{key}:[ \t]*[\"']?([^\s\"'#{{]+)", text, re.MULTILINE)
    return match[1] if match else ""
