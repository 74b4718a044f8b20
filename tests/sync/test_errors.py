"""Each thing that can be wrong with a cluster: one clear line, and nothing half done that the next sync would not mend."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from cluster.access import Cluster
from sync.experiments import Experiment
from sync.proxy import Proxy
from sync.test_sync import NIGHTLY, names


def altered(cluster: Cluster, folder: Path, **more: Any) -> Path:
    """The kubeconfig with other keys of its cluster."""
    content = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    content["clusters"][0]["cluster"].update(more)
    path = folder / "altered.kubeconfig"
    path.write_text(json.dumps(content))
    return path


def test_an_unreachable_server(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    experiment.write({"a": NIGHTLY})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = f"https://127.0.0.1:{taken.getsockname()[1]}"
        output = experiment.bad("sync", kubeconfig=altered(cluster, tmp_path, server=server))
    assert output.count("\n") == 1 and f"{server}: not reachable (context " in output and "Connection refused" in output


def test_an_unknown_host(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    experiment.write({"a": NIGHTLY})
    output = experiment.bad("plan", kubeconfig=altered(cluster, tmp_path, server="https://nowhere.invalid:6443"))
    assert output.count("\n") == 1 and "its name is not known" in output


def test_a_wrong_certificate(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    import base64

    import trustme

    experiment.write({"a": NIGHTLY})
    other = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    output = experiment.bad("sync", kubeconfig=altered(cluster, tmp_path, **{"certificate-authority-data": other}))
    assert output.count("\n") == 1 and "its certificate is not the one that context" in output


def test_a_wrong_login(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    experiment.write({"a": NIGHTLY})
    path = altered(cluster, tmp_path)
    content = json.loads(path.read_text())
    content["users"][0]["user"] = {"token": "wrong"}
    path.write_text(json.dumps(content))
    assert experiment.bad("sync", kubeconfig=path).startswith("the server does not accept this login")


def test_an_unknown_context_and_no_kubeconfig(experiment: Experiment, tmp_path: Path) -> None:
    experiment.write({"a": NIGHTLY})
    assert experiment.bad("sync", "--context", "nope").startswith("--context nope: no such context in ")
    assert "--kubeconfig /nowhere: no such file" in experiment.bad("sync", "--kubeconfig", "/nowhere")
    assert "no cluster: /nowhere not found" in experiment.bad("sync", kubeconfig=Path("/nowhere"))


def test_a_quota(cluster: Cluster, experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY, "b": NIGHTLY, "c": NIGHTLY})
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/cronjobs.batch": "1"}},
    }
    cluster.apply(quota, experiment.namespace)
    cluster.wait_for(
        lambda: cluster.get("resourcequota", "few", experiment.namespace).get("status", {}).get("used"), 30, "the quota"
    )
    output = experiment.bad("sync")
    assert "exceeded quota: few" in output and "raise the quota, or declare less" in output
    cluster.kubectl("delete", "resourcequota", "few", "-n", experiment.namespace)
    cluster.wait_for(lambda: experiment.run("sync").returncode == 0, 30, "the next sync to mend it")
    assert len(names(cluster, "cronjob", experiment.namespace)) == 3


def test_a_denial_by_admission(cluster: Cluster, experiment: Experiment) -> None:
    name = f"no-b-{experiment.namespace}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["cronjobs"]}
                ]
            },
            "validations": [{"expression": "!object.metadata.name.endsWith('-b')", "message": "no b here"}],
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": experiment.namespace}}
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector}},
    }
    for body in (policy, binding):
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(body))
    experiment.write({"a": NIGHTLY, "b": NIGHTLY})
    try:
        cluster.wait_for(
            lambda: "no b here" in experiment.run("sync").stderr or experiment.good("delete", "--yes") and False, 30, "the policy"
        )
        output = experiment.bad("sync")
        assert "refused by admission" in output and "no b here" in output
        assert names(cluster, "cronjob", experiment.namespace) == [f"{experiment.name}-train-a"]
    finally:
        kinds = ("validatingadmissionpolicybinding", "validatingadmissionpolicy")
        cluster.kubectl("delete", *(f"{kind}/{name}" for kind in kinds))
    cluster.wait_for(lambda: experiment.run("sync").returncode == 0, 30, "the next sync to mend it")


def test_code_that_is_too_large(experiment: Experiment) -> None:
    (experiment.folder / "big").mkdir()
    (experiment.folder / "big" / "m.py").write_bytes(b"#" * 1_100_000)
    experiment.write({"a": NIGHTLY}, code=["big"])
    output = experiment.bad("sync")
    assert output.count("\n") == 1 and "at most 1,048,576 fit a ConfigMap: list what it needs under `code:`" in output


def test_a_server_that_is_too_old(cluster: Cluster, experiment: Experiment, tmp_path: Path) -> None:
    # A 1.34 that says it is 1.26: no such server can be built here.
    experiment.write({"a": NIGHTLY})
    with Proxy(cluster.kubeconfig, tmp_path, lambda method, path: None) as proxy:
        proxy.answers["/version"] = b'{"major":"1","minor":"26+"}'
        output = experiment.bad("sync", kubeconfig=proxy.kubeconfig)
    assert output.count("\n") == 1 and "is Kubernetes 1.26, whose CronJobs have no time zone: 1.27 is needed" in output
    assert names(cluster, "cronjob", experiment.namespace) == []


def test_a_namespace_that_enforces_too_much(experiment: Experiment) -> None:
    experiment.write({"a": NIGHTLY}, store={"nfs": {"server": "nas", "path": "/x"}})
    output = experiment.good("plan")
    assert (
        f"namespace {experiment.namespace} enforces Pod Security restricted, which refuses the pods of {experiment.name}"
        in output
    )
    assert "they need baseline, for store.nfs is mounted by the pods themselves" in output


@pytest.mark.parametrize("text", ["{}", "nonsense", '{"format": 99}'])
def test_a_file_that_is_no_plan(experiment: Experiment, text: str) -> None:
    path = experiment.folder / "plan.json"
    path.write_text(text)
    assert experiment.bad("sync", "--plan", str(path), file=False).startswith(f"--plan {path}: ")
