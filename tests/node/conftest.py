"""What tests on a node share: the images that it has, and a claim to write to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.access import Cluster
from cluster.images import BUSYBOX
from cluster.node import Node
from needs import missing

USER = 1000


@dataclass(frozen=True)
class Claim:
    """``folder`` is what the pods see, where the node is ours; None on a given cluster."""

    name: str
    folder: Path | None


@pytest.fixture(scope="session")
def image(pods: Cluster, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """``image("cronsemble-keras3:latest")``: its full name on the cluster, where it must be.

    On a given cluster ``CRONSEMBLE_TEST_IMAGES`` is the prefix in place of ``localhost/``.
    """

    def find(name: str) -> str:
        full = os.environ.get("CRONSEMBLE_TEST_IMAGES", "localhost/") + name
        if pods.plane is not None and not request.getfixturevalue("node").has_image(full):
            missing(f"the node has no image {full}: `make test-node` builds and imports it")
        return full

    return find


@pytest.fixture(scope="session")
def busybox(image: Callable[[str], str]) -> str:
    """An image with a shell."""
    return image(BUSYBOX.removeprefix("localhost/"))


@pytest.fixture
def claim(pods: Cluster, namespace: str, request: pytest.FixtureRequest) -> Iterator[Claim]:
    """A claim ``store`` in the namespace: over a hostPath volume of our node, or by a given cluster's default class."""
    spec: dict[str, object] = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "store"}, "spec": spec}
    if pods.plane is None:
        spec["accessModes"] = ["ReadWriteOnce"]
        pods.apply(body, namespace)
        yield Claim("store", None)
        return
    node: Node = request.getfixturevalue("node")
    folder = node.data / namespace
    folder.mkdir()
    # the kubelet sets no group on a hostPath
    os.chown(folder, USER, USER)
    spec |= {"storageClassName": "", "volumeName": namespace}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": "store"},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }
    pods.apply([volume, body], namespace)
    yield Claim("store", folder)
    pods.kubectl("delete", "persistentvolume", namespace, "--wait=false")
