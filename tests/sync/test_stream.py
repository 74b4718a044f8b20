"""Answers that go on: their lines come as they are written, and end with the server's."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from cluster.access import Cluster
from cluster.control_plane import ControlPlane
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import NotFound, Unreachable
from scheduler.kube.kinds import CONFIGMAP
from scheduler.kube.kubeconfig import Access, find_access

QUERY = {"watch": "true", "fieldSelector": "metadata.name!=kube-root-ca.crt"}


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_a_watch_tells_each_event_at_once(cluster: Cluster, namespace: str) -> None:
    with KubeClient(find_access(cluster.kubeconfig, None)) as api:
        lines = api.stream(CONFIGMAP.path(namespace), QUERY)
        for name in ("one", "two"):
            cluster.apply(config_map(name), namespace)
            event = json.loads(next(lines))
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)
        lines.close()


def test_the_end_of_a_watch_is_an_end(cluster: Cluster, namespace: str) -> None:
    with KubeClient(find_access(cluster.kubeconfig, None)) as api:
        assert list(api.stream(CONFIGMAP.path(namespace), {**QUERY, "timeoutSeconds": "1"})) == []


def test_what_is_not_there_is_said_before_the_first_line(cluster: Cluster, namespace: str) -> None:
    with KubeClient(find_access(cluster.kubeconfig, None)) as api, pytest.raises(NotFound, match="^pods/no in namespace"):
        next(
            api.stream(f"/api/v1/namespaces/{namespace}/pods/no/log", {"follow": "true"}, "pods/no", f" in namespace {namespace}")
        )


def test_a_server_that_goes_away_is_one_line(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    with KubeClient(find_access(cluster.kubeconfig, None)) as api:
        lines = api.stream(CONFIGMAP.path(namespace), QUERY)
        cluster.apply(config_map("one"), namespace)
        next(lines)
        control_plane.kill_api_server()
        with pytest.raises(Unreachable, match="^https://.*: not reachable"):
            next(lines)


def test_an_answer_that_breaks_off_is_one_line() -> None:
    """In the middle of a chunk, as when a machine between dies."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n9\r\ntw")

        thread = threading.Thread(target=answer)
        thread.start()
        lines = KubeClient(Access(f"http://127.0.0.1:{listener.getsockname()[1]}")).stream("/")
        assert next(lines) == b"one\n"
        with pytest.raises(Unreachable, match="not reachable"):
            list(lines)
        thread.join()
