"""Fixtures for every test that needs a Kubernetes: no mock, a real API server and its controllers.

``cluster``        (session)   ``cluster.access.Cluster``: one control plane of our own for the whole session, started by
                               the first test that asks; or the cluster of ``CRONSEMBLE_TEST_KUBECONFIG``.
``namespace``      (function)  str: a fresh namespace that enforces Pod Security ``restricted``, or the level of
                               ``@pytest.mark.pod_security("baseline")``. Deleted afterwards without waiting.
``control_plane``  (function)  ``cluster.control_plane.ControlPlane`` of ``cluster``: for tests that kill and restart its API
                               server (up again when the test ends). Skipped on a given cluster.
``pods``           (session)   the same ``Cluster``, where pods run: inside `make test-node`, or a given cluster. Otherwise
                               missing.
``node``           (session)   ``cluster.node.Node``: our node, for tests that look at or break it. Skipped on a given cluster.
``controllers``    (function)  the same as ``cluster``, where CronJobs fire: skipped without a controller manager.

A failing test shows what the API server and the controllers logged while it ran.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import binaries
from cluster.access import Cluster, KubectlFailed
from cluster.control_plane import ControlPlane
from cluster.node import Node, running_node
from needs import missing

_positions = pytest.StashKey[dict[Path, int]]()


@pytest.fixture(scope="session")
def _cluster_and_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Node | None]]:
    kubeconfig, inside = os.environ.get("CRONSEMBLE_TEST_KUBECONFIG"), os.environ.get("CRONSEMBLE_TEST_NODE")
    folder = Path(inside) if inside else tmp_path_factory.mktemp("cluster")
    if kubeconfig:
        cluster = Cluster(Path(kubeconfig).absolute(), folder)
        try:
            cluster.kubectl("version")
        except (KubectlFailed, OSError) as error:
            pytest.fail(f"CRONSEMBLE_TEST_KUBECONFIG={kubeconfig}: {error}")
        yield cluster, None
        for name in list(cluster.namespaces):
            cluster.forget(name)
        return
    try:
        binaries.find()
    except binaries.NoBinaries as error:
        missing(str(error))
    if inside:
        with running_node() as node:
            yield Cluster(node.plane.kubeconfig, folder, node.plane), node
    else:
        with ControlPlane(folder) as plane:
            yield Cluster(plane.kubeconfig, folder, plane), None


@pytest.fixture(scope="session")
def cluster(_cluster_and_node: tuple[Cluster, Node | None]) -> Cluster:
    return _cluster_and_node[0]


@pytest.fixture(scope="session")
def pods(_cluster_and_node: tuple[Cluster, Node | None]) -> Cluster:
    cluster, node = _cluster_and_node
    if cluster.plane is not None and node is None:
        missing("pods need a node: run `make test-node` as root, or name a cluster in CRONSEMBLE_TEST_KUBECONFIG")
    return cluster


@pytest.fixture(scope="session")
def node(_cluster_and_node: tuple[Cluster, Node | None], pods: Cluster) -> Node:
    if _cluster_and_node[1] is None:
        pytest.skip("the nodes of CRONSEMBLE_TEST_KUBECONFIG are not ours")
    return _cluster_and_node[1]


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    mark = request.node.get_closest_marker("pod_security")
    name = cluster.new_namespace(mark.args[0] if mark else "restricted")
    yield name
    cluster.forget(name)


@pytest.fixture
def control_plane(cluster: Cluster) -> Iterator[ControlPlane]:
    if cluster.plane is None:
        pytest.skip("the API server of CRONSEMBLE_TEST_KUBECONFIG is not ours to kill")
    yield cluster.plane
    cluster.plane.start_api_server()


@pytest.fixture
def controllers(cluster: Cluster) -> Cluster:
    if cluster.plane is not None and not cluster.plane.has_controllers:
        missing(f"{cluster.plane.binaries} has no kube-controller-manager: unset KUBEBUILDER_ASSETS")
    return cluster


def _logs(item: pytest.Item) -> list[Path]:
    cluster = getattr(item, "funcargs", {}).get("cluster")
    return sorted(cluster.plane.logs.glob("*.log")) if isinstance(cluster, Cluster) and cluster.plane else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    item.stash[_positions] = {path: path.stat().st_size for path in _logs(item)}
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call" and report.failed:
        for path, start in item.stash.get(_positions, {}).items():
            with open(path, "rb") as log:
                log.seek(start)
                lines = log.read().decode(errors="replace").splitlines()
            if lines:
                report.sections.append((f"{path} (the last of {len(lines)} new lines)", "\n".join(lines[-40:])))
    return report
