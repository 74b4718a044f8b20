"""The text of metrics in Prometheus' format: what each is called, what it means and which labels it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.metrics.values import STATES, ExperimentMetrics, TaskMetrics

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

Sample = tuple[tuple[str, ...], float | None]
"""The values of the labels beyond those of every series, and the value; None for no series."""


@dataclass(frozen=True)
class Metric:
    """A gauge; ``labels`` beyond experiment and task. The help has no quotes, which one of the formats would escape."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskMetric(Metric):
    """One of each task: labels experiment and task."""

    samples: Callable[[TaskMetrics], Iterable[Sample]] = lambda task: ()


@dataclass(frozen=True)
class ExperimentMetric(Metric):
    """One of each experiment: label experiment."""

    value: Callable[[ExperimentMetrics], float | None] = lambda experiment: None


def _one(value: Callable[[TaskMetrics], float | None]) -> Callable[[TaskMetrics], Iterable[Sample]]:
    return lambda task: [((), value(task))]


def _states(task: TaskMetrics) -> list[Sample]:
    return [((state,), float(state == task.state)) for state in STATES] if task.state else []


def _info(task: TaskMetrics) -> list[Sample]:
    return [((task.schedule, task.timezone), 1.0)] if task.schedule else []


METRICS: Sequence[TaskMetric | ExperimentMetric] = (
    ExperimentMetric(
        "cronsemble_metrics_timestamp_seconds",
        "Until when the store was known as the other values were computed.",
        value=lambda experiment: experiment.time,
    ),
    ExperimentMetric(
        "cronsemble_next_look_timestamp_seconds",
        "When these values are computed next, by a watch.",
        value=lambda experiment: experiment.next_look,
    ),
    ExperimentMetric(
        "cronsemble_unreadable_folders",
        "Folders of the store that could not be listed: what is in them is unknown.",
        value=lambda experiment: experiment.unreadable,
    ),
    ExperimentMetric(
        "cronsemble_ensemble_members",
        "Members that the newest ensemble run that succeeded combined.",
        value=lambda experiment: experiment.members,
    ),
    ExperimentMetric(
        "cronsemble_ensemble_quorum", "Members that an ensemble run needs.", value=lambda experiment: experiment.quorum
    ),
    TaskMetric("cronsemble_task_info", "1, with the schedule of a task and its time zone.", ("schedule", "timezone"), _info),
    TaskMetric(
        "cronsemble_task_suspended",
        "1 while the schedule of a task is suspended.",
        samples=_one(lambda task: None if task.is_suspended is None else float(task.is_suspended)),
    ),
    TaskMetric(
        "cronsemble_task_state", "1 for what became of the newest slot that is decided, 0 for the others.", ("state",), _states
    ),
    TaskMetric(
        "cronsemble_unsuccessful_slots",
        "Slots in a row, up to the newest that is decided, without success.",
        samples=_one(lambda task: task.unsuccessful),
    ),
    TaskMetric("cronsemble_running_runs", "Runs that run now.", samples=_one(lambda task: task.running)),
    TaskMetric(
        "cronsemble_last_slot_timestamp_seconds",
        "The newest slot that has come, whether or not it ran.",
        samples=_one(lambda task: task.last_slot),
    ),
    TaskMetric("cronsemble_next_fire_timestamp_seconds", "The next slot.", samples=_one(lambda task: task.next_slot)),
    TaskMetric(
        "cronsemble_last_success_timestamp_seconds",
        "When the run of the newest slot that succeeded ended.",
        samples=_one(lambda task: task.last_success),
    ),
    TaskMetric(
        "cronsemble_last_run_duration_seconds",
        "How long the newest run that ended took.",
        samples=_one(lambda task: task.duration),
    ),
    TaskMetric(
        "cronsemble_starting_deadline_seconds",
        "How long after its slot a run may begin.",
        samples=_one(lambda task: task.starting_deadline),
    ),
    TaskMetric("cronsemble_deadline_seconds", "How long a run may take.", samples=_one(lambda task: task.deadline)),
    TaskMetric(
        "cronsemble_items_accuracy_ratio",
        "Accuracy in the newest ensemble run that succeeded, of all tasks on its items.",
        samples=_one(lambda task: task.items_accuracy),
    ),
    TaskMetric(
        "cronsemble_validation_accuracy_ratio",
        "Accuracy of the newest training that succeeded, on its validation data.",
        samples=_one(lambda task: task.validation_accuracy),
    ),
    TaskMetric(
        "cronsemble_model_age_seconds",
        "From the slot of the newest model of a member until now.",
        samples=_one(lambda task: task.model_age),
    ),
    TaskMetric(
        "cronsemble_model_max_age_seconds",
        "The age of a model up to which the ensemble takes it.",
        samples=_one(lambda task: task.model_max_age),
    ),
)
"""Every metric that is computed from a store, in the order of the text."""


class StoreCollector:
    """Gives the metrics of experiments to a registry of Prometheus' client."""

    def __init__(self, experiments: Sequence[ExperimentMetrics]) -> None:
        self._experiments = experiments

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics that have a value."""
        from prometheus_client.core import GaugeMetricFamily  # late: most commands need it not

        for metric in METRICS:
            is_of_task = isinstance(metric, TaskMetric)
            labels = ["experiment", *(["task"] if is_of_task else []), *metric.labels]
            family = GaugeMetricFamily(metric.name, metric.help, labels=labels)
            for experiment in self._experiments:
                if isinstance(metric, ExperimentMetric):
                    _add(family, (experiment.experiment,), metric.value(experiment))
                    continue
                for task in experiment.tasks:
                    for values, value in metric.samples(task):
                        _add(family, (experiment.experiment, task.task, *values), value)
            if family.samples:
                yield family


def _add(family: GaugeMetricFamily, labels: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        # Names of a store's folders may be no text.
        family.add_metric([label.encode("utf-8", "replace").decode() for label in labels], value)


def metrics_text(experiments: Sequence[ExperimentMetrics]) -> bytes:
    """The metrics of experiments in Prometheus' text format; one that has no value has no series."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(experiments))
    return generate_latest(registry)
