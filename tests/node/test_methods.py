"""An ensemble's own method in pods: its code is in the container that combines, and members predict the validation data."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cluster.access import Cluster
from cluster.node import Node
from cluster.scenes import Scene, scene


@pytest.fixture(scope="module")
def own(pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two trainings that succeeded."""
    members = {"one": {}, "two": {}}
    with scene(pods, node, image, tmp_path_factory.mktemp("own"), "own", members, {"method": "harm.py:cautious"}) as made:
        names = [made.start(f"train-{member}") for member in members]
        for name in names:
            made.end(name, "Complete")
        yield made


def test_a_function_of_the_users_combines_in_a_pod(own: Scene) -> None:
    name = own.start("ensemble")
    own.end(name, "Complete")
    result = own.folder(name) / "result"
    arrays = [np.load(result / f"probabilities/{member}/probabilities.npy") for member in ("one", "two")]
    for member in ("one", "two"):
        training = own.folder(own.run(f"train-{member}")) / "result" / "validation.npy"
        assert (result / f"probabilities/{member}/validation.npy").read_bytes() == training.read_bytes()
    with open(result / "predictions.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    predicted = np.array([row[3:] for row in rows], dtype="float32")
    assert predicted == pytest.approx(0.5 * np.mean(arrays, axis=0) + 0.25, abs=1e-6)
    ensemble = own.record(name)["ensemble"]
    assert ensemble["method"] == "harm.py:cautious"
    assert all(member["weight"] is None and "contribution" in member for member in ensemble["members"].values())
