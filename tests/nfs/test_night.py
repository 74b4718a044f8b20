"""A training and an ensemble, whole, in two pods on two NFS clients: the programs and interpreters of our images."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jobs import contract as c
from nfs import disks
from nfs.machine import Report
from scheduler.config import load
from scheduler.runtimes import containers
from scheduler.sync.desired import desired

MINUTE = 29_924_640
CONFIGURATION = """
experiment: night
store: {nfs: {server: server, path: /export}}
data: {dataset: items.npz}
model: mlp
hyperparameters: {epochs: 1}
backends: {cntk: {schedule: "0 1 * * *"}}
ensemble: {schedule: "0 6 * * *", quorum: 1, max_age: 1d}
cluster: {namespace: experiments, images: {keras3: keras3, legacy: legacy}}
"""
CHECKS = [f"night.{name}" for name in ("trains_and_archives", "ensemble_over_version_3", "soft_mount_in_the_end")]


def pod(
    found: list[dict[str, Any]], task: str, environments: dict[str, dict[str, str]], attempt: int, name: str
) -> dict[str, Any]:
    """What a kubelet makes of the pod of a task's Job: its containers in turn, each with its environment."""
    (cron_job,) = [item for item in found if item["kind"] == "CronJob" and item["metadata"]["name"] == f"night-{task}"]
    template = cron_job["spec"]["jobTemplate"]["spec"]["template"]
    spec, run = template["spec"], c.run_name("night", task, MINUTE, attempt)
    fields = {"metadata.labels['batch.kubernetes.io/job-name']": run, "metadata.uid": name}
    fields |= {f"metadata.annotations['{key}']": value for key, value in template["metadata"]["annotations"].items()}

    def value(variable: dict[str, Any]) -> str:
        return str(variable["value"] if "value" in variable else fields[variable["valueFrom"]["fieldRef"]["fieldPath"]])

    containers = [
        {
            "name": item["name"],
            "image": item["image"],
            "command": item["command"],
            "env": {**environments[item["image"]], **{variable["name"]: value(variable) for variable in item["env"]}},
            "user": spec["securityContext"]["runAsUser"],
            "group": spec["securityContext"]["runAsGroup"],
        }
        for item in [*spec["initContainers"], *spec["containers"]]
    ]
    return {"task": task, "run": run, "containers": containers}


@pytest.fixture(scope="module")
def report(boot: Callable[..., Report], legacy: str, keras3_image: str, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("night")
    engine = containers.find_engine()
    images = {"legacy": legacy, "keras3": keras3_image}
    disk = disks.images_disk(engine.prefix, {name: str(containers.image_id(engine, image)) for name, image in images.items()})
    environments = {}
    for name, image in images.items():
        inspect = [*engine.prefix, "image", "inspect", image, "--format", "{{json .Config.Env}}"]
        lines = json.loads(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout)
        environments[name] = dict(line.split("=", 1) for line in lines)
    chance = np.random.default_rng(1)
    classes = chance.integers(0, 3, 600)
    np.savez(folder / "items.npz", x_train=chance.normal(size=(600, 6)) + classes[:, None], y_train=classes)
    (folder / "config.yaml").write_text(CONFIGURATION)
    found = desired([load(folder / "config.yaml")])
    (folder / "snapshot").mkdir()
    for item in found:
        if item["kind"] == "ConfigMap":
            for name, text in item.get("binaryData", {}).items():
                (folder / "snapshot" / name).write_bytes(base64.b64decode(text))
    (folder / "pods.json").write_text(
        json.dumps(
            {
                "experiment": "night",
                "member": "cntk",
                "pods": [pod(found, "train-cntk", environments, 1, "uid-1"), pod(found, "ensemble", environments, 1, "uid-2")],
                "again": pod(found, "ensemble", environments, 2, "uid-3"),
                "soft": pod(found, "ensemble", environments, 3, "uid-4"),
            }
        )
    )
    return boot(CHECKS, 900, images=disk, files=[folder / name for name in ("pods.json", "items.npz", "snapshot")])


def test_a_training_and_an_ensemble_end_in_the_dated_csv(report: Report) -> None:
    facts = report.of("night.trains_and_archives")
    assert facts["csv"] == "2026-11-24T0000Z.csv"
    lines = (report.out / facts["csv"]).read_text().splitlines()
    assert lines[0] == "item,prediction,probability,0,1,2" and len(lines) == 101
    for line in lines[1:]:
        _, prediction, probability, *columns = line.split(",")
        assert probability == columns[int(prediction)] == max(columns, key=float)


def test_version_3_gives_the_same_bytes(report: Report) -> None:
    assert report.of("night.ensemble_over_version_3")["csv"] == "2026-11-24T0000Z-r2.csv"


def test_a_mount_that_gives_up_makes_the_run_fail(report: Report) -> None:
    assert re.search("Input/output error", report.of("night.soft_mount_in_the_end")["said"])
