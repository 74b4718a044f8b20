"""The namespace that a command line gives in the place of the configuration's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cronjobs.experiment import Experiment
from scheduler.errors import CronsembleError


def in_namespace(experiment: Experiment, namespace: str | None) -> Experiment:
    """The experiment in this namespace; as it is where none is given."""
    if namespace is None:
        return experiment
    return replace(experiment, cluster=replace(experiment.cluster, namespace=namespace))


def all_in_namespace(experiments: Iterable[Experiment], namespace: str | None) -> list[Experiment]:
    """The experiments in this namespace; raises CronsembleError for two of one name in one namespace."""
    placed = [in_namespace(experiment, namespace) for experiment in experiments]
    declared_in: dict[tuple[str, str], Path] = {}
    for experiment in placed:
        key = (experiment.cluster.namespace, experiment.name)
        if key in declared_in:
            raise CronsembleError(f"{experiment.path}: {experiment.name} is declared by {declared_in[key]} too: rename one")
        declared_in[key] = experiment.path
    return placed
