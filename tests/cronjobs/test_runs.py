"""A run by hand as a Job: what its CronJob would start, but for what makes it this run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from cronjobs.experiment import Experiment
from cronjobs.objects import config_maps, cronjob, labels
from cronjobs.objects.job import JobRequest, JobSteps, WaitFor, job
from cronjobs.tasks import ExperimentContext, ensemble_task, train_task
from jobs import contract as c
from jobs.contract import ExitCode
from scheduler.config import load

CONFIGURATION = """
experiment: e
store: {claim: experiments}
cluster: {namespace: NAMESPACE, images: {keras3: k, legacy: l}}
backends:
  jax:    {schedule: "0 1 * * *", resources: {cpu: 2, gpu: 1}, queue: q, env: {TOKEN: {secret: s, key: k}}, labels: {team: a}}
  theano: {schedule: "0 1 * * *", ttl: 2h}
ensemble: {schedule: "0 6 * * *", retries: 2}
"""
SLOT = 29_924_640


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIGURATION.replace("NAMESPACE", "experiments"))
    return load(path)


def train(experiment: Experiment, member: str, **more: Any) -> JobRequest:
    task = train_task(ExperimentContext(experiment, "p" * 64, "c" * 64), experiment.members[member])
    image = {"keras3": "k", "legacy": "l"}[experiment.members[member].runtime]
    steps = JobSteps(((("prepare",), "k"), (("train",), image)), 1, 21600)
    return JobRequest(c.RunId(SLOT, 2, "e", f"train-{member}"), task, more.pop("kind", "manual"), steps, "command", **more)


def ensemble(experiment: Experiment, **more: Any) -> JobRequest:
    assert experiment.ensemble is not None
    task = ensemble_task(ExperimentContext(experiment, "p" * 64, ""), experiment.ensemble)
    predicts = [(("predict", "--member", name), "k" if name == "jax" else "l") for name in experiment.members]
    steps = JobSteps(((("prepare",), "k"), *predicts, (("combine",), "k")), 4, 21600)
    return JobRequest(c.RunId(SLOT, 1, "e", "ensemble"), task, "manual", steps, "command", **more)


def containers(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    spec = made["spec"]["template"]["spec"]
    return {each["name"]: each for each in [*spec["initContainers"], *spec["containers"]]}


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


@pytest.mark.parametrize("task", ["train-jax", "train-theano", "ensemble"])
def test_it_is_the_cronjobs_own_but_for_its_kind(experiment: Experiment, task: str) -> None:
    """A run by hand must come out as the scheduled one would."""
    member = task.removeprefix("train-")
    made = job(experiment, ensemble(experiment) if task == "ensemble" else train(experiment, member))
    code = "" if task == "ensemble" else "c" * 64
    cron_jobs = {each["metadata"]["name"]: each for each in cronjob.cron_jobs(ExperimentContext(experiment, "p" * 64, code))}
    scheduled = cron_jobs[f"e-{task}"]["spec"]["jobTemplate"]
    own = {labels.KIND: "manual", labels.INVOCATION: "command"}
    assert made["metadata"] == {
        "name": f"e-{task}-{SLOT}" + ("" if task == "ensemble" else "-r2"),
        "namespace": "experiments",
        "labels": {**scheduled["metadata"]["labels"], **own},
    }
    spec = scheduled["spec"]
    spec["template"]["metadata"]["labels"] |= own
    spec["ttlSecondsAfterFinished"] = 7200 if task == "train-theano" else 86400
    for each in containers(scheduled).values():
        kind = next(one for one in each["env"] if one["name"] == c.ENV_KIND)
        kind["value"] = "manual"
    assert made["spec"] == spec


def test_a_repeat_has_the_originals_threads_images_and_snapshot(experiment: Experiment) -> None:
    wanted = train(experiment, "jax", kind="rerun", invocation="i", env={c.ENV_REPEATS: "old", c.ENV_OTHER: '{"a": "$(HOME) $"}'})
    task = {**wanted.task, "threads": 7, "snapshot": {"program": "d" * 64, "code": ""}}
    made = job(experiment, replace(wanted, task=task, steps=JobSteps(((("train",), "other:1"),), 3, 60)))
    container = containers(made)["train"]
    env = variables(container)
    assert container["image"] == env[c.ENV_IMAGE] == "other:1"
    assert env["OMP_NUM_THREADS"] == "7"
    assert (env[c.ENV_KIND], env[c.ENV_INVOCATION], env[c.ENV_REPEATS]) == ("rerun", "i", "old")
    # Kubernetes makes $(HOME) of it, and not what HOME is.
    assert env[c.ENV_OTHER] == '{"a": "$$(HOME) $$"}'
    assert config_maps.mounted(made["spec"]["template"]["spec"]) == {"cronsemble-program-" + "d" * 12, "e-revisions"}
    assert (made["spec"]["backoffLimit"], made["spec"]["activeDeadlineSeconds"]) == (3, 60)
    assert json.loads(made["spec"]["template"]["metadata"]["annotations"][labels.CONFIGURATION]) == task


def test_a_member_that_is_gone_borrows_resources_and_no_secret(experiment: Experiment) -> None:
    wanted = train(experiment, "jax")
    fewer = replace(experiment, members={"theano": experiment.members["theano"]})
    other = replace(experiment.members["jax"], name="wide", resources=replace(experiment.members["jax"].resources, cpu=4))
    for left, cpu in ((fewer, "1"), (replace(experiment, members={"wide": other}), "4")):
        container = containers(job(left, wanted))["train"]
        assert container["resources"]["limits"]["cpu"] == cpu
        assert "TOKEN" not in variables(container)


def test_an_ensemble_that_waits_has_its_own_program_and_time_for_it(experiment: Experiment) -> None:
    waits = WaitFor({"e-train-jax-1": 1}, 900, 1_800_000_000, "f" * 64, "k")
    made = job(experiment, ensemble(experiment, waits=waits))
    plain = job(experiment, ensemble(experiment))
    first = made["spec"]["template"]["spec"]["initContainers"][0]
    assert (first["name"], first["command"]) == ("await", ["python3", "/cronsemble/tool/program.pyz", "supervise", "await"])
    assert json.loads(variables(first)[c.ENV_AWAIT]) == {"runs": {"e-train-jax-1": 1}, "until": 1_800_000_000}
    assert made["spec"]["activeDeadlineSeconds"] == plain["spec"]["activeDeadlineSeconds"] + 900
    assert config_maps.mounted(made["spec"]["template"]["spec"]) == {
        "cronsemble-program-" + "f" * 12,
        "cronsemble-program-" + "p" * 12,
        "e-revisions",
    }
    assert made["spec"]["podFailurePolicy"]["rules"][1:] == plain["spec"]["podFailurePolicy"]["rules"]
    assert made["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [ExitCode.TRY_LATER]


def test_the_server_takes_them(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIGURATION.replace("NAMESPACE", namespace))
    experiment = load(path)
    waits = WaitFor({"e-train-jax-1": 1}, 900, 1_800_000_000, "f" * 64, "k")
    for wanted in (train(experiment, "jax", invocation="i"), train(experiment, "theano"), ensemble(experiment, waits=waits)):
        made = json.dumps(job(experiment, wanted))
        cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=made)
