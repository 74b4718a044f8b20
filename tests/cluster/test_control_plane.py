"""The control plane that tests get is a real one: it says its version, fires CronJobs, survives being killed."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from cluster import binaries
from cluster.access import Cluster, KubectlFailed
from cluster.control_plane import ControlPlane

RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def cronjob(name: str, **spec: object) -> dict[str, object]:
    container = {"name": "main", "image": "localhost/none", "securityContext": RESTRICTED}
    pod = {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False}
    job = {"spec": {"template": {"spec": pod}, "backoffLimit": 0}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"schedule": "* * * * *", "jobTemplate": job, **spec},
    }


def test_the_server_is_the_pinned_release(cluster: Cluster) -> None:
    shown = cluster.kubectl("get", "--raw", "/version")
    if cluster.plane is not None and cluster.plane.binaries == binaries.cached():
        assert f'"gitVersion": "{binaries.version()}"' in shown
    else:
        assert "gitVersion" in shown


def test_a_cronjob_fires(controllers: Cluster, namespace: str) -> None:
    """A slot of the last minute is due at once: no need to wait for the next one."""
    controllers.apply(cronjob("tick", startingDeadlineSeconds=3600), namespace)
    controllers.make_due("tick", namespace)
    job = controllers.wait_for(lambda: controllers.objects("job", namespace), 70, "a Job")[0]
    minutes = int(job["metadata"]["name"].removeprefix("tick-"))
    assert abs(minutes * 60 - time.time()) < 180
    slot = datetime.fromisoformat(job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"])
    assert slot.timestamp() == minutes * 60
    pod = controllers.wait_for(lambda: controllers.objects("pod", namespace), 30, "its pod")[0]
    assert pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job["metadata"]["name"]


@pytest.mark.parametrize("level", ["restricted", "privileged"])
def test_a_namespace_enforces_its_level(cluster: Cluster, level: str) -> None:
    namespace = cluster.new_namespace(level)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "main", "image": "localhost/none"}]},
    }
    try:
        cluster.apply(pod, namespace)
        refused = False
    except KubectlFailed as error:
        refused = True
        assert 'violates PodSecurity "restricted:latest"' in str(error)
    assert refused == (level == "restricted")


def test_a_limited_user_has_just_its_rules(cluster: Cluster, namespace: str) -> None:
    rules = [{"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["list"]}]
    limited = cluster.limited_user(namespace, rules)
    assert cluster.kubectl("get", "cronjobs", "-n", namespace, kubeconfig=limited) == ""
    with pytest.raises(KubectlFailed, match='cannot list resource "jobs"'):
        cluster.kubectl("get", "jobs", "-n", namespace, kubeconfig=limited)


def test_a_client_certificate_names_a_user(control_plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    eve = control_plane.client_kubeconfig("eve")
    with pytest.raises(KubectlFailed, match='User "eve" cannot list'):
        cluster.kubectl("get", "pods", "-n", namespace, kubeconfig=eve)


def test_requests_are_counted_at_the_server(control_plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    before = cluster.requests()
    with cluster.counted("kubectl") as counts:
        cluster.apply(cronjob("counted", suspend=True), namespace)
        cluster.kubectl("get", "cronjobs", "-n", namespace)
        cluster.kubectl("get", "cronjobs", "-n", namespace)
    assert counts["patch", "cronjobs"] == 1
    assert counts["list", "cronjobs"] == 2
    after = cluster.requests()
    assert after["APPLY", "cronjobs"] - before["APPLY", "cronjobs"] == 1
    assert after["LIST", "cronjobs"] - before["LIST", "cronjobs"] >= 2


def test_a_killed_server_comes_back_with_its_state(control_plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    cluster.apply(cronjob("kept", suspend=True), namespace)
    control_plane.kill_api_server()
    with pytest.raises(KubectlFailed, match="refused"):
        cluster.get("cronjob", "kept", namespace)
    control_plane.start_api_server()
    assert cluster.get("cronjob", "kept", namespace)["spec"]["suspend"] is True
    cluster.kubectl("get", "pods", "-n", namespace)
