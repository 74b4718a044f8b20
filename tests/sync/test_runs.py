"""Runs by hand and their Jobs on a control plane: names, rights, and how sync and delete deal with them. No pod runs here."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.access import Cluster
from scheduler.kube import permissions
from stores import Builder
from sync.experiments import Experiment
from sync.test_sync import NIGHTLY, names

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes-rights.md").read_text(encoding="utf-8")
RULES: list[dict[str, Any]] = next(
    role["rules"]
    for role in map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    if role["metadata"]["name"] == "cronsemble-runs"
)
PERIOD = "2026-11-20T01:00Z..2026-11-20T01:00Z"


@pytest.fixture
def store(tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    return str(tmp_path / "store")


def slot(experiment: Experiment, cluster: Cluster) -> list[str]:
    return names(cluster, "job", experiment.namespace)


def backfill(experiment: Experiment, store: str) -> tuple[str, ...]:
    return ("backfill", PERIOD, "--cluster", "--detach", "--store", store)


def test_the_documented_role_is_what_runs_by_hand_ask_for() -> None:
    documented = {(rule["apiGroups"][0], rule["resources"][0]): set(rule["verbs"]) for rule in RULES}
    needed: dict[tuple[str, str], set[str]] = {}
    for kind, verbs in (*permissions.RUNS, *permissions.LOGS, *permissions.CANCEL):
        needed.setdefault((kind.version.rpartition("/")[0], kind.plural), set()).update(verbs)
    assert documented == needed


def test_a_user_with_that_role_makes_and_cancels_runs(cluster: Cluster, experiment: Experiment, store: str) -> None:
    user = cluster.limited_user(experiment.namespace, RULES)
    experiment.write({"a": NIGHTLY}, ensemble={"quorum": 1})
    done = experiment.run("run", "--cluster", "--detach", "--store", store, kubeconfig=user)
    jobs = slot(experiment, cluster)
    assert done.returncode == 0, done.stderr
    assert len(jobs) == 2
    assert f"running on the cluster: {' '.join(sorted(jobs))}\n" in done.stderr
    (waiting_job,) = [each for each in cluster.objects("job", experiment.namespace) if "ensemble" in each["metadata"]["name"]]
    assert waiting_job["spec"]["template"]["spec"]["initContainers"][0]["name"] == "await"
    output = experiment.good("cancel", *jobs, "--cluster", "--store", store, kubeconfig=user)
    assert output.splitlines() == [f"{name}: cancelled" for name in jobs]
    assert slot(experiment, cluster) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_stopped_command_says_what_goes_on(
    cluster: Cluster, experiment: Experiment, store: str, number: signal.Signals
) -> None:
    experiment.write({"a": NIGHTLY})
    process = experiment.start("run", "--cluster", "--store", store)
    assert process.stdout is not None
    # No pod is ever made here, so its Job stays as it is.
    assert any(line.startswith("train-a: ") for line in process.stdout)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    (job_names,) = slot(experiment, cluster)
    assert process.returncode == 130 and "runs that were started go on\n" in out, out + errors
    options = f"-f {experiment.file} --store {store} --cluster"
    assert errors.splitlines()[:3] == [
        f"running on the cluster: {job_names}",
        f"follow: cronsemble logs {job_names} -f {options}",
        f"cancel: cronsemble cancel {job_names} {options}",
    ]


@pytest.mark.parametrize(("resource", "verb"), [("jobs", "create"), ("configmaps", "get"), ("configmaps", "create")])
def test_a_missing_right_is_named(cluster: Cluster, experiment: Experiment, store: str, resource: str, verb: str) -> None:
    rules = [
        {**rule, "verbs": [name for name in rule["verbs"] if rule["resources"] != [resource] or name != verb]} for rule in RULES
    ]
    user = cluster.limited_user(experiment.namespace, rules)
    experiment.write({"a": NIGHTLY})
    output = experiment.bad("run", "--cluster", "--detach", "--store", store, kubeconfig=user).splitlines()
    group = "batch" if resource == "jobs" else ""
    assert f'add to the Role: {{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}' in output[0]
    assert slot(experiment, cluster) == []


def test_sync_leaves_a_run_and_its_snapshot_alone(cluster: Cluster, experiment: Experiment, store: str) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync")
    experiment.good("run", "--cluster", "--detach", "--member", "a", "--store", store)
    (job,) = slot(experiment, cluster)
    before = names(cluster, "configmap", experiment.namespace)
    experiment.write({"b": {"schedule": "0 2 * * *"}})
    experiment.good("sync", "--yes")
    assert slot(experiment, cluster) == [job]
    assert set(names(cluster, "configmap", experiment.namespace)) >= {name for name in before if "program" in name}
    assert experiment.good("plan").startswith("nothing to do")
    assert f"Job {job} is running: --kill-running allows it" in experiment.bad("delete", "--yes")
    experiment.good("delete", "--yes", "--kill-running")
    assert slot(experiment, cluster) == []


def test_names_that_are_taken_are_passed_over_or_left(cluster: Cluster, experiment: Experiment, store: str) -> None:
    """By the store's runs, by a Job of that name, and by the schedule in its own minute."""
    experiment.write({"a": {"schedule": "* * * * *"}, "b": {}, "c": {"schedule": "0 1 * * *"}})
    experiment.good("run", "--cluster", "--detach", "--store", store)
    jobs = {name[len(experiment.name) + 7 :] for name in slot(experiment, cluster)}
    assert {name[0]: name.endswith("-r2") for name in jobs} == {"a": True, "b": False, "c": False}
    builder = Builder(Path(store), experiment.name)
    builder.run("train-c", "2026-11-20T01:00", "failed")
    experiment.good(*backfill(experiment, store), "--task", "train-c")
    run = next(builder.store.run_ids(experiment.name, "train-c"))
    assert f"{run}-r2" in slot(experiment, cluster)
    output = experiment.run(*backfill(experiment, store), "--task", "train-c")
    assert f"there is a Job {run}-r2 already: left alone" in output.stdout + output.stderr
    assert output.returncode == 1


def test_what_cannot_be_is_one_line(cluster: Cluster, experiment: Experiment, store: str) -> None:
    experiment.write({"a": NIGHTLY})
    nowhere = experiment.bad("run", "--cluster", "--namespace", "nowhere", "--store", store)
    assert nowhere == "namespace nowhere does not exist: cronsemble sync --create-namespace makes it\n"
    experiment.write({"a": NIGHTLY}, cluster={"namespace": experiment.namespace, "images": {}})
    assert "name its image: cluster.images.keras3" in experiment.bad("run", "--cluster", "--store", store)
    assert experiment.run("run", "--detach").returncode == 64
    assert experiment.run("run", "--namespace", "n").returncode == 64
