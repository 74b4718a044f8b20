"""The history of an experiment on a real API server: Jobs that the store knows nothing of, and what is kept of them."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from jobs.store import LocalStore
from jobs.store.jobs_by_hand import claim_run
from sync.experiments import Experiment
from sync.test_sync import NIGHTLY

MINUTE = int(time.time()) // 60
JOBS = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]}]
MAPS = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
REASON = "train was killed for memory (its limit is 1Gi)"


@pytest.fixture
def job(controllers: Cluster, experiment: Experiment) -> str:
    """A run's Job, and its pod, which no node takes."""
    experiment.write({"a": NIGHTLY}, defaults={"retries": 0, "resources": {"memory": "1Gi"}})
    experiment.good("sync")
    name = f"{experiment.name}-train-a-{MINUTE}"
    cronjob = f"--from=cronjob/{experiment.name}-train-a"
    controllers.kubectl("create", "job", name, cronjob, "-n", experiment.namespace)
    controllers.wait_for(lambda: pod_of(controllers, experiment, name), 30, "the pod")
    return name


def pod_of(cluster: Cluster, experiment: Experiment, job: str) -> str:
    pods = cluster.objects("pod", experiment.namespace, f"batch.kubernetes.io/job-name={job}")
    return str(pods[0]["metadata"]["name"]) if pods else ""


def fail(cluster: Cluster, experiment: Experiment, job: str) -> None:
    """End the pod as a kubelet would whose kernel killed the training for memory."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    end = {"exitCode": 137, "reason": "OOMKilled", "startedAt": now, "finishedAt": now, "containerID": "c"}
    train = {"name": "train", "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": {"terminated": end}}
    status = json.dumps({"status": {"phase": "Failed", "containerStatuses": [train]}})
    where = (pod_of(cluster, experiment, job), "-n", experiment.namespace)
    cluster.kubectl("patch", "pod", *where, "--subresource=status", "--type=merge", "-p", status)

    def ended() -> bool:
        conditions = cluster.get("job", job, experiment.namespace)["status"].get("conditions", [])
        return any(condition["type"] == "Failed" for condition in conditions)

    cluster.wait_for(ended, 30, "the end of the Job")


def rows(experiment: Experiment, store: Path, *options: str, kubeconfig: Path | None = None) -> tuple[list[Any], str]:
    done = experiment.run("history", "--json", "--store", str(store), *options, kubeconfig=kubeconfig)
    assert done.returncode == 0, done.stderr
    printed = [(row["run"], row["status"], row["reason"], row["evidence"]) for row in json.loads(done.stdout) if row["run"]]
    return printed, done.stderr


def test_a_job_is_a_row_and_what_was_observed_outlives_it(
    controllers: Cluster, experiment: Experiment, job: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (row,), stderr = rows(experiment, store)
    assert row[:2] == (job, "running") and row[2].startswith("waiting: ") and stderr == ""
    assert rows(experiment, store, "--offline") == ([], "")
    # What has not ended is not kept; the cluster's revisions are.
    assert set(os.listdir(store)) <= {".index", "experiments"}
    fail(controllers, experiment, job)
    assert rows(experiment, store) == ([(job, "failed", REASON, "observed")], "")
    controllers.kubectl("delete", "job", job, "-n", experiment.namespace, "--cascade=foreground")
    for options in ((), ("--offline",)):
        assert rows(experiment, store, *options) == ([(job, "failed", REASON, "observed")], "")
    assert f"observed: memory {REASON}" in experiment.good("history", job, "--store", str(store))
    assert REASON in experiment.good("show", job, "--store", str(store))


def test_status_says_the_reason(controllers: Cluster, experiment: Experiment, job: str) -> None:
    (row,) = json.loads(experiment.good("status", "--json"))
    assert row["running"] == [job] and row["reason"].startswith("waiting: ")
    fail(controllers, experiment, job)
    (row,) = json.loads(experiment.good("status", "--json"))
    assert (row["running"], row["reason"]) == ([], REASON)


def test_a_refused_job_is_a_reason_in_status_and_in_the_missed_row(
    controllers: Cluster, experiment: Experiment, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    controllers.apply(quota, experiment.namespace)
    controllers.wait_for(
        lambda: controllers.get("resourcequota", "none", experiment.namespace).get("status", {}).get("used"), 30, "the quota"
    )
    experiment.write({"a": {"schedule": "* * * * *"}})
    experiment.good("sync")
    controllers.make_due(f"{experiment.name}-train-a", experiment.namespace, timedelta(minutes=2))

    def events() -> str:
        return controllers.kubectl("get", "events", "-n", experiment.namespace, "-o", "name", "--field-selector", WARNINGS)

    controllers.wait_for(events, 90, "the controller's warning")
    refused = "its Job is refused: exceeded quota: none, requested: count/jobs.batch=1"
    (row,) = json.loads(experiment.good("status", "--json"))
    assert row["reason"].startswith(f"no Job was created: {refused}")
    # As if it had been synced before that slot.
    name = f"{experiment.name}-revisions"
    (revision,) = controllers.get("configmap", name, experiment.namespace)["data"].values()
    earlier = json.dumps({**json.loads(revision), "time": f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"})
    patch = json.dumps({"data": {"000001.json": earlier}})
    controllers.kubectl("patch", "configmap", name, "-n", experiment.namespace, "--type=merge", "-p", patch)
    assert refused.removeprefix("its Job is ") in str(history(experiment, store))
    controllers.kubectl("delete", "events", "--all", "-n", experiment.namespace)
    assert refused.removeprefix("its Job is ") in str(history(experiment, store, "--offline"))


WARNINGS = "type=Warning,involvedObject.kind=CronJob"


def history(experiment: Experiment, store: Path, *options: str) -> list[dict[str, Any]]:
    return list(json.loads(experiment.good("history", "--json", "--store", str(store), *options)))


def test_a_job_that_kubectl_made_is_a_run_by_hand(controllers: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    experiment.write({"a": NIGHTLY})
    experiment.good("sync")
    cronjob = f"--from=cronjob/{experiment.name}-train-a"
    controllers.kubectl("create", "job", "try-it", cronjob, "-n", experiment.namespace)
    controllers.wait_for(lambda: pod_of(controllers, experiment, "try-it"), 30, "the pod")
    (row,) = [row for row in history(experiment, store) if row["run"]]
    assert (row["status"], row["kind"], row["attempt"]) == ("running", "manual", 2)
    # As its first pod would; a minute later than it was made, as where an image is pulled.
    claimed = claim_run(LocalStore(store), experiment.name, "train-a", row["minute"] + 1, "try-it")
    (row,) = [row for row in history(experiment, store) if row["run"]]
    assert (row["run"], row["status"]) == (str(claimed), "running") and row["reason"].startswith("waiting: ")
    assert str(claimed) in experiment.good("show", "try-it", "--store", str(store))
    (row,) = json.loads(experiment.good("status", "--json"))
    assert (row["running"], row["result"], row["reason"]) == (["try-it"], "", "")
    assert "try-it: cancelled" in experiment.good("cancel", "try-it", "--cluster", "--store", str(store))
    (row,) = [row for row in history(experiment, store, "--offline") if row["run"]]
    assert (row["run"], row["status"], row["kind"]) == (str(claimed), "interrupted", "manual")


def test_next_as_the_cluster_has_it(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY, "c": {"schedule": "@every 5h"}})
    experiment.good("sync")
    experiment.good("suspend", "train-b")
    experiment.write({"a": NIGHTLY, "b": NIGHTLY, "c": {"schedule": "@every 5h"}, "d": NIGHTLY})
    output = json.loads(experiment.good("next", "--cluster", "--count", "1", "--json"))
    name = experiment.name
    assert {fire["task"] for fire in output["fires"]} == {"train-a", "train-c"}
    assert output["resting"] == [
        f"{name}: train-b: is suspended on the cluster: cronsemble resume train-b",
        f"{name}: train-d: is not on the cluster yet: cronsemble sync",
    ]
    created = cluster.get("cronjob", f"{name}-train-c", experiment.namespace)["metadata"]["creationTimestamp"]
    (every,) = [fire for fire in output["fires"] if fire["task"] == "train-c"]
    assert datetime.fromisoformat(every["fire"]) - datetime.fromisoformat(created) == timedelta(hours=5)
    assert {fire["task"] for fire in json.loads(experiment.good("next", "--json"))["fires"]} >= {"train-b", "train-d"}


def test_a_user_with_few_rights_is_shown_what_they_allow(
    controllers: Cluster, experiment: Experiment, job: str, tmp_path: Path
) -> None:
    fail(controllers, experiment, job)
    store = tmp_path / "store"
    user = controllers.limited_user(experiment.namespace, [*JOBS, *MAPS])
    (row,), stderr = rows(experiment, store, kubeconfig=user)
    assert row[:2] == (job, "failed") and "no right to list pods" in stderr
    nobody = controllers.limited_user(experiment.namespace, MAPS, "nobody")
    printed, stderr = rows(experiment, tmp_path / "another", kubeconfig=nobody)
    # A line for each right.
    assert printed == [] and stderr.count("\n") == 3 and "no right to list jobs" in stderr


def test_a_cluster_that_does_not_answer_hides_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stores import Builder

    builder = Builder(tmp_path / "store")
    run = builder.run("train-a", MINUTE)
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    gone = tmp_path / "kubeconfig"
    user = {"name": "u", "user": {"token": "t"}}
    gone.write_text(json.dumps({"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"}))
    experiment = Experiment(tmp_path, "ns", gone, builder.experiment)
    experiment.write({"a": NIGHTLY})
    printed, stderr = rows(experiment, builder.store.root)
    assert printed == [(str(run), "succeeded", "", "recorded")]
    assert stderr.count("\n") == 1 and "https://127.0.0.1:1: not reachable" in stderr
    # Who named no cluster and has none is not told that there is none.
    monkeypatch.setenv("HOME", str(tmp_path))
    assert rows(experiment, builder.store.root, kubeconfig=tmp_path / "none") == (printed, "")
