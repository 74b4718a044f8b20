"""Suspension, status, removal and revisions, on a real API server."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from sync.experiments import Experiment
from sync.proxy import Proxy
from sync.test_sync import names

NIGHTLY = {"schedule": "0 1 * * *"}
OFTEN = {"schedule": "* * * * *"}


def suspended(cluster: Cluster, experiment: Experiment, task: str) -> bool:
    return bool(cluster.get("cronjob", f"{experiment.name}-{task}", experiment.namespace)["spec"]["suspend"])


def revisions(experiment: Experiment) -> list[dict[str, Any]]:
    return list(json.loads(experiment.good("history", "--revisions", "--json")))


def test_suspension_is_owned_apart_and_recorded(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync")
    assert experiment.good("suspend", "train-a") == f"suspended: {experiment.name}-train-a\n"
    assert suspended(cluster, experiment, "train-a") and not suspended(cluster, experiment, "train-b")
    output = experiment.good("sync")
    assert f"CronJob {experiment.name}-train-a stays suspended (by cronsemble-suspend)" in output
    experiment.write({"a": {"schedule": "0 2 * * *"}, "b": NIGHTLY})
    experiment.good("sync")
    assert suspended(cluster, experiment, "train-a")
    assert experiment.good("suspend") == f"suspended: {experiment.name}-train-b\n"
    assert experiment.good("suspend").startswith("nothing to do")
    experiment.good("resume")
    assert not suspended(cluster, experiment, "train-a") and not suspended(cluster, experiment, "train-b")
    recorded = [(revision["what"], revision["tasks"]) for revision in revisions(experiment)[1:]]
    assert recorded[0] == ("suspend", {"train-a": {"suspend": True}})
    assert (
        recorded[1][0] == "sync" and set(recorded[1][1]) == {"train-a"} and recorded[1][1]["train-a"] == {"schedule": "0 2 * * *"}
    )
    assert recorded[2:] == [
        ("suspend", {"train-b": {"suspend": True}}),
        ("resume", {"train-a": {"suspend": False}, "train-b": {"suspend": False}}),
    ]


def test_the_configuration_wins_over_suspend(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    experiment.good("suspend", "train-a")
    experiment.write({"a": {**NIGHTLY, "suspend": False}})
    experiment.good("sync")
    assert not suspended(cluster, experiment, "train-a")
    assert "train-a has `suspend: false`, which takes precedence" in experiment.bad("suspend", "train-a")
    experiment.write({"a": {**NIGHTLY, "suspend": True}})
    experiment.good("sync")
    assert suspended(cluster, experiment, "train-a")
    assert experiment.good("plan").startswith("nothing to do")


@pytest.mark.parametrize("by", ["resume", "sync"])
def test_a_past_slot_is_announced_before_a_resume_starts_it(
    cluster: Cluster, controllers: Cluster, experiment: Experiment, by: str
) -> None:
    slot = (datetime.now(UTC) - timedelta(minutes=2)).replace(second=0, microsecond=0)
    task = {"schedule": f"{slot.minute} {slot.hour} * * *"}
    experiment.write({"a": {**task, **({"suspend": True} if by == "sync" else {})}, "b": NIGHTLY})
    experiment.good("sync")
    if by == "resume":
        experiment.good("suspend", "train-a")
    # A CronJob that is a minute old has no slots before: it is told of one a day ago.
    cluster.make_due(f"{experiment.name}-train-a", experiment.namespace, timedelta(days=1))
    experiment.write({"a": {**task, **({"suspend": False} if by == "sync" else {})}, "b": NIGHTLY})
    output = experiment.good(by, *(["train-a"] if by == "resume" else []))
    end = slot + timedelta(hours=1)
    sentence = (
        f"the slot {slot:%Y-%m-%dT%H:%MZ} starts at once: it is within its starting deadline of 1h, which ends at {end:%FT%TZ}"
    )
    assert output.count(sentence) == 1 and output.count("starts at once") == 1
    job = f"{experiment.name}-train-a-{int(slot.timestamp() // 60)}"
    cluster.wait_for(lambda: job in names(cluster, "job", experiment.namespace), 30, "the Job of the slot")


def test_a_suspension_by_kubectl_is_left_and_named(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    cluster.kubectl(
        "patch", "cronjob", f"{experiment.name}-train-a", "-n", experiment.namespace, "-p", '{"spec":{"suspend":true}}'
    )
    planned = experiment.run("plan", "--detailed-exitcode")
    assert planned.returncode == 0 and "stays suspended (by kubectl-patch)" in planned.stdout
    assert "kubectl-patch set its suspension: --force-conflicts takes it" in experiment.bad("resume", "train-a")
    experiment.good("resume", "train-a", "--force-conflicts")
    assert not suspended(cluster, experiment, "train-a")


def test_an_unknown_task_is_named(experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    assert "cronsemble sync creates them" in experiment.bad("suspend")
    experiment.good("sync")
    assert "train-x: no such task on the cluster; there are train-a" in experiment.bad("suspend", "train-x")


def test_revisions_say_what_changed_and_who(experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    experiment.good("sync")
    experiment.write({"a": {**NIGHTLY, "timezone": "Europe/Berlin"}})
    experiment.good("sync", "--yes")
    experiment.good("sync", "--yes")
    first, second = revisions(experiment)
    assert first["revision"] == 1 and set(first["tasks"]) == {"train-a", "train-b"} and len(first["program"]) == 64
    assert second["tasks"] == {"train-a": {"timezone": "Europe/Berlin"}} and second["gone"] == ["train-b"]
    assert second["by"].startswith("admin (")
    output = experiment.good("history", "--revisions")
    assert "train-a: timezone UTC → Europe/Berlin" in output and "train-b: removed" in output


def test_an_older_tool_is_refused(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    annotation = "cronsemble.io/tool=99.1"
    cluster.kubectl(
        "annotate", "--overwrite", "configmap", f"{experiment.name}-revisions", annotation, "-n", experiment.namespace
    )
    experiment.write({"a": {"schedule": "0 2 * * *"}})
    assert "was last synced by cronsemble 99.1" in (output := experiment.bad("sync")) and "--downgrade allows it" in output
    experiment.good("sync", "--downgrade")
    assert experiment.good("sync").startswith("nothing to do")


def test_delete_takes_one_experiment_and_keeps_its_revisions(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY}, ensemble={"schedule": "0 6 * * *"})
    experiment.good("sync")
    first, experiment.name = experiment.name, f"{experiment.name}-x"
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    assert "There is no terminal to ask on" in experiment.bad("delete", first, "-n", experiment.namespace, file=False)
    experiment.good("delete", first, "-n", experiment.namespace, "--yes", file=False)
    assert names(cluster, "cronjob", experiment.namespace) == [f"{experiment.name}-train-a"]
    program, *rest = names(cluster, "configmap", experiment.namespace)
    assert program.startswith("cronsemble-program") and rest == [f"{first}-revisions", f"{experiment.name}-revisions"]
    experiment.good("delete", first, "-n", experiment.namespace, "--yes", "--purge", file=False)
    experiment.good("delete", "--yes", "--purge")
    assert names(cluster, "configmap", experiment.namespace) == []
    assert experiment.good("delete", "--yes") == "nothing to do\n"


def test_status_before_and_after_a_sync(experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": {**NIGHTLY, "suspend": True}})
    assert [row["drift"] for row in json.loads(experiment.good("status", "--json"))] == ["not on the cluster"] * 2
    experiment.good("sync")
    a, b = json.loads(experiment.good("status", "--json"))
    assert a["next"].endswith("T01:00:00Z") and a["suspended"] == "" and a["drift"] == ""
    assert b["next"] is None and b["suspended"] == "configuration"
    experiment.write({"a": {"schedule": "0 2 * * *"}})
    assert [row["drift"] for row in json.loads(experiment.good("status", "--json"))] == ["1 field", "not in the configuration"]
    assert "train-a" in experiment.good("status")


@pytest.fixture
def running(cluster: Cluster, controllers: Cluster, experiment: Experiment) -> str:
    """The name of a running Job of the task train-a."""
    experiment.write({"a": OFTEN, "b": NIGHTLY})
    experiment.good("sync")
    name = f"{experiment.name}-train-a"
    cluster.make_due(name, experiment.namespace)
    jobs = cluster.wait_for(lambda: cluster.objects("job", experiment.namespace), 70, "a Job")
    cluster.wait_for(
        lambda: cluster.get("cronjob", name, experiment.namespace)["status"].get("active"), 30, "the CronJob to know it"
    )
    return str(jobs[0]["metadata"]["name"])


def test_a_running_job_is_named_kept_and_killed_only_by_flag(cluster: Cluster, running: str, experiment: Experiment) -> None:
    (row, _) = json.loads(experiment.good("status", "--json"))
    assert row["running"] == [running]
    experiment.write({"a": {**OFTEN, "hyperparameters": {"epochs": 3}}, "b": NIGHTLY})
    assert f"running: {running} keeps running as it was started" in experiment.good("plan")
    experiment.write({"b": NIGHTLY})
    assert f"kills its running {running}" in (output := experiment.bad("sync", "--yes")) and "--kill-running allows it" in output
    assert "--kill-running allows it" in experiment.bad("delete", "--yes")
    assert len(cluster.objects("job", experiment.namespace)) == 1
    experiment.good("sync", "--yes", "--kill-running")
    cluster.wait_for(lambda: not cluster.objects("job", experiment.namespace), 30, "the Job to go")


def test_a_slot_that_waited_for_a_run_is_announced_before_that_is_cancelled(
    cluster: Cluster, running: str, experiment: Experiment, tmp_path: Path
) -> None:
    arguments = ["cancel", running, "--cluster", "--store", str(tmp_path / "store")]
    with Proxy(cluster.kubeconfig, tmp_path, lambda method, path: None) as proxy:
        # Two minutes later by the server's clock: `forbid` lets the latest slot wait for the run.
        proxy.ahead = timedelta(minutes=2)
        output = experiment.good(*arguments, kubeconfig=proxy.kubeconfig).splitlines()
    assert output[0].startswith(f"{experiment.name}-train-a: when its running Job has ended, the slot ")
    assert "starts at once" in output[0] and output[1:] == [f"{running}: cancelled"]


def test_a_snapshot_stays_while_a_running_job_names_it_and_comes_back_when_deleted(
    cluster: Cluster, running: str, experiment: Experiment
) -> None:
    (program,) = [name for name in names(cluster, "configmap", experiment.namespace) if "program" in name]
    cluster.kubectl("delete", "configmap", program, "-n", experiment.namespace)
    assert f"+ ConfigMap {program}" in experiment.good("sync")
    assert program in names(cluster, "configmap", experiment.namespace)
    # Another program: the old one's ConfigMap stays, for the Job may try again.
    old = cluster.get("configmap", program, experiment.namespace)
    experiment.good("delete", "--yes", "--kill-running")
    cluster.wait_for(lambda: program not in names(cluster, "configmap", experiment.namespace), 30, "its snapshot to go")
    assert old["immutable"] is True
