"""A run that no schedule starts, as a Job of its own: what its CronJob would start, in its own images and variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cronjobs.experiment import Experiment, Member, Task
from cronjobs.objects import labels, pods
from cronjobs.objects.config_maps import program_name
from cronjobs.objects.job_spec import job_spec, let_yield
from cronjobs.objects.size import check_size
from cronjobs.tasks import step_variables
from jobs import contract as c

KEEP = 86400
"""Seconds for which such a Job stays after its end, unless the configuration says `ttl`."""
TOOL = "/cronsemble/tool"
"""Where the await step finds today's program: a repeated run's own may be too old to know it."""


@dataclass(frozen=True)
class JobSteps:
    """The steps of a run: each one's arguments and its image."""

    steps: tuple[tuple[tuple[str, ...], str], ...]
    retries: int
    deadline: int


@dataclass(frozen=True)
class WaitFor:
    """What an ensemble waits for before its first step: runs with their retries, for so many seconds, by today's ``program``."""

    runs: Mapping[str, int]
    seconds: int
    until: int  # seconds since 1970
    program: str
    image: str


@dataclass(frozen=True)
class JobRequest:
    """A run to start: its name, its resolved configuration, its kind, and the variables that its steps get.

    ``command`` is what the Jobs of one command have in common, ``invocation`` what their records have.
    """

    run: c.RunId
    task: Mapping[str, Any]
    kind: str
    steps: JobSteps
    command: str
    invocation: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    waits: WaitFor | None = None


def job(experiment: Experiment, request: JobRequest) -> dict[str, Any]:
    """The Job of a run. No CronJob owns it, so none counts it for its concurrency or removes it by its history limits.

    ``experiment`` says what pods may use, where they may run and where the store is; ``request`` alone decides what comes out.
    Raises ObjectsError.
    """
    task = spec_of(experiment, request.task)
    env = {
        c.ENV_KIND: request.kind,
        c.ENV_RETRIES: str(request.steps.retries),
        **({c.ENV_INVOCATION: request.invocation} if request.invocation else {}),
        **request.env,
    }
    steps = []
    for argv, image in request.steps.steps:
        own, threads = _of_step(experiment, task, request.task, argv)
        steps.append(pods.container(experiment, own, argv, image, threads, step_variables(env, argv)))
    wait = request.waits
    if wait is not None:
        steps.insert(0, _await(experiment, task, wait, request.steps.retries))
    pod = pods.template(experiment, task, request.task, steps)
    kind_labels = {labels.KIND: request.kind, labels.INVOCATION: request.command}
    pod["metadata"]["labels"] |= kind_labels
    kept = replace(task, ttl=KEEP if task.ttl is None else task.ttl)
    seconds = request.steps.deadline + (wait.seconds if wait else 0)
    spec = job_spec(kept, request.steps.retries, seconds, pod)
    if wait is not None:
        tool = {"name": "tool", "configMap": {"name": program_name(wait.program)}}
        pod["spec"]["volumes"] = [*pod["spec"]["volumes"], tool]
        let_yield(spec)
    name = str(request.task["task"])
    queue = {labels.QUEUE: task.queue} if task.queue else {}
    own_labels = {**task.labels, **labels.of_task(experiment.name, labels.component(name), name), **kind_labels, **queue}
    made = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": str(request.run), "namespace": experiment.cluster.namespace, "labels": own_labels},
        "spec": spec,
    }
    check_size(made, name)
    return made


def spec_of(experiment: Experiment, task: Mapping[str, Any]) -> Task:
    """What a task's pods may use: as the configuration says today, or as a similar one for a task that it has no longer."""
    if task["task"] == c.ENSEMBLE_TASK:
        return experiment.ensemble or _any_member(experiment)
    return _member(experiment, task)


def _of_step(experiment: Experiment, own: Task, task: Mapping[str, Any], argv: tuple[str, ...]) -> tuple[Task, int]:
    """Whose resources a step has, and how many threads: those change what comes out, so the run's own configuration decides."""
    if argv[0] == "predict":
        member_task: Mapping[str, Any] = next((member for member in task.get("members", []) if member["member"] == argv[2]), {})
        member = _member(experiment, {"member": argv[2], **member_task})
        return member, int(member_task.get("threads") or member.threads)
    return own, int(task.get("threads") or own.threads)


def _member(experiment: Experiment, task: Mapping[str, Any]) -> Member:
    name = str(task["member"])
    known = experiment.members.get(name)
    if known is not None:
        return known
    similar = [member for member in experiment.members.values() if member.backend == task.get("backend")]
    # Its secrets were its own.
    return replace(next(iter(similar), _any_member(experiment)), name=name, env={})


def _any_member(experiment: Experiment) -> Member:
    return next(iter(experiment.members.values()))


def _await(experiment: Experiment, task: Task, wait: WaitFor, retries: int) -> dict[str, Any]:
    awaited = {"runs": dict(wait.runs), "until": wait.until}
    env = {c.ENV_AWAIT: json.dumps(awaited, sort_keys=True), c.ENV_RETRIES: str(retries)}
    container = pods.container(experiment, task, ("await",), wait.image, 1, env)
    container["command"][1] = f"{TOOL}/{c.PROGRAM_FILE}"
    container["volumeMounts"] = [*container["volumeMounts"], {"name": "tool", "mountPath": TOOL, "readOnly": True}]
    return container
