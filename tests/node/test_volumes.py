"""Each kind of store that a configuration can name: a whole training through the objects that `render` prints.

This kernel has no NFS client: a bind mount stands in for NFS, and the tests that use one say so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from cluster.node import Node
from jobs.portable.inputs import sha256
from sync.experiments import Experiment

MINUTE = 29_924_640
USER, GROUP = 1234, 2345
HOST_PATH, NFS = "host_path", "nfs"


def given_to_the_group(folder: Path) -> Path:
    """As an administrator leaves it: the pods' group may write, nobody else."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2770)
    return folder


def place(kind: str, node: Node, namespace: str) -> tuple[Path, dict[str, Any]]:
    """A folder of the node, and the ``store`` that names it."""
    if kind == HOST_PATH:
        folder = given_to_the_group(node.data / namespace)
        return folder, {"host_path": str(folder)}
    path = f"/share/{namespace}"
    return given_to_the_group(node.export("nas.example", path)), {"nfs": {"server": "nas.example", "path": path}}


@pytest.mark.parametrize(
    ("kind", "by_claim"),
    [
        pytest.param(HOST_PATH, True, id="claim-over-a-host-path"),
        pytest.param(NFS, True, id="claim-over-nfs-stood-in-for-by-a-bind-mount"),
        pytest.param(NFS, False, id="nfs-stood-in-for-by-a-bind-mount", marks=pytest.mark.pod_security("baseline")),
        pytest.param(HOST_PATH, False, id="host-path", marks=pytest.mark.pod_security("privileged")),
    ],
)
def test_a_training_writes_to_the_volume_as_the_configured_user_and_group(
    pods: Cluster, node: Node, namespace: str, image: Callable[[str], str], tmp_path: Path, kind: str, by_claim: bool
) -> None:
    """The namespace enforces the level that docs/kubernetes.md names for the kind: `restricted` for a claim."""
    images = {name: image(f"cronsemble-{name}:latest") for name in ("keras3", "legacy")}
    folder, store = place(kind, node, namespace)
    experiment = Experiment(tmp_path, namespace, pods.kubeconfig, "volumes")

    def write(store: dict[str, Any]) -> None:
        experiment.write(
            {"cntk": {"backend": "cntk", "schedule": "0 1 * * *", "deadline": "10m"}},
            store=store,
            hyperparameters={"epochs": 1, "filters": [4], "dense": 8},
            cluster={"namespace": namespace, "images": images, "pull_policy": "never", "user": USER, "group": GROUP},
        )

    write(store)
    if by_claim:
        pods.kubectl("apply", "--server-side", "-f", "-", stdin=experiment.good("render", "--volume"))
        write({"claim": "volumes-store"})
    pods.kubectl("apply", "--server-side", "-f", "-", stdin=experiment.good("render"))
    ended, said = pods.run_job("volumes-train-cntk", namespace, MINUTE)
    assert ended == "Complete", said
    (result,) = folder.glob("runs/volumes/train-cntk/*/*/result")
    record = json.loads((result / "record.json").read_text())
    assert sha256(str(result / record["model"]["file"])) == record["model"]["sha256"]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in folder.rglob("*")} == {(USER, GROUP)}
    if by_claim:
        pods.kubectl("delete", "persistentvolume", f"{namespace}-volumes-store", "--wait=false")
