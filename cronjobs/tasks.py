"""From the resolved configuration to tasks: what every run of each needs to know, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cronjobs.experiment import Ensemble, Experiment, Member, Task
from jobs import contract as c
from jobs.contract import ENSEMBLE_TASK, LOG_LIMIT, member_task, seed_of


@dataclass(frozen=True)
class ExperimentContext:
    """What all tasks of one synchronised or started experiment share."""

    experiment: Experiment
    program: str  # hash
    code: str  # hash, empty without user code
    published: bool = False
    version: str = ""  # the tool's that synchronises it


def tasks_of(experiment: Experiment) -> list[tuple[str, Task]]:
    """Every task of an experiment by its name, members first."""
    tasks: list[tuple[str, Task]] = [(member_task(name), member) for name, member in experiment.members.items()]
    return tasks if experiment.ensemble is None else [*tasks, (ENSEMBLE_TASK, experiment.ensemble)]


def resolve_tasks(context: ExperimentContext) -> dict[str, tuple[Task, dict[str, Any]]]:
    """Every task by its name, members first: as it is configured, and its resolved configuration."""
    tasks: dict[str, tuple[Task, dict[str, Any]]] = {
        member_task(name): (member, train_task(context, member)) for name, member in context.experiment.members.items()
    }
    if context.experiment.ensemble is not None:
        tasks[ENSEMBLE_TASK] = (context.experiment.ensemble, ensemble_task(context, context.experiment.ensemble))
    return tasks


def step_variables(env: Mapping[str, str], argv: Sequence[str]) -> dict[str, str]:
    """Of the variables of a run those that one of its steps needs: of all selected models those that it predicts with.

    An ensemble has a step for each member: with all models for each, a pod would be too large for the API server.
    """
    selection = env.get(c.ENV_SELECTION)
    if selection is None:
        return dict(env)
    others = {name: value for name, value in env.items() if name != c.ENV_SELECTION}
    if argv[0] != "predict":
        return others
    import json  # late: a configuration is read without it

    own = {member: model for member, model in json.loads(selection).items() if member in argv[2::2]}
    return {**others, c.ENV_SELECTION: json.dumps(own)}


def time_limit(task: Task) -> int:
    """Seconds after its beginning in which a run may go on: its deadline, and before it an ensemble's wait for its members."""
    return int(task.deadline) + (int(task.wait or 0) if isinstance(task, Ensemble) else 0)


def total_retries(task: Task, members: int) -> int:
    """How often a run is tried again; ``members`` is how many it combines, none for a training.

    Every member whose predict step is killed costs the ensemble a try of its own.
    """
    return task.retries + members


def data_config(experiment: Experiment, code: str) -> dict[str, Any]:
    """Where the data comes from; its ``key`` differs when anything that makes the data does."""
    data = experiment.data
    made_by_code = data.dataset.rpartition(":")[0].endswith(".py")
    declared: dict[str, Any] = {"dataset": data.dataset, "predict": data.predict, "refresh": data.refresh}
    # Only where they are given: the keys of the data of earlier versions stay as they were.
    declared |= {} if data.holdout is None else {"holdout": data.holdout}
    declared |= {"stratified": True} if data.stratified else {}
    if made_by_code:
        # Those for all members: the members of a date learn from the same bytes, whoever prepares them first.
        declared["hyperparameters"] = dict(experiment.hyperparameters)
    import hashlib  # late, both: a configuration is read without them
    import json

    key = json.dumps([declared, experiment.name, code if made_by_code else ""], sort_keys=True)
    return {**declared, "key": hashlib.sha256(key.encode()).hexdigest()[:8]}


def train_task(context: ExperimentContext, member: Member) -> dict[str, Any]:
    """The resolved configuration of a member's trainings; without a seed given, a run's own is from its slot."""
    return {
        **_shared(context, member_task(member.name), member),
        **_process(member),
        "model": member.model,
        "data_format": member.data_format,
        "gpus": member.resources.gpu,
        "hyperparameters": dict(member.hyperparameters),
        "seed": member.seed,
        "published": context.published,
    }


def ensemble_task(context: ExperimentContext, ensemble: Ensemble) -> dict[str, Any]:
    """The resolved configuration of the ensemble."""
    members = list(context.experiment.members.values())
    # Only where they say something: the tasks of earlier versions stay as they were.
    more: dict[str, Any] = {"validation": True} if ensemble.needs_validation else {}
    more |= {"gpus": ensemble.resources.gpu} if ensemble.is_function and ensemble.resources.gpu else {}
    return {
        **more,
        **_shared(context, ENSEMBLE_TASK, ensemble),
        "method": ensemble.method,
        "quorum": ensemble.quorum,
        "max_age": ensemble.max_age,
        **_wait(context.experiment, ensemble),
        "members": [{**_process(member), "timeout": ensemble.timeout} for member in members],
        "env": _texts(ensemble),
        **_secrets(ensemble),
        "published": context.published,
    }


def _wait(experiment: Experiment, ensemble: Ensemble) -> dict[str, Any]:
    """For how long the ensemble waits, and for which slots where no revision says it; no keys where it does not wait."""
    if ensemble.wait is None:
        return {}
    schedules = {name: task_schedule(task) for name, task in tasks_of(experiment)}
    # Of its own only when it fires: all else would say the same twice.
    own = schedules[ENSEMBLE_TASK]
    schedules[ENSEMBLE_TASK] = {key: own[key] for key in ("schedule", "timezone") if key in own}
    return {"wait": int(ensemble.wait), "schedules": schedules}


def task_schedule(task: Task) -> dict[str, Any]:
    """When a task runs, as a revision says it (``jobs.revisions``)."""
    schedule = {
        "schedule": task.schedule,
        "timezone": task.timezone,
        "suspend": task.suspend,
        "concurrency": task.concurrency.capitalize(),
        "starting_deadline": int(task.starting_deadline),
        "deadline": time_limit(task),
    }
    return {key: value for key, value in schedule.items() if value is not None}


def _shared(context: ExperimentContext, task: str, settings: Task) -> dict[str, Any]:
    experiment = context.experiment
    # Only where it is given: the tasks of earlier versions stay as they were.
    log_limit = {} if settings.log_limit == LOG_LIMIT else {"log_limit": settings.log_limit}
    gate = {"gate": dict(settings.gate)} if settings.gate else {}
    return {
        **log_limit,
        **gate,
        "schema": 1,
        "experiment": experiment.name,
        "task": task,
        "timezone": experiment.timezone,
        "data": data_config(experiment, context.code),
        "data_seed": seed_of(experiment.name, "data"),
        "snapshot": {"program": context.program, "code": context.code},
    }


def _process(member: Member) -> dict[str, Any]:
    """What starts a member's framework."""
    return {
        "member": member.name,
        "backend": member.backend,
        "runtime": member.runtime,
        "threads": member.threads,
        "env": _texts(member),
        **_secrets(member),
    }


def _texts(task: Task) -> dict[str, str]:
    """The plain environment; what comes from a secret never enters a task's configuration."""
    return {name: value for name, value in task.env.items() if isinstance(value, str)}


def _secrets(task: Task) -> dict[str, list[str]]:
    """The names of the variables that come from a secret, under ``secrets``; no key without any."""
    names = sorted(name for name, value in task.env.items() if not isinstance(value, str))
    return {"secrets": names} if names else {}
