"""Claims that pods write to, over a folder of our node or by a given cluster's default class."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.access import Cluster
from cluster.node import Node

USER = 1000


@dataclass(frozen=True)
class Claim:
    """``folder`` is what the pods see, where the node is ours; None on a given cluster."""

    name: str
    folder: Path | None


@contextlib.contextmanager
def store_claim(pods: Cluster, namespace: str, node: Node | None) -> Iterator[Claim]:
    """A claim ``store`` in the namespace: over a hostPath volume of our node, or by a given cluster's default class."""
    spec: dict[str, object] = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "store"}, "spec": spec}
    if node is None:
        spec["accessModes"] = ["ReadWriteOnce"]
        pods.apply(body, namespace)
        yield Claim("store", None)
        return
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
