"""The node that tests get is a real one: its pods are confined, write to volumes, fire by the clock, outlive a kubelet."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cluster.access import Cluster
from cluster.node import Node

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod_spec(image: str, script: str, volume: dict[str, Any] | None = None) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "securityContext": RESTRICTED,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "store", "mountPath": "/store"}] if volume else [],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "store", **volume}] if volume else [],
    }


def pod(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def phase(cluster: Cluster, name: str, namespace: str) -> str:
    return str(cluster.get("pod", name, namespace)["status"].get("phase"))


def wait_for_end(cluster: Cluster, name: str, namespace: str) -> str:
    cluster.wait_for(lambda: phase(cluster, name, namespace) in ("Succeeded", "Failed"), 60, f"the end of pod {name}")
    return phase(cluster, name, namespace)


def test_a_restricted_pod_writes_to_a_claim_and_nowhere_else(pods: Cluster, namespace: str, busybox: str, claim: Any) -> None:
    script = "id -u > /store/user && cat /store/user && grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; touch /here 2>&1"
    pods.apply(pod("writer", pod_spec(busybox, script, {"persistentVolumeClaim": {"claimName": claim.name}})), namespace)
    assert wait_for_end(pods, "writer", namespace) == "Failed"
    said = pods.kubectl("logs", "writer", "-n", namespace)
    lines = [line.split() for line in said.splitlines()]
    assert lines == [
        ["1000"],
        ["CapEff:", "0000000000000000"],
        ["NoNewPrivs:", "1"],
        ["Seccomp:", "2"],
        ["touch:", "/here:", "Read-only", "file", "system"],
    ]
    if claim.folder is not None:
        assert (claim.folder / "user").read_text() == "1000\n"
        assert (claim.folder / "user").stat().st_uid == 1000


@pytest.mark.parametrize("runtime", ["keras3", "legacy"])
def test_the_runtimes_images_start_confined(pods: Cluster, namespace: str, image: Callable[[str], str], runtime: str) -> None:
    pods.apply(pod("runtime", pod_spec(image(f"cronsemble-{runtime}:latest"), "python3 -c 'print(40 + 2)'")), namespace)
    assert wait_for_end(pods, "runtime", namespace) == "Succeeded"
    assert pods.kubectl("logs", "runtime", "-n", namespace) == "42\n"


def test_a_cronjob_fires_and_its_pod_completes(pods: Cluster, namespace: str, busybox: str) -> None:
    job = {"spec": {"backoffLimit": 0, "template": {"spec": pod_spec(busybox, "echo done")}}}
    spec = {"schedule": "* * * * *", "jobTemplate": job}
    pods.apply({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}, "spec": spec}, namespace)
    pods.make_due("tick", namespace)

    def complete() -> bool:
        jobs = pods.objects("job", namespace)
        return any(c["type"] == "Complete" for job in jobs for c in job["status"].get("conditions", []))

    pods.wait_for(complete, 90, "a complete Job")
    name = pods.objects("job", namespace)[0]["metadata"]["name"]
    assert pods.kubectl("logs", f"job/{name}", "-n", namespace) == "done\n"


@pytest.mark.pod_security("baseline")
def test_an_nfs_volume_stood_in_for_by_a_bind_mount(pods: Cluster, node: Node, namespace: str, busybox: str) -> None:
    folder = node.export("nas.example", f"/share/{namespace}")
    volume = {"nfs": {"server": "nas.example", "path": f"/share/{namespace}"}}
    pods.apply(pod("writer", pod_spec(busybox, "echo kept > /store/file", volume)), namespace)
    assert wait_for_end(pods, "writer", namespace) == "Succeeded"
    assert (folder / "file").read_text() == "kept\n"


@pytest.mark.pod_security("baseline")
def test_an_nfs_export_that_is_not_there_is_a_failed_mount(pods: Cluster, node: Node, namespace: str, busybox: str) -> None:
    volume = {"nfs": {"server": "nas.example", "path": "/nothing"}}
    pods.apply(pod("waits", pod_spec(busybox, "true", volume)), namespace)

    def events() -> list[str]:
        found = json.loads(pods.kubectl("get", "events", "-n", namespace, "-o", "json"))["items"]
        return [event["message"] for event in found if event["reason"] == "FailedMount"]

    assert "exit status 32" in pods.wait_for(events, 30, "an event")[0]


def test_a_container_goes_on_while_the_kubelet_is_gone(pods: Cluster, node: Node, namespace: str, busybox: str) -> None:
    script = "trap 'echo asked; exit 0' TERM; echo started; while :; do sleep 0.1; done"
    pods.apply(pod("long", pod_spec(busybox, script)), namespace)

    def mine() -> dict[str, int]:
        return {name: c["pid"] for name, c in node.containers().items() if c["namespace"] == namespace}

    before = pods.wait_for(mine, 30, "the container")
    node.kill_kubelet()
    assert mine() == before
    node.start_kubelet()
    pods.kubectl("wait", "--for=condition=Ready", "pod/long", "-n", namespace, "--timeout=60s")
    assert mine() == before
    assert pods.kubectl("logs", "long", "-n", namespace) == "started\n"
