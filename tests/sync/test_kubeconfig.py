"""Ways into a cluster: kubeconfig files merged as kubectl merges them, plugins, tokens that end, the pod's own account."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.access import Cluster
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError
from scheduler.kube.kubeconfig import find_access, in_cluster, merge
from scheduler.kube.objects import read_namespace_objects


def write(path: Path, **content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **content}))
    return path


def test_the_first_of_several_files_wins_and_paths_are_relative_to_their_own(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a" / "config",
        clusters=[{"name": "c", "cluster": {"server": "https://one", "certificate-authority": "ca.crt"}}],
        **{"current-context": "x"},
    )
    second = write(
        tmp_path / "b" / "config",
        clusters=[{"name": "c", "cluster": {"server": "https://two"}}],
        users=[{"name": "u", "user": {"token": "t"}}],
        contexts=[{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
        **{"current-context": "other"},
    )
    (tmp_path / "a" / "ca.crt").write_text("PEM")
    merged = merge([first, second])
    assert merged.current_context == "x" and merged.clusters["c"]["server"] == "https://one"
    access = find_access(None, None, {"KUBECONFIG": f"{first}:{tmp_path / 'absent'}:{second}"})
    assert (access.server, access.authority, access.namespace, access.user["token"]) == ("https://one", b"PEM", "ns", "t")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "no current context: name one by --context (there are: none)"),
        ({"current-context": "x"}, "current-context x: no such context in"),
        (
            {"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c"}}]},
            "names the cluster c, which has no server",
        ),
    ],
)
def test_what_is_wrong_with_a_kubeconfig(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "config", **content)
    with pytest.raises(KubeError) as caught:
        find_access(path, None, {})
    assert said in str(caught.value)


def test_a_file_that_is_no_kubeconfig(tmp_path: Path) -> None:
    path = tmp_path / "config"
    for text in ("a: [", "- 1"):
        path.write_text(text)
        with pytest.raises(KubeError, match="not a kubeconfig"):
            find_access(path, None, {})


def logins(cluster: Cluster, tmp_path: Path, user: dict[str, Any]) -> Path:
    content = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    content["users"][0]["user"] = user
    path = tmp_path / "login.kubeconfig"
    path.write_text(json.dumps(content))
    return path


RULES = [{"apiGroups": ["batch", ""], "resources": ["cronjobs", "configmaps"], "verbs": ["list"]}]


def token_of(cluster: Cluster, namespace: str) -> str:
    path = cluster.limited_user(namespace, RULES)
    return str(json.loads(path.read_text())["users"][0]["user"]["token"])


PLUGIN = """
import json, os, pathlib, sys
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
folder = pathlib.Path(sys.argv[1])
calls = folder / "calls"
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
token = "ended" if len(calls.read_text()) == 1 and os.environ.get("ENDED") else (folder / "token").read_text()
assert info["spec"]["cluster"]["server"].startswith("https://")
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": {"token": token}}))
"""


@pytest.mark.parametrize("ended", ["", "yes"])
def test_a_credential_plugin_is_asked_once_and_again_when_its_token_has_ended(
    cluster: Cluster, namespace: str, tmp_path: Path, ended: str
) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "token").write_text(token_of(cluster, namespace))
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(tmp_path / "plugin.py"), str(tmp_path)],
        "env": [{"name": "ENDED", "value": ended}],
        "interactiveMode": "Never",
        "provideClusterInfo": True,
    }
    with KubeClient(find_access(logins(cluster, tmp_path, {"exec": plugin}), None, {})) as api:
        for _ in range(2):
            assert read_namespace_objects(api, namespace, []).cronjobs == {}
    assert len((tmp_path / "calls").read_text()) == (2 if ended else 1)


def test_a_plugin_that_fails_or_is_not_there(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    def said(**plugin: Any) -> str:
        plugin = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", **plugin}
        access = find_access(logins(cluster, tmp_path, {"exec": plugin}), None, {})
        with pytest.raises(KubeError) as caught, KubeClient(access) as api:
            read_namespace_objects(api, namespace, [])
        return str(caught.value)

    assert said(command="no-such-plugin", installHint="get it there").endswith(
        "cannot start: No such file or directory: get it there"
    )
    assert said(command="false") == "the credential plugin false ended with 1"
    assert "printed no ExecCredential" in said(command="true")


def test_a_token_in_a_file_may_change_while_we_run(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("ended")
    with KubeClient(find_access(logins(cluster, tmp_path, {"tokenFile": str(file)}), None, {})) as api:
        with pytest.raises(KubeError, match="does not accept this login"):
            read_namespace_objects(api, namespace, [])
        file.write_text(token_of(cluster, namespace))
        assert read_namespace_objects(api, namespace, []).cronjobs == {}


def test_a_pods_own_account(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    content = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    server = content["clusters"][0]["cluster"]
    host, _, port = server["server"].removeprefix("https://").partition(":")
    import base64

    (tmp_path / "ca.crt").write_bytes(base64.b64decode(server["certificate-authority-data"]))
    (tmp_path / "token").write_text(token_of(cluster, namespace))
    (tmp_path / "namespace").write_text(namespace)
    access = in_cluster({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}, tmp_path)
    assert access.namespace == namespace
    with KubeClient(access) as api:
        assert read_namespace_objects(api, namespace, []).cronjobs == {}
