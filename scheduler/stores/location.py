"""Where an experiment's store is: by its configuration, or by what can be told when that is broken or gone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cronjobs.experiment import Experiment
from cronjobs.revisions.revisions import Revision
from jobs.store import Store
from scheduler.config import ConfigErrors, load
from scheduler.errors import CronsembleError
from scheduler.kube.target import ClusterTarget


@dataclass(frozen=True)
class StoreLocation:
    """An experiment's store and name; its configuration, or what is wrong with that.

    ``cluster`` is the one to look at, if any; ``more`` are revisions that were seen there and that the store may not have yet.
    """

    store: Store
    name: str
    experiment: Experiment | None
    config_problem: str = ""
    cluster: ClusterTarget | None = None
    cluster_revisions: Sequence[Revision] = ()


def local_store(experiment: Experiment) -> Store:
    """The store's folder on this machine; relative to the configuration's folder."""
    if not isinstance(experiment.store, str | Path):
        raise CronsembleError(
            f"{experiment.path}: store: only the cluster can mount it: give --store DIR where this machine mounts it too, "
            "or use a folder of this machine, e.g. store: ./store"
        )
    return Store((experiment.folder / experiment.store).resolve())


def locate(file: Path, folder: Path | None, name: str | None) -> StoreLocation:
    """The place that a file declares, or that ``folder`` (a store) and ``name`` (an experiment) name; raises CronsembleError.

    A broken or missing file is no obstacle as long as the store can be told: its own lines, or ./store beside it.
    """
    experiment, problem, text = None, "", ""
    try:
        experiment = load(file)
    except ConfigErrors as error:
        problem = str(error).splitlines()[0]
        text = _text(file)
    if experiment is not None and folder is None:
        if name not in (None, experiment.name):
            raise CronsembleError(f"--experiment {name}: {file} declares {experiment.name}: give -f of the other, or --store DIR")
        return StoreLocation(local_store(experiment), experiment.name, experiment)
    if (
        experiment is not None
        and folder is not None
        and not isinstance(experiment.store, str)
        and name in (None, experiment.name)
    ):
        # Its cluster may know of runs that have left nothing in the store.
        return StoreLocation(Store(folder.resolve()), experiment.name, experiment)
    root = folder or file.resolve().parent / (_value(text, "store") or "store")
    store = Store(root.resolve())
    known = store.experiments()
    if not known:
        raise CronsembleError(f"{problem or file}; and {root} is not a store with runs: give --store DIR")
    wanted = name or (experiment.name if experiment else _value(text, "experiment")) or (known[0] if len(known) == 1 else "")
    if wanted not in known and name is None and len(known) == 1:
        wanted = known[0]
    if wanted not in known:
        given = f"--experiment {wanted}: not in {root}" if wanted else f"{root} holds several experiments"
        raise CronsembleError(f"{given}: give --experiment, one of {', '.join(known)}")
    fits = experiment is not None and experiment.name == wanted
    return StoreLocation(store, wanted, experiment if fits else None, problem)


def _text(file: Path) -> str:
    try:
        return file.read_bytes()[:1_000_000].decode(errors="replace")
    except OSError:
        return ""


def _value(text: str, key: str) -> str:
    """A top-level key's plain value in a text that may not be YAML as a whole."""
    found = re.search(rf"^{key}:[ \t]*[\"']?([^\s\"'#{{]+)", text, re.MULTILINE)
    return found[1] if found else ""


def is_local(file: Path) -> bool:
    """Whether the configuration's store is a folder of this machine; also where the configuration is broken or gone."""
    try:
        return isinstance(load(file).store, str)
    except ConfigErrors:
        return True
