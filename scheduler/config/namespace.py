"""The namespaces of experiments: what a command line gives instead of the configuration's, and names that clash in one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cronjobs.experiment import Experiment, Member
from cronjobs.objects.labels import WATCH
from cronjobs.tasks import tasks_of
from scheduler.config.errors import ConfigErrors, Problem


def in_namespace(experiment: Experiment, namespace: str | None) -> Experiment:
    """The experiment in this namespace; as it is where none is given."""
    if namespace is None:
        return experiment
    return replace(experiment, cluster=replace(experiment.cluster, namespace=namespace))


def all_in_namespace(experiments: Iterable[Experiment], namespace: str | None) -> list[Experiment]:
    """The experiments in this namespace; raises ConfigErrors for names that clash there."""
    placed = [in_namespace(experiment, namespace) for experiment in experiments]
    if clashes := list(name_clashes(placed)):
        raise ConfigErrors(clashes)
    return placed


def name_clashes(experiments: Iterable[Experiment]) -> Iterator[Problem]:
    """A problem for each experiment that has the name of another, or a CronJob of that name, in the same namespace."""
    declared_by: dict[tuple[str, str], Experiment] = {}
    for experiment in experiments:
        namespace = experiment.cluster.namespace
        first = declared_by.setdefault((namespace, experiment.name), experiment)
        if first is not experiment:
            message = f"{experiment.name} is declared by {first.path} too: rename one, or give it a cluster.namespace of its own"
            yield Problem(str(experiment.path), 0, 0, "experiment", message)
            continue
        keys = {
            task: f"backends.{settings.name}" if isinstance(settings, Member) else "ensemble"
            for task, settings in tasks_of(experiment)
        }
        for task, key in {**keys, **({WATCH: "watch"} if experiment.watch else {})}.items():
            cronjob = f"{experiment.name}-{task}"
            other = declared_by.setdefault((namespace, f"{cronjob} "), experiment)
            if other is not experiment:
                message = f"its CronJob {cronjob} has the name of one of {other.path}: rename the experiment"
                yield Problem(str(experiment.path), 0, 0, key, message)
