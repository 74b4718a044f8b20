"""Cronsemble from Python: what became of an experiment's runs, what they predicted and with which models, as tables and values.

    import cronsemble

    experiment = cronsemble.open("config.yaml")
    experiment.history()           # every slot and run, newest first
    experiment.predictions()       # the newest ensemble's predictions

Everything here only reads. Nothing prints, exits or handles signals: what cannot be done raises a :class:`CronsembleError`, and
what was done in part only is said by a :class:`CronsembleWarning`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from scheduler import VERSION as __version__
from scheduler.errors import CronsembleError, MissingPackage, StoreError, UnknownRun

if TYPE_CHECKING:
    from cronsemble.comparison import Comparison
    from cronsemble.experiment import CronsembleWarning, Experiment
    from cronsemble.report_page import ReportPage
    from cronsemble.run import Model, Run
    from cronsemble.tables import Table
    from scheduler.config.errors import ConfigErrors
    from scheduler.kube.errors import KubeError
    from scheduler.results.probabilities import DamagedResult

__all__ = [
    "Comparison",
    "ConfigErrors",
    "CronsembleError",
    "CronsembleWarning",
    "DamagedResult",
    "Experiment",
    "KubeError",
    "MissingPackage",
    "Model",
    "ReportPage",
    "Run",
    "StoreError",
    "Table",
    "UnknownRun",
    "__version__",
    "open",
]

_LATE = {
    "Comparison": "cronsemble.comparison",
    "ConfigErrors": "scheduler.config.errors",
    "CronsembleWarning": "cronsemble.experiment",
    "DamagedResult": "scheduler.results.probabilities",
    "Experiment": "cronsemble.experiment",
    "KubeError": "scheduler.kube.errors",
    "Model": "cronsemble.run",
    "ReportPage": "cronsemble.report_page",
    "Run": "cronsemble.run",
    "Table": "cronsemble.tables",
}
"""By name the module that has it: each is imported when it is first used, so that ``import cronsemble`` takes no time."""


def __getattr__(name: str) -> Any:
    """A class of the package, imported now."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)


def open(
    config: str | os.PathLike[str] | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    experiment: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    context: str | None = None,
    namespace: str | None = None,
    offline: bool = False,
) -> Experiment:
    """Opens an experiment: by its configuration, or by its store alone.

    Args:
        config: the configuration file; without it and without `store`, `config.yaml` in the current folder.
        store: a store's folder, in place of the one that the configuration names.
        experiment: the experiment's name; needed only where a store holds several.
        kubeconfig: the file that says how a cluster is reached, as kubectl takes it. It matters, as the next two do, only where
            the experiment runs on a cluster.
        context: the context in that file.
        namespace: the namespace, in place of the configuration's.
        offline: ask no cluster; of a store that only a cluster mounts, what was read last.

    Returns:
        An `Experiment`. Where only a cluster mounts the store, its mirror has been brought up to date, and a connection stays
        open: use it in a `with` statement, or call its `close()`.

    Raises:
        CronsembleError: there is no store with runs, or it holds several experiments.
        ConfigErrors: the configuration has errors, and does not show which store is meant.
        KubeError: the cluster that has the store does not answer.

    Example:
        >>> import cronsemble
        >>> experiment = cronsemble.open("config.yaml")
        >>> experiment.name
        'e'
        >>> experiment.tasks
        ['ensemble', 'train-a', 'train-b', 'train-b2', 'train-c', 'train-d']
    """
    from cronsemble.experiment import open_experiment

    return open_experiment(config, store, experiment, kubeconfig, context, namespace, offline)
