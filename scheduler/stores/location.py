"""Where an experiment's store is, by the configuration, which is read once here, and by the options of a command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cronjobs.experiment import Experiment
from jobs.store import LocalStore
from scheduler.config import ConfigErrors, load
from scheduler.config.namespace import in_namespace
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget

ONLY_A_CLUSTER = (
    "only the cluster can mount it: give --store DIR where this machine mounts it too, "
    "or use a folder of this machine, e.g. store: ./store"
)


@dataclass(frozen=True)
class StoreLocation:
    """A configuration file as it was read, and the options that say where its experiment's store is.

    Of ``experiment`` and ``errors`` exactly one is given. ``folder`` is a store in the place of the configuration's,
    ``name`` an experiment in that store, ``target`` the cluster that is asked; ``experiment`` is in its namespace.
    """

    file: Path
    experiment: Experiment | None
    errors: ConfigErrors | None = None
    folder: Path | None = None
    name: str | None = None
    target: ClusterTarget = field(default_factory=ClusterTarget)

    @property
    def is_remote(self) -> bool:
        """Whether the store is a volume that only a cluster mounts; False where the configuration is broken or gone."""
        return self.folder is None and self.experiment is not None and not isinstance(self.experiment.store, str)

    @property
    def config_problem(self) -> str:
        """The first thing that is wrong with the configuration, in a line; empty if nothing is."""
        return str(self.errors).splitlines()[0] if self.errors else ""

    def require_experiment(self) -> Experiment:
        """What the configuration declares; raises ConfigErrors with all that is wrong with it."""
        if self.experiment is None:
            assert self.errors is not None
            raise self.errors
        return self.experiment


def locate(file: Path, folder: Path | None = None, name: str | None = None, target: ClusterTarget | None = None) -> StoreLocation:
    """Read the configuration, the only time that a command does; one that is broken or missing is no error here."""
    target = target or ClusterTarget()
    try:
        experiment = in_namespace(load(file), target.namespace)
    except ConfigErrors as errors:
        return StoreLocation(file, None, errors, folder, name, target)
    return StoreLocation(file, experiment, None, folder, name, target)


def local_store(experiment: Experiment) -> LocalStore:
    """The store's folder on this machine, relative to the configuration's; raises CronsembleError if only a cluster has it."""
    if not isinstance(experiment.store, str):
        raise CronsembleError(f"{experiment.path}: store: {ONLY_A_CLUSTER}")
    return LocalStore((experiment.folder / experiment.store).resolve())
