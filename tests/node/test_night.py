"""A night on the node: the objects of a configuration, as they are, train in two runtimes, combine and archive."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from needs import missing
from scheduler.config import load
from scheduler.manifests import desired

MINUTE = 29_924_640
CONFIGURATION = """
experiment: night
store: {{claim: {claim}}}
hyperparameters: {{epochs: 1}}
backends:
  jax:    {{schedule: "0 1 * * *", deadline: 20m}}
  theano: {{schedule: "0 1 * * *", deadline: 20m, hyperparameters: {{dense: 16, filters: [4]}}}}
ensemble: {{schedule: "0 6 * * *", quorum: 2, max_age: 1d, deadline: 20m}}
cluster:
  namespace: {namespace}
  images: {{keras3: "{prefix}cronsemble-keras3", legacy: "{prefix}cronsemble-legacy"}}
  pull_policy: if_not_present
"""


@pytest.fixture(scope="session")
def prefix(pods: Cluster) -> str:
    """What the images' names begin with. Our node has those of ``CRONSEMBLE_TEST_ARCHIVES``."""
    if pods.plane is None:
        given = os.environ.get("CRONSEMBLE_TEST_IMAGES")
        if given is None:
            missing("CRONSEMBLE_TEST_IMAGES does not say where the images are, e.g. registry.example/")
        return str(given)
    folder = Path(os.environ.get("CRONSEMBLE_TEST_ARCHIVES", "/nowhere"))
    absent = [name for name in ("keras3", "legacy") if not (folder / f"cronsemble-{name}.tar").exists()]
    if absent:
        missing(f"CRONSEMBLE_TEST_ARCHIVES holds no image of {', '.join(absent)}: run `make test-node`")
    return "localhost/"


def run(pods: Cluster, namespace: str, task: str) -> str:
    """Run a task's Job now, named as its CronJob would name that of MINUTE; what it ended as."""
    name = f"night-{task}-{MINUTE}"
    pods.kubectl("create", "job", name, f"--from=cronjob/night-{task}", "-n", namespace)

    def ended() -> list[str]:
        conditions = pods.get("job", name, namespace)["status"].get("conditions", [])
        return [each["type"] for each in conditions if each["type"] in ("Complete", "Failed")]

    return pods.wait_for(ended, 600, f"the end of {name}")[0]


def test_members_train_and_the_ensemble_archives(pods: Cluster, namespace: str, claim: Any, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIGURATION.format(claim=claim.name, namespace=namespace, prefix=prefix))
    for each in desired([load(path)]):
        pods.apply(each, namespace)
    for task in ("train-jax", "train-theano", "ensemble"):
        ended = run(pods, namespace, task)
        selector = f"batch.kubernetes.io/job-name=night-{task}-{MINUTE}"
        logs = pods.kubectl("logs", "-n", namespace, "-l", selector, "--all-containers", "--tail=-1", "--prefix")
        assert ended == "Complete", logs
    assert "archived /store/predictions/night/" in logs
    if claim.folder is None:
        return
    results = {path.parts[-4]: path for path in claim.folder.glob("runs/night/*/*/*/result")}
    assert set(results) == {"train-jax", "train-theano", "ensemble"}
    records = {task: json.loads((result / "record.json").read_text()) for task, result in results.items()}
    pod = pods.objects("pod", namespace, f"batch.kubernetes.io/job-name=night-train-jax-{MINUTE}")[0]
    assert records["train-jax"]["try"] == pod["metadata"]["uid"]
    assert records["train-theano"]["image"]["reference"] == f"{prefix}cronsemble-legacy"
    assert {each["member"] for each in records["ensemble"]["members"] if "left_out" not in each} == {"jax", "theano"}
    assert {record["kind"] for record in records.values()} == {"scheduled"}
    (csv,) = claim.folder.glob("predictions/night/*.csv")
    assert len(csv.read_text().splitlines()) == 101
    assert csv.stat().st_uid == 1000
    assert len(list(claim.folder.glob("snapshots/program/*.pyz"))) == 1
    assert len(list(claim.folder.glob("snapshots/task/*.json"))) == 3
