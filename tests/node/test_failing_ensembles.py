"""Ensembles whose members are not all there: the quorum decides, who is left out is named, and no run is archived twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from cluster.access import Cluster
from cluster.node import Node
from cluster.scenes import Scene, scene

MEMBERS = {"good": {}, "spoiled": {}, "failed": {"model": "harm.py:hungry"}}


@pytest.fixture(scope="module")
def joint(pods: Cluster, node: Node, image: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two trainings that succeeded, the model of one of them damaged since, and one that failed."""
    folder = tmp_path_factory.mktemp("joint")
    with scene(pods, node, image, folder, "joint", MEMBERS, {"quorum": 1, "retries": 0}) as made:
        names = [made.start(f"train-{member}") for member in MEMBERS]
        for name, end in zip(names, ["Complete", "Complete", "Failed"], strict=True):
            made.end(name, end)
        result = made.folder(names[1]) / "result"
        model = result / json.loads((result / "model.json").read_text())["file"]
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
        yield made


def left_out(joint: Scene, name: str) -> dict[str, str]:
    return {each["member"]: each["left_out"] for each in joint.record(name)["members"] if "left_out" in each}


def archive(joint: Scene) -> list[str]:
    return sorted(path.name for path in (joint.store / "predictions" / "joint").glob("[0-9]*.csv"))


def test_two_ensemble_runs_of_a_slot_at_once_and_two_tries_of_one(joint: Scene) -> None:
    names = [joint.start("ensemble", parallelism=2, completions=2), joint.start("ensemble", attempt=2)]
    for name in names:
        joint.end(name, "Complete")
    for name in names:
        assert joint.kept_outcome(name) == ("succeeded", "", "recorded")
        assert joint.results(name) == ["result"]
        told = left_out(joint, name)
        # A damaged model is not loaded, and no older one stands in for it.
        assert set(told) == {"spoiled", "failed"}
        assert "sha256" in told["spoiled"] and "cannot be taken (failed" in told["failed"]
        story = joint.experiment.good("history", name, "--store", str(joint.store))
        assert "spoiled: left out" in story and "good: took" in story
    second, first = archive(joint)
    assert second == first.replace(".csv", "-r2.csv")
    tables = [(joint.store / "predictions" / "joint" / each).read_text() for each in (first, second)]
    assert tables[0] == tables[1] and tables[0].count("\n") > 1


def test_a_predict_that_is_killed_is_left_out_by_the_next_try(joint: Scene) -> None:
    """With none of the others there, nobody is left: no quorum, in words."""
    name = joint.start("ensemble", later=1)
    begun = f"runs/joint/ensemble/*/{name}/try-*/probabilities/good/start.json"
    joint.pods.wait_for(lambda: list(joint.store.glob(begun)), 120, "the predict step")
    joint.kill(name, "supervise", "predict", "good")
    joint.end(name, "Failed")
    status, reason, evidence = joint.kept_outcome(name)
    assert (status, evidence) == ("no quorum", "recorded")
    assert "good: an earlier try of this run ended while it was predicting" in reason
    assert joint.results(name) == []
    told = joint.experiment.good("history", name, "--store", str(joint.store))
    assert "predict-good was killed from outside" in told
    assert len(archive(joint)) == 2
