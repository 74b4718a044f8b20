"""What tests on a node share: the images that it has, and a claim to write to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from cluster.access import Cluster
from cluster.claims import Claim, store_claim
from cluster.images import BUSYBOX
from cluster.node import Node
from needs import missing


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


@pytest.fixture(scope="session")
def own_node(pods: Cluster, request: pytest.FixtureRequest) -> Node | None:
    """Our node; None on a given cluster, where a test can do with less."""
    return None if pods.plane is None else request.getfixturevalue("node")


@pytest.fixture
def claim(pods: Cluster, namespace: str, own_node: Node | None) -> Iterator[Claim]:
    with store_claim(pods, namespace, own_node) as made:
        yield made
