"""The labels and annotations of our objects: how they are found, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.contract import ENSEMBLE_TASK

NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
EXPERIMENT = "cronsemble.io/experiment"
TASK = "cronsemble.io/task"
KIND = "cronsemble.io/kind"
"""Of a run that no CronJob made: manual, rerun, backfill."""
INVOCATION = "cronsemble.io/invocation"
"""Of such a run: what the runs of one command have in common."""
QUEUE = "kueue.x-k8s.io/queue-name"

OURS = "cronsemble"
SELECTOR = f"{MANAGED_BY}={OURS}"
"""Selects every object of ours."""

TRAIN, ENSEMBLE, PROGRAM, CODE, REVISIONS, READER = "train", "ensemble", "program", "code", "revisions", "reader"
WATCH = "watch"
"""Values of COMPONENT. What looks after an experiment, the watch, has no TASK: its Jobs are no runs."""

SHA256 = "cronsemble.io/sha256"
"""Annotation: the whole hash of what a ConfigMap holds."""
CONFIGURATION = "cronsemble.io/configuration"
"""Annotation of a pod: its task's resolved configuration as JSON, which its containers get as CRONSEMBLE_TASK.

Of a watch's pod its settings, which it reads from a file.
"""
STARTED_BY = "cronsemble.io/started-by"
"""Annotation of a reader pod: the user and machine whose command started it."""


def component(task: str) -> str:
    """The component that a task is: its trainings, or the ensemble."""
    return ENSEMBLE if task == ENSEMBLE_TASK else TRAIN


def is_watch(own: Mapping[str, str]) -> bool:
    """Whether these are the labels of an experiment's watch: its CronJob, Jobs and pods are of no task."""
    return own.get(COMPONENT) == WATCH


def shared(component: str) -> dict[str, str]:
    """The labels of an object that several experiments may use."""
    return {NAME: OURS, MANAGED_BY: OURS, COMPONENT: component}


def of_experiment(experiment: str, component: str) -> dict[str, str]:
    """The labels of an experiment's own object."""
    return {**shared(component), INSTANCE: experiment, EXPERIMENT: experiment}


def of_task(experiment: str, component: str, task: str) -> dict[str, str]:
    """The labels of a task's CronJob, Jobs and pods."""
    return {**of_experiment(experiment, component), TASK: task}
