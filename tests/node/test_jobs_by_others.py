"""Jobs as others make them or change them, on a real kubelet: by hand from a CronJob, and with a container beside the steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.access import Cluster
from cluster.node import Node
from cluster.scenes import Scene, scene


@pytest.fixture(scope="module")
def made(pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(pods, node, image, tmp_path_factory.mktemp("others"), "others", {"good": {}}) as scene_of_one:
        yield scene_of_one


def create(made: Scene, name: str, sidecar: dict[str, Any] | None = None) -> None:
    """The Job that `kubectl create job --from` makes, with another container beside the step's."""
    cronjob = f"--from=cronjob/{made.experiment.name}-train-good"
    body = json.loads(made.pods.kubectl("create", "job", name, cronjob, "-n", made.namespace, "--dry-run=client", "-o", "json"))
    containers = body["spec"]["template"]["spec"]["containers"]
    if sidecar:
        kept = {key: containers[0][key] for key in ("image", "imagePullPolicy", "securityContext")}
        containers.insert(0, {**kept, **sidecar})
    made.pods.kubectl("create", "-n", made.namespace, "-f", "-", stdin=json.dumps(body))


def test_a_job_by_hand_trains_and_is_a_manual_run(made: Scene) -> None:
    create(made, "try-it")
    made.end("try-it", "Complete")
    (row,) = made.rows()
    assert (row["status"], row["kind"], row["attempt"]) == ("succeeded", "manual", 2)
    assert made.record(row["run"])["kind"] == "manual"
    assert made.rows("--offline") == [row]
    assert "loss" in made.experiment.good("logs", "try-it", "--store", str(made.store))


def test_a_container_that_outlives_the_run_is_named(made: Scene) -> None:
    name = made.run("train-good", later=7)
    create(made, name, {"name": "mesh", "command": ["python3", "-c", "import time; time.sleep(1000)"]})
    made.pods.wait_for(lambda: made.row(name).get("status") == "succeeded", 300, "the training")
    reason = "its Job goes on: mesh beside the run's container does not end"
    made.pods.wait_for(lambda: made.row(name)["reason"] == reason, 60, reason)
    (row,) = json.loads(made.experiment.good("status", "--json"))
    assert row["reason"] == "train ended with exit status 0, but mesh beside it runs on and keeps the Job"
