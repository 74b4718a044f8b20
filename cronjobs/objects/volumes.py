"""The store on a cluster: the volume that pods mount, the Pod Security that it needs, and a volume for those that need less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cronjobs.experiment import Experiment
from cronjobs.objects import labels

LEVELS = ("restricted", "baseline", "privileged")
"""Pod Security's levels, the strictest first."""


class ObjectsError(ValueError):
    """The configuration is right, but a cluster cannot run it: ``problems`` name keys and what to type, a line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class PodSecurity:
    """The strictest Pod Security level that admits the pods, and what keeps them from a stricter one."""

    level: str
    reason: str


def store_volume(experiment: Experiment) -> dict[str, Any]:
    """The source of the store's volume; raises ObjectsError for a folder of this machine."""
    store = experiment.store
    if isinstance(store, str):
        raise ObjectsError(
            f"store: {store} is a folder of this machine: for a cluster type store: {{claim: NAME}}, "
            "{nfs: {server: HOST, path: PATH}} or {host_path: PATH}"
        )
    if store.claim is not None:
        return {"persistentVolumeClaim": {"claimName": store.claim}}
    if store.nfs is not None:
        return {"nfs": {"server": store.nfs.server, "path": store.nfs.path}}
    # It must be there: one that the node makes belongs to root, and pods are not root.
    return {"hostPath": {"path": store.host_path, "type": "Directory"}}


def pod_security(experiment: Experiment) -> PodSecurity:
    """The Pod Security level that the store needs; raises ObjectsError like :func:`store_volume`.

    Levels as in Kubernetes' Pod Security Standards: ``restricted`` admits of these volumes only the claim,
    ``baseline`` all but hostPath. Everything else in our pods fits ``restricted``.
    """
    volume = store_volume(experiment)
    if "nfs" in volume:
        return PodSecurity("baseline", "store.nfs is mounted by the pods themselves")
    if "hostPath" in volume:
        return PodSecurity("privileged", "store.host_path is a folder of the node")
    return PodSecurity("restricted", "")


def claim_name(experiment: Experiment) -> str:
    """The name of the claim that `render --volume` prints for an experiment's store."""
    return f"{experiment.name}-store"


def persistent_volume(experiment: Experiment) -> list[dict[str, Any]]:
    """A PersistentVolume for an NFS export or a node's folder, and the claim bound to it; raises ObjectsError.

    They carry no label by which `sync` finds its own: it never touches them.
    """
    source = store_volume(experiment)
    if "persistentVolumeClaim" in source:
        claim = source["persistentVolumeClaim"]["claimName"]
        raise ObjectsError(f"store.claim: {claim} is a claim already: --volume makes one for nfs or host_path")
    namespace, claim = experiment.cluster.namespace, claim_name(experiment)
    volume = f"{namespace}-{claim}"
    named = {"labels": {labels.NAME: labels.OURS}}
    # Neither an export nor a folder has a size that Kubernetes would enforce, yet both must state one.
    size = {"storage": "100Gi"}
    shape = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume, **named},
            "spec": {
                "capacity": size,
                **shape,
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim},
                # A soft mount may drop what it has acknowledged.
                **({"mountOptions": ["hard"]} if "nfs" in source else {}),
                **source,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace, **named},
            "spec": {**shape, "volumeName": volume, "resources": {"requests": size}},
        },
    ]
